"""The recurrent layer on a GPU: large products by torch, the walk through time by our kernels.

Every argument has passed `make_problem`. Everything is put on torch's current stream, nothing is read back,
so a call can stand in a CUDA graph if its lengths, too, are on the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from pyrnn.ops import _cuda_backward, _cuda_projection
from pyrnn.ops._addresses import of_direction
from pyrnn.ops._cuda_walk import Group, Walk, WalkDirection, WalkSequences, plan, product
from pyrnn.ops._library import autocast_disabled, on_device
from pyrnn.ops._problem import SAVED, Problem, accumulation_dtype, workspace_shape
from pyrnn.ops._tokens import Tokens
from pyrnn.reference.recurrent import GATES

__all__ = ["backward", "forward", "plan"]

# The input product of a whole sequence can be many times larger than its input. 64 MiB of it are more work
# than a GPU needs to be busy and about what its cache holds; spans of fewer steps would cost launches.
SPAN_BYTES = 64 * 2**20
SPAN_STEPS = 32


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
    keeps_gates = train and not problem.checkpoint_every and SAVED[problem.cell] > 0
    keeps_cells = train and problem.checkpoint_every > 0 and is_lstm
    with on_device(input.device), autocast_disabled(input.device.type):
        tokens = Tokens(problem, lengths, batch_sizes, input.device)
        groups = [Group.of(weights, d) for d in range(problem.D)]
        projected = groups[0].w_hr is not None
        # Without projection this is the output; with one, P is not H, and the output comes afterwards.
        walked = input.new_empty(problem.cells_shape)
        cells = input.new_empty(problem.cells_shape if return_cells and is_lstm else (0,))
        h_n = tokens.carried(h0, input.new_empty(problem.h_shape))
        c_n = tokens.carried(c0, input.new_empty(problem.c_shape))
        shape, dtype = workspace_shape(problem)
        workspace = input.new_empty(shape if train else (0,), dtype=dtype)
        directions = [
            WalkDirection(
                w_hh=group.walked(),
                b_ih=group.b_ih,
                b_hh=group.b_hh,
                h0=None if projected else of_direction(h0, d),
                c0=of_direction(c0, d),
                last_h=input.new_empty(problem.B, problem.H) if projected else h_n[d],
                last_c=of_direction(c_n, d),
                saved=workspace[d] if keeps_gates else None,
            )
            for d, group in enumerate(groups)
        ]
        walk = Walk(
            tokens,
            WalkSequences(walked, cells),
            backward=False,
            checkpoint_every=problem.checkpoint_every if keeps_cells else 0,
            checkpoints=workspace if keeps_cells else None,
        )
        rows = tokens.flat(input)
        entering = _cuda_projection.entering(h0, groups) if projected else None
        for start, stop in _spans(problem):
            parts = []
            for d, group in enumerate(groups):
                first = tokens.row(start if d == 0 else problem.T - stop)
                last = tokens.row(stop if d == 0 else problem.T - start)
                gx = product(rows[first:last], group.w_ih.T)
                if entering is not None:
                    _cuda_projection.enter(tokens, gx, entering[d], first, last=d == 1)
                parts.append(directions[d]._replace(gx=gx, gx_row=first, start=start, stop=stop))
            walk.run(parts)
        output = _cuda_projection.project(tokens, walked, groups, h_n) if projected else walked
    return output, h_n, c_n, cells, workspace


def _spans(problem: Problem) -> Iterator[tuple[int, int]]:
    """Spans of the walk's steps whose input products fit in `SPAN_BYTES`."""
    gates = GATES[problem.cell] * problem.H
    step_bytes = problem.B * gates * accumulation_dtype(problem.dtype).itemsize
    steps = max(SPAN_STEPS, SPAN_BYTES // step_bytes)
    for start in range(0, problem.T, steps):
        yield start, min(start + steps, problem.T)


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
    with on_device(input.device), autocast_disabled(input.device.type):
        tokens = Tokens(problem, lengths, batch_sizes, input.device)
        groups = [Group.of(weights, d) for d in range(problem.D)]
        call = _cuda_backward.Saved(tokens, input, h0, c0, groups, output, workspace)
        gradients = _cuda_backward.Given(g_output, g_h_n, g_c_n, g_cells)
        return _cuda_backward.run(call, gradients, needs)
