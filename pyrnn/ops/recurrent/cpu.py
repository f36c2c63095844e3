"""Calls of the CPU kernels: allocates the results, hands addresses and strides over.

Every argument has passed `Call.problem`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    CELLS,
    DTYPES,
    NOTHING,
    addresses,
    addresses_of_direction,
    all_contiguous,
    check_fields,
    contiguous,
    on_huge_pages,
    sequences,
    with_rows,
)
from pyrnn.ops.recurrent.call import (
    Call,
    Needs,
    Problem,
    empty_gradients,
    empty_results,
    pass_through,
    reset_bytes,
)

Sequence = tuple[int, int, int]  # address, strides over time and batch


class NativeProblem(NamedTuple):
    """`recurrent::Problem` of csrc/recurrent/problem.h."""

    cell: int
    dtype: int
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    P: int
    D: int
    N: int
    checkpoint_every: int
    lengths: int = 0
    reset: int = 0
    workspace: int = 0
    x: Sequence = NOTHING
    y: Sequence = NOTHING
    cells: Sequence = NOTHING
    g_y: Sequence = NOTHING
    g_cells: Sequence = NOTHING
    d_x: Sequence = NOTHING


class NativeDirection(NamedTuple):
    """`recurrent::Direction` of the same file: addresses."""

    w_ih: int
    w_hh: int
    b_ih: int
    b_hh: int
    w_hr: int
    h0: int
    c0: int
    h_n: int = 0
    c_n: int = 0
    g_h_n: int = 0
    g_c_n: int = 0
    d_w_ih: int = 0
    d_w_hh: int = 0
    d_b_ih: int = 0
    d_b_hh: int = 0
    d_w_hr: int = 0
    d_h0: int = 0
    d_c0: int = 0


check_fields(_native.cpu, "recurrent.Problem", NativeProblem._fields)
check_fields(_native.cpu, "recurrent.Direction", NativeDirection._fields)

#: Those that have kernels on the CPU.
CPU_DTYPES = (torch.float32, torch.float64, torch.bfloat16)

#: Threads that share the units of a part of the batch, for tests and measurements; 0 leaves it to the
#: heuristic.
forced_group_size = 0


def split(problem: Problem, *, backward: bool) -> _native.Split:
    """How the kernels of one pass would split this problem among threads."""
    return _native.Split(
        *_native.cpu.recurrent_split(
            _native_problem(problem), backward, _native.num_threads(), forced_group_size
        )
    )


def forward(call: Call, p: Problem, *, train: bool) -> tuple[Tensor, ...]:
    """Run one layer; returns output, h_n, c_n, cells and the workspace ([0] unless `train`)."""
    sizes, results = _native_problem(p), empty_results(call, p, train=train)
    output, h_n, c_n, cells, workspace = results
    input = with_rows(call.input)
    h0, c0, *weights = all_contiguous((call.h0, call.c0, *call.weights))
    on_huge_pages(output, cells, workspace)
    if call.lengths is not None:  # the kernels leave padding alone
        output.zero_()
        cells.zero_()
    x, y, all_c = sequences((input, output, cells), packed=p.packed, batch_first=p.batch_first)
    directions = []
    for d in range(p.D):
        own = addresses(weights[5 * d : 5 * d + 5]) + addresses_of_direction((h0, c0, h_n, c_n), d)
        directions.append(NativeDirection(*own))
    reset = reset_bytes(call, p)  # held until the kernels are done
    lengths, batch_sizes, resets, kept = addresses((call.lengths, call.batch_sizes, reset, workspace))
    problem = sizes._replace(lengths=lengths, reset=resets, workspace=kept, x=x, y=y, cells=all_c)
    _native.cpu.recurrent_forward(
        problem, tuple(directions), batch_sizes, _native.num_threads(), forced_group_size
    )
    return results


def backward(
    call: Call,
    p: Problem,
    grads: tuple[Tensor | None, ...],
    output: Tensor,
    workspace: Tensor,
    *,
    needs: Needs,
) -> list[Tensor]:
    """Gradients of input, h0, c0 and the ten weights, from those of output, h_n, c_n and cells."""
    sizes, gradients = _native_problem(p), empty_gradients(call, needs)
    d_input, d_h0, d_c0, *d_weights = gradients
    if call.lengths is not None and not call.lengths.any():
        return pass_through(gradients, grads)
    if call.lengths is not None or p.D == 2:  # padding stays zero, and two directions add up
        d_input.zero_()
    input = with_rows(call.input)
    h0, c0, *weights = all_contiguous((call.h0, call.c0, *call.weights))
    output, workspace = contiguous(output), contiguous(workspace)
    g_output, g_h_n, g_c_n, g_cells = all_contiguous(grads)
    if p.cell != "lstm":
        g_c_n = g_cells = None
    moving = (input, output, g_output, g_cells, d_input)
    x, y, g_y, g_all_c, d_x = sequences(moving, packed=p.packed, batch_first=p.batch_first)
    directions = []
    for d in range(p.D):
        w_ih, w_hh, b_ih, b_hh, w_hr = addresses(weights[5 * d : 5 * d + 5])
        d_w_ih, d_w_hh, d_b_ih, d_b_hh, d_w_hr = addresses(d_weights[5 * d : 5 * d + 5])
        states = addresses_of_direction((h0, c0, g_h_n, g_c_n, d_h0, d_c0), d)
        directions.append(
            NativeDirection(
                *(w_ih, w_hh, b_ih, b_hh, w_hr, states[0], states[1]),
                g_h_n=states[2],
                g_c_n=states[3],
                d_w_ih=d_w_ih,
                d_w_hh=d_w_hh,
                d_b_ih=d_b_ih,
                d_b_hh=d_b_hh,
                d_w_hr=d_w_hr,
                d_h0=states[4],
                d_c0=states[5],
            )
        )
    reset = reset_bytes(call, p)
    lengths, batch_sizes, resets, kept = addresses((call.lengths, call.batch_sizes, reset, workspace))
    problem = sizes._replace(
        lengths=lengths, reset=resets, workspace=kept, x=x, y=y, g_y=g_y, g_cells=g_all_c, d_x=d_x
    )
    _native.cpu.recurrent_backward(
        problem, tuple(directions), batch_sizes, _native.num_threads(), forced_group_size
    )
    return gradients


def _native_problem(p: Problem) -> NativeProblem:
    return NativeProblem(
        CELLS[p.cell].code, DTYPES[p.dtype], p.T, p.B, p.I, p.H, p.P, p.D, p.N, p.checkpoint_every
    )


class PackedWeights:
    """Weights of one layer as the kernels read them; between `freeze` and `thaw`, calls without gradients do.

    Args:
        cell: as the operator takes it.
        weights: 5 of each direction, `WEIGHT_NAMES` in order, dense, on the CPU, of one of `CPU_DTYPES`; no
            w_ih of a cell that has no input.
    """

    def __init__(self, cell: str, weights: tuple[Tensor | None, ...]) -> None:
        # Their memory must stay, also where somebody gives a parameter other `data`.
        self._memory = [None if weight is None else weight.detach() for weight in weights]
        w_ih, w_hh = weights[:2]
        assert w_hh is not None
        D, H = len(weights) // 5, w_hh.shape[0] // CELLS[cell].gates
        each = [[*addresses(weights[5 * d : 5 * d + 5]), 0, 0] for d in range(D)]
        I, P, dtype = 0 if w_ih is None else w_ih.shape[1], w_hh.shape[1], DTYPES[w_hh.dtype]  # noqa: E741
        problem = NativeProblem(CELLS[cell].code, dtype, 0, 0, I, H, P, D, 0, 0)
        packed = _native.cpu.PackedWeights(problem, tuple(NativeDirection(*own) for own in each))
        self.freeze, self.thaw = packed.freeze, packed.thaw
