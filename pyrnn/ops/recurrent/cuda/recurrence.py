"""Calls of the native CUDA module: one pass over the steps, and the large products beside it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._dispatch import current_stream, on_device
from pyrnn._native_args import CELLS, DTYPES, address, addresses, check_fields, sequences
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.cuda.tokens import Tokens

_ENGINES = {"": 0, "persistent": 1, "step": 2, "streamed": 3, "cluster": 4}

#: Engine of every pass, for tests and measurements: "cluster", "persistent", "step", or "streamed", which is
#: persistent with weights that are read again in each step; "" leaves it to the heuristic.
forced_engine = ""


class DirectionArgs(NamedTuple):
    """`recurrent::cuda::Direction` of recurrence.h, one segment. S is the storage dtype, A that of sums."""

    w_hh: Tensor  # S [G*H, H]
    b_ih: Tensor | None = None  # S [G*H]
    b_hh: Tensor | None = None
    h0: Tensor | None = None  # S [B, H]
    c0: Tensor | None = None
    first_h: Tensor | None = None  # S [B, H]: the backward pass starts from these gradients
    first_c: Tensor | None = None
    last_h: Tensor | None = None  # S [B, H]: the states, or gradients of states, that the pass ends with
    last_c: Tensor | None = None
    gx: Tensor | None = None  # A [rows, G*H]: x W_ih^T
    gx_row0: int = 0  # the token row of its first row
    gh: Tensor | None = None  # A [rows, G*H]: h_prev W_hh^T, for `replay`
    saved: Tensor | None = None  # A [rows, kSaved, Hp]
    saved_row0: int = 0
    d_gates: Tensor | None = None  # S [rows, kSlots*H]
    d_gates_row0: int = 0
    s0: int = 0  # the segment's steps, counted in the order of the pass
    s1: int = 0


class DirectionWeights(NamedTuple):
    """One direction's weights."""

    w_ih: Tensor  # [G*H, I]
    w_hh: Tensor  # [G*H, P]
    b_ih: Tensor | None  # [G*H]
    b_hh: Tensor | None
    w_hr: Tensor | None  # [P, H]

    @classmethod
    def of(cls, weights: tuple[Tensor | None, ...], direction: int) -> DirectionWeights:
        """From the flat weights of a call."""
        return cls._make(weights[5 * direction : 5 * direction + 5])

    def recurrent_weight(self) -> Tensor:
        """The weight [G*H, H] that the kernels multiply in each step."""
        return self.w_hh if self.w_hr is None else rounded_product(self.w_hh, self.w_hr)


class StepSequences(NamedTuple):
    """Sequences that the kernels read and write at each step, laid out as the call's input is."""

    y: Tensor | None = None  # S, D*H columns
    cells: Tensor | None = None
    g_y: Tensor | None = None
    g_cells: Tensor | None = None


class NativeSizes(NamedTuple):
    """`recurrent::cuda::Sizes` of csrc/recurrent/cuda/plan.h."""

    cell: int
    dtype: int
    T: int
    B: int
    H: int
    D: int
    checkpoint_every: int


class NativeTensors(NamedTuple):
    """Those fields of `recurrent::cuda::Recurrence` in recurrence.h that the caller sets: addresses."""

    lengths: int
    step_offset: int
    reset: int
    workspace: int
    y: tuple[int, int, int]  # with strides over time and batch
    cells: tuple[int, int, int]
    g_y: tuple[int, int, int]
    g_cells: tuple[int, int, int]


class NativeLaunch(NamedTuple):
    """`recurrent::cuda::Launch` of engine.h."""

    device: int
    engine: int
    stream: int
    scratch: int
    begin: int  # 1 for the first segment of a pass


def plan(problem: Problem, *, backward: bool, index: int) -> _native.CudaPlan:
    """How the kernels of one pass would run on CUDA device number `index`."""
    # T and checkpoint_every have no influence: batches of other lengths find their plan in the cache.
    sizes = _sizes(problem, 0)._replace(T=1)
    return _plan(module(), sizes, backward=backward, index=index, engine=_ENGINES[forced_engine])


def module() -> Any:
    """The native module in use."""
    return _native.emulated_cuda or _native.cuda


@functools.cache
def _check_all_fields(native: Any) -> None:
    for struct, fields in (
        ("Sizes", NativeSizes._fields),
        ("Tensors", NativeTensors._fields),
        ("Direction", DirectionArgs._fields),
        ("Launch", NativeLaunch._fields),
    ):
        check_fields(native, f"recurrent.cuda.{struct}", fields)


class Recurrence:
    """One pass over the steps, in one segment or several."""

    def __init__(
        self,
        tokens: Tokens,
        moving: StepSequences,
        *,
        backward: bool,
        checkpoint_every: int,
        checkpoints: Tensor | None,
    ) -> None:
        """`checkpoints` are c before each `checkpoint_every`-th step, A [D, ceil(T/k), B, Hp], LSTM only."""
        _check_all_fields(module())
        problem, device = tokens.problem, tokens.device
        index = device.index or 0
        self._tokens, self._backward = tokens, backward
        self._sizes = _sizes(problem, checkpoint_every)
        self._held = (moving, checkpoints)  # only their addresses are handed over
        y, cells, g_y, g_cells = sequences(moving, packed=problem.packed, batch_first=problem.batch_first)
        lengths, offset, reset, kept = addresses((tokens.given, tokens.offset, tokens.reset, checkpoints))
        self._tensors = NativeTensors(lengths, offset, reset, kept, y, cells, g_y, g_cells)
        scratch_bytes = plan(problem, backward=backward, index=index).scratch_bytes
        self._scratch = torch.zeros(scratch_bytes, dtype=torch.uint8, device=device)
        self._launch = NativeLaunch(
            device=index,
            engine=_ENGINES[forced_engine],
            stream=current_stream(device),
            scratch=address(self._scratch),
            begin=1,
        )

    def run(self, directions: Sequence[DirectionArgs]) -> None:
        """Run the next segment of steps."""
        module().recurrent_run(self._sizes, self._backward, self._tensors, _raw(directions), self._launch)
        self._launch = self._launch._replace(begin=0)

    def replay(self, directions: Sequence[DirectionArgs]) -> None:
        """Compute again what a forward pass would have saved in a segment."""
        module().recurrent_replay(self._sizes, self._tensors, _raw(directions), self._launch)


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in the dtype of sums."""
    if a.dtype in (torch.float32, torch.float64):
        return torch.mm(a, b)
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return torch.mm(a.float(), b.float())  # exactly what the line above means


def rounded_product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in their own dtype, rounded once."""
    return torch.mm(a, b) if a.is_cuda else product(a, b).to(a.dtype)


@functools.lru_cache(maxsize=1024)
def _plan(native: Any, sizes: NativeSizes, *, backward: bool, index: int, engine: int) -> _native.CudaPlan:
    """Each module has its own entries. A test that changes the device of an emulated one clears them."""
    emulated = native is _native.emulated_cuda
    # The module asks CUDA how many blocks fit, and CUDA answers for its current device.
    with on_device(torch.device("cpu") if emulated else torch.device("cuda", index)):
        return _native.CudaPlan(*native.recurrent_plan(sizes, backward, index, engine))


def _sizes(p: Problem, checkpoint_every: int) -> NativeSizes:
    return NativeSizes(CELLS[p.cell].code, DTYPES[p.dtype], p.T, p.B, p.H, p.D, checkpoint_every)


def _raw(directions: Sequence[DirectionArgs]) -> tuple[tuple[int, ...], ...]:
    return tuple(
        tuple(field if isinstance(field, int) else address(field) for field in direction)
        for direction in directions
    )
