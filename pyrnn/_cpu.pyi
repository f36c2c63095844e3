# The compiled module (csrc/module.cpp). Addresses are integers, 0 for null.

from collections.abc import Sequence
from typing import Protocol

__version__: str

def isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def fma_peak(dtype: int, threads: int) -> float: ...

class _Run(Protocol):
    def __call__(
        self,
        sizes: Sequence[int],
        sequences: Sequence[Sequence[int]],
        directions: Sequence[Sequence[int]],
        lengths: int,
        batch_sizes: int,
        workspace: int,
        threads: int,
        members: int,
        /,
    ) -> None: ...

recurrent_forward: _Run
recurrent_backward: _Run

def recurrent_split(
    sizes: Sequence[int], backward: bool, threads: int, members: int
) -> tuple[int, int, int, str]: ...
