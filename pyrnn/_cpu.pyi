# The compiled module (csrc/module.cpp). Addresses are integers, 0 for null.

from collections.abc import Sequence
from typing import Protocol

__version__: str

def isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def fma_peak(dtype: int, threads: int) -> float: ...
def advise_huge_pages(address: int, size: int) -> None: ...

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

class _Drop(Protocol):
    def __call__(
        self,
        dtype: int,
        activation: int,
        count: int,
        seed: int,
        p: float,
        x: int,
        other: int,
        out: int,
        threads: int,
        /,
    ) -> None: ...

dropout_forward: _Drop
dropout_backward: _Drop

class _Attend(Protocol):
    def __call__(
        self,
        ints: Sequence[int],
        reals: Sequence[float],
        heads: Sequence[Sequence[int]],
        scores: Sequence[Sequence[int]],
        addresses: Sequence[int],
        threads: int,
        /,
    ) -> None: ...

attention_forward: _Attend
attention_backward: _Attend
