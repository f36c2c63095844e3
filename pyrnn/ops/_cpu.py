"""Calls of the CPU kernels: allocates the results, hands addresses and strides over.

Every argument has passed `make_problem`. The order of the fields is that of csrc/module.cpp and of
csrc/recurrent/problem.h.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops._addresses import CELLS, DTYPES, NOTHING, address, address_of_direction, addresses, sequence
from pyrnn.ops._memory import on_huge_pages
from pyrnn.ops._problem import Problem, workspace_shape

#: Threads that share a team's units, for tests and measurements; 0 lets the chooser decide.
forced_members = 0


def split(problem: Problem, *, backward: bool) -> _native.Split:
    """How the kernels of one pass would split this problem among threads."""
    return _native.Split(
        *_native.cpu.recurrent_split(_sizes(problem), backward, _native.num_threads(), forced_members)
    )


def forward(
    problem: Problem,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    weights: tuple[Tensor | None, ...],
    *,
    return_cells: bool,
    train: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Run one layer; returns output, h_n, c_n, cells and the workspace ([0] unless `train`)."""
    is_lstm = problem.cell == "lstm"
    new = input.new_zeros if lengths is not None else input.new_empty  # the kernels leave padding alone
    output = new(problem.output_shape)
    cells = new(problem.cells_shape) if return_cells and is_lstm else input.new_empty(0)
    h_n, c_n = input.new_empty(problem.h_shape), input.new_empty(problem.c_shape)
    shape, dtype = workspace_shape(problem)
    workspace = torch.empty(shape if train else (0,), dtype=dtype)
    on_huge_pages(output, cells, workspace)
    directions = [
        [
            *addresses(weights[5 * d : 5 * d + 5]),
            *(address_of_direction(t, d) for t in (h0, c0, h_n, c_n if is_lstm else None)),
            *(0,) * 9,
        ]
        for d in range(problem.D)
    ]
    _native.cpu.recurrent_forward(
        _sizes(problem),
        (*_sequences(problem, input, output, cells), NOTHING, NOTHING, NOTHING),
        directions,
        address(lengths),
        address(batch_sizes),
        address(workspace),
        _native.num_threads(),
        forced_members,
    )
    return output, h_n, c_n, cells, workspace


def backward(
    problem: Problem,
    g_output: Tensor | None,
    g_h_n: Tensor | None,
    g_c_n: Tensor | None,
    g_cells: Tensor | None,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    weights: tuple[Tensor | None, ...],
    output: Tensor,
    workspace: Tensor,
    *,
    needs: tuple[bool, bool, bool, bool],
) -> tuple[Tensor, ...]:
    """Gradients of input, h0, c0 and the ten weights, [0] for those that `needs` leaves out."""

    def nothing() -> Tensor:  # a new one each time: results of an operator must not alias
        return input.new_empty(0)

    is_lstm = problem.cell == "lstm"
    d_input = nothing()
    if needs[0]:  # padding stays zero, and two directions add up
        new = input.new_zeros if lengths is not None or problem.D == 2 else input.new_empty
        d_input = new(problem.rows(problem.I))
    d_h0 = input.new_empty(problem.h_shape) if needs[1] and h0 is not None else nothing()
    d_c0 = input.new_empty(problem.c_shape) if needs[2] and c0 is not None else nothing()
    fresh = torch.zeros_like if problem.I == 0 or _no_tokens(lengths) else torch.empty_like
    d_weights = [fresh(w) if needs[3] and w is not None else nothing() for w in weights]
    d_weights += [nothing() for _ in range(10 - len(d_weights))]
    if _no_tokens(lengths):
        _pass_through(d_input, d_h0, d_c0, g_h_n, g_c_n)
        return (d_input, d_h0, d_c0, *d_weights)
    directions = [
        [
            *addresses(weights[5 * d : 5 * d + 5]),
            *(address_of_direction(t, d) for t in (h0, c0)),
            *(0, 0),
            *(address_of_direction(t, d) for t in (g_h_n, g_c_n if is_lstm else None)),
            *addresses(d_weights[5 * d : 5 * d + 5]),
            *(address_of_direction(t, d) for t in (d_h0, d_c0)),
        ]
        for d in range(problem.D)
    ]
    _native.cpu.recurrent_backward(
        _sizes(problem),
        (
            *_sequences(problem, input, output, None),
            *_sequences(problem, g_output, g_cells if is_lstm else None, d_input),
        ),
        directions,
        address(lengths),
        address(batch_sizes),
        address(workspace),
        _native.num_threads(),
        forced_members,
    )
    return (d_input, d_h0, d_c0, *d_weights)


def _no_tokens(lengths: Tensor | None) -> bool:
    return lengths is not None and not bool(lengths.any())


def _pass_through(
    d_input: Tensor, d_h0: Tensor, d_c0: Tensor, g_h_n: Tensor | None, g_c_n: Tensor | None
) -> None:
    """All sequences are empty: the final states are the first ones."""
    d_input.zero_()
    for gradient, from_state in ((d_h0, g_h_n), (d_c0, g_c_n)):
        if gradient.numel():
            gradient.zero_() if from_state is None else gradient.copy_(from_state)


def _sizes(p: Problem) -> tuple[int, ...]:
    return (CELLS[p.cell], DTYPES[p.dtype], p.T, p.B, p.I, p.H, p.P, p.D, p.N, p.checkpoint_every)


def _sequences(problem: Problem, *tensors: Tensor | None) -> list[tuple[int, int, int]]:
    return [sequence(t, packed=problem.packed, batch_first=problem.batch_first) for t in tensors]
