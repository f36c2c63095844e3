# The compiled module (csrc/module.cpp). Addresses are integers, 0 for null.

from collections.abc import Sequence

__version__: str

def isas() -> list[str]: ...
def isa() -> str: ...
def set_isa(name: str) -> None: ...
def fma_peak(dtype: int, threads: int) -> float: ...
def recurrent_forward(
    sizes: Sequence[int],
    sequences: Sequence[Sequence[int]],
    directions: Sequence[Sequence[int]],
    lengths: int,
    batch_sizes: int,
    workspace: int,
    threads: int,
    members: int,
) -> None: ...
def recurrent_backward(
    sizes: Sequence[int],
    sequences: Sequence[Sequence[int]],
    directions: Sequence[Sequence[int]],
    lengths: int,
    batch_sizes: int,
    workspace: int,
    threads: int,
    members: int,
) -> None: ...
def recurrent_split(sizes: Sequence[int], threads: int, members: int) -> tuple[int, int, int, str]: ...
