"""Calls of the native CUDA module: one pass over the steps, and the large products beside it.

The order of the fields is that of csrc/cuda_module.cpp.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._dispatch import current_stream, on_device
from pyrnn._native_args import CELLS, DTYPES, address, addresses, sequences
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.cuda.tokens import Tokens

_ENGINES = {"": 0, "persistent": 1, "step": 2, "streamed": 3, "cluster": 4}

#: Engine of every pass, for tests and measurements: "cluster", "persistent", "step", or "streamed", which is
#: persistent with weights that are read again in each step; "" leaves it to the heuristic.
forced_engine = ""


class DirectionArgs(NamedTuple):
    """What one direction reads and writes in one segment. S is the storage dtype, A that of sums."""

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
    gx_row: int = 0  # the token row of its first row
    gh: Tensor | None = None  # A [rows, G*H]: h_prev W_hh^T, for `replay`
    saved: Tensor | None = None  # A [rows, kSaved, Hp]
    saved_row: int = 0
    d_gates: Tensor | None = None  # S [rows, kSlots*H]
    d_gates_row: int = 0
    start: int = 0  # the segment, counted in the order of the pass
    stop: int = 0


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


def plan(problem: Problem, *, backward: bool, index: int) -> _native.CudaPlan:
    """How the kernels of one pass would run on CUDA device number `index`."""
    # T and checkpoint_every have no influence: batches of other lengths find their plan in the cache.
    sizes = (CELLS[problem.cell], DTYPES[problem.dtype], 1, problem.B, problem.H, problem.D, 0)
    return _plan(module(), sizes, backward=backward, index=index, engine=_ENGINES[forced_engine])


def module() -> Any:
    """The native module in use."""
    return _native.emulated_cuda or _native.cuda


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
        problem, device = tokens.problem, tokens.device
        index = device.index or 0
        self._tokens, self._backward = tokens, backward
        self._sizes = _sizes(problem, checkpoint_every)
        self._held = (moving, checkpoints)  # only their addresses are handed over
        self._sequences = tuple(sequences(moving, packed=problem.packed, batch_first=problem.batch_first))
        scratch_bytes = plan(problem, backward=backward, index=index).scratch_bytes
        self._scratch = torch.zeros(scratch_bytes, dtype=torch.uint8, device=device)
        self._shared = addresses((tokens.given, tokens.offset, self._scratch, checkpoints))
        self._where = (current_stream(device), index, _ENGINES[forced_engine])
        self._begin = 1

    def run(self, directions: Sequence[DirectionArgs]) -> None:
        """Run the next segment of steps."""
        shared = (*self._shared, self._begin, *self._where)
        module().recurrent_walk(self._sizes, self._backward, self._sequences, _raw(directions), shared)
        self._begin = 0

    def replay(self, directions: Sequence[DirectionArgs]) -> None:
        """Compute again what a forward pass would have saved in a segment."""
        module().recurrent_replay(
            self._sizes, self._sequences, _raw(directions), (*self._shared, self._begin, *self._where)
        )


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
def _plan(
    native: Any, sizes: tuple[int, ...], *, backward: bool, index: int, engine: int
) -> _native.CudaPlan:
    """Each module has its own entries. A test that changes the device of an emulated one clears them."""
    emulated = native is _native.emulated_cuda
    # The module asks CUDA how many blocks fit, and CUDA answers for its current device.
    with on_device(torch.device("cpu") if emulated else torch.device("cuda", index)):
        return _native.CudaPlan(*native.recurrent_plan(sizes, backward, index, engine))


def _sizes(p: Problem, checkpoint_every: int) -> tuple[int, ...]:
    return (CELLS[p.cell], DTYPES[p.dtype], p.T, p.B, p.H, p.D, checkpoint_every)


def _raw(directions: Sequence[DirectionArgs]) -> list[tuple[int, ...]]:
    return [
        tuple(field if isinstance(field, int) else address(field) for field in direction)
        for direction in directions
    ]
