"""Calls of the CPU kernels: allocates the results, hands addresses and strides over.

Every argument has passed `Call.problem`. The order of the fields is that of csrc/module.cpp and of
csrc/recurrent/problem.h.
"""

from __future__ import annotations

from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    CELLS,
    DTYPES,
    NOTHING,
    addresses,
    addresses_of_direction,
    all_contiguous,
    contiguous,
    on_huge_pages,
    sequences,
    with_rows,
)
from pyrnn.ops.recurrent.call import Call, Needs, Problem, empty_gradients, empty_results, pass_through

#: Threads that share the units of a part of the batch, for tests and measurements; 0 leaves it to the
#: heuristic.
forced_members = 0


def split(problem: Problem, *, backward: bool) -> _native.Split:
    """How the kernels of one pass would split this problem among threads."""
    return _native.Split(
        *_native.cpu.recurrent_split(_sizes(problem), backward, _native.num_threads(), forced_members)
    )


def forward(call: Call, p: Problem, *, train: bool) -> tuple[Tensor, ...]:
    """Run one layer; returns output, h_n, c_n, cells and the workspace ([0] unless `train`)."""
    sizes, results = _sizes(p), empty_results(call, p, train=train)
    output, h_n, c_n, cells, workspace = results
    input = with_rows(call.input)
    h0, c0, *weights = all_contiguous((call.h0, call.c0, *call.weights))
    on_huge_pages(output, cells, workspace)
    if call.lengths is not None:  # the kernels leave padding alone
        output.zero_()
        cells.zero_()
    moving = sequences((input, output, cells), packed=p.packed, batch_first=p.batch_first)
    directions = []
    for d in range(p.D):
        states = addresses_of_direction((h0, c0, h_n, c_n), d)
        directions.append([*addresses(weights[5 * d : 5 * d + 5]), *states, *(0,) * 9])
    lengths, batch_sizes, kept = addresses((call.lengths, call.batch_sizes, workspace))
    _native.cpu.recurrent_forward(
        sizes,
        (*moving, NOTHING, NOTHING, NOTHING),
        directions,
        lengths,
        batch_sizes,
        kept,
        _native.num_threads(),
        forced_members,
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
    gradients = empty_gradients(call, needs)
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
    moving = sequences(
        (input, output, None, g_output, g_cells, d_input), packed=p.packed, batch_first=p.batch_first
    )
    directions = [
        [
            *addresses(weights[5 * d : 5 * d + 5]),
            *addresses_of_direction((h0, c0, None, None, g_h_n, g_c_n), d),
            *addresses(d_weights[5 * d : 5 * d + 5]),
            *addresses_of_direction((d_h0, d_c0), d),
        ]
        for d in range(p.D)
    ]
    lengths, batch_sizes, kept = addresses((call.lengths, call.batch_sizes, workspace))
    _native.cpu.recurrent_backward(
        _sizes(p),
        moving,
        directions,
        lengths,
        batch_sizes,
        kept,
        _native.num_threads(),
        forced_members,
    )
    return gradients


def _sizes(p: Problem) -> tuple[int, ...]:
    return (CELLS[p.cell], DTYPES[p.dtype], p.T, p.B, p.I, p.H, p.P, p.D, p.N, p.checkpoint_every)
