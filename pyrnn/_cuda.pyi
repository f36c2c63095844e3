# The compiled module (csrc/cuda_module.cpp). A struct is a tuple of the fields that `fields` names; addresses
# and streams are integers.

from typing import Any

__version__: str
architectures: str  # for which it was compiled, separated by spaces
emulated: bool  # whether the host stands in for a GPU
fields: dict[str, tuple[str, ...]]  # of each struct
cells: dict[str, tuple[int, int, int, int]]  # code, gates, slots, saved
dtypes: dict[str, int]

def why_unavailable() -> str: ...
def recurrent_plan(
    sizes: tuple[int, ...], backward: bool, device: int, engine: int, /
) -> tuple[str, bool, int, int, int, int, int, int, str]: ...
def recurrent_run(
    sizes: tuple[int, ...],
    backward: bool,
    tensors: tuple[Any, ...],
    directions: tuple[tuple[Any, ...], ...],
    launch: tuple[Any, ...],
    /,
) -> None: ...
def recurrent_replay(
    sizes: tuple[int, ...],
    tensors: tuple[Any, ...],
    directions: tuple[tuple[Any, ...], ...],
    launch: tuple[Any, ...],
    /,
) -> None: ...

class AttentionForward:  # a pass that is planned
    def __init__(
        self, sizes: tuple[Any, ...], tensors: tuple[Any, ...], device: int, generation: int, /
    ) -> None: ...
    @property
    def plan(self) -> tuple[str, int, int, int, int, int, int, int, str]: ...
    @property
    def scratch_bytes(self) -> int: ...
    def run(self, stream: int, scratch: int, /) -> None: ...

class AttentionBackward:
    def __init__(
        self, sizes: tuple[Any, ...], tensors: tuple[Any, ...], device: int, mask: tuple[int, ...], /
    ) -> None: ...  # mask: the sizes of its gradient, or four times 0
    @property
    def scratch_bytes(self) -> int: ...
    def run(self, stream: int, scratch: int, /) -> None: ...

def dropout_forward(problem: tuple[Any, ...], launch: tuple[int, int], /) -> None: ...
def dropout_backward(problem: tuple[Any, ...], launch: tuple[int, int], /) -> None: ...
def residual_norm_forward(problem: tuple[Any, ...], launch: tuple[int, int], /) -> None: ...
def residual_norm_backward(problem: tuple[Any, ...], launch: tuple[int, int], /) -> None: ...
def rotary(problem: tuple[Any, ...], launch: tuple[int, int], /) -> None: ...
def grid_barriers(arrivals: int, blocks: int, steps: int, stream: int, /) -> None: ...

# Of builds with PYRNN_PTX_DUMP alone: exact or not, and the values, of each PTX wrapper.
def ptx_dump(device: int, /) -> dict[str, tuple[bool, list[float]]]: ...
