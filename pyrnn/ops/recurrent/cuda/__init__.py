"""The recurrent layer on a GPU: large products by torch, the recurrence through time by our kernels.

Every argument has passed `Call.problem`. Everything is put on torch's current stream, nothing is read back,
so a call can stand in a CUDA graph if its lengths, too, are on the GPU.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyrnn._dispatch import autocast_disabled, on_device
from pyrnn._native_args import CELLS, accumulation_dtype, all_contiguous, contiguous, of_direction, with_rows
from pyrnn.ops.recurrent.call import Call, Needs, Problem, empty_results, reset_bytes
from pyrnn.ops.recurrent.cuda import backward as backward_pass
from pyrnn.ops.recurrent.cuda import projection
from pyrnn.ops.recurrent.cuda.recurrence import (
    DirectionArgs,
    DirectionWeights,
    Recurrence,
    StepSequences,
    plan,
    product,
)
from pyrnn.ops.recurrent.cuda.tokens import Tokens

__all__ = ["backward", "forward", "plan"]

# The input product of a whole sequence can be many times larger than its input. 64 MiB of it are more work
# than a GPU needs to be busy and about what its cache holds; segments of fewer steps would cost launches.
SEGMENT_BYTES = 64 * 2**20
SEGMENT_STEPS = 32


def forward(call: Call, problem: Problem, *, train: bool) -> tuple[Tensor, ...]:
    """Run one layer; returns output, h_n, c_n, cells and the workspace ([0] unless `train`)."""
    is_lstm = problem.cell == "lstm"
    keeps_gates = train and not problem.checkpoint_every and CELLS[problem.cell].saved > 0
    keeps_cells = train and problem.checkpoint_every > 0 and is_lstm
    call = _with_layout(call)
    input, h0, c0 = call[:3]
    with on_device(input.device), autocast_disabled(input.device.type):
        tokens = _tokens(call, problem)
        weights = [DirectionWeights.of(call.weights, d) for d in range(problem.D)]
        projected = weights[0].w_hr is not None
        output, h_n, c_n, cells, workspace = empty_results(call, problem, train=train)
        h_n, c_n = tokens.carried(h0, h_n), tokens.carried(c0, c_n)
        h0, c0 = tokens.first_state(h0), tokens.first_state(c0)
        # With a projection P is not H, and the output comes afterwards.
        unprojected = input.new_empty(problem.cells_shape) if projected else output
        directions = [
            DirectionArgs(
                w_hh=own.recurrent_weight(),
                b_ih=own.b_ih,
                b_hh=own.b_hh,
                h0=None if projected else of_direction(h0, d),
                c0=of_direction(c0, d),
                last_h=input.new_empty(problem.B, problem.H) if projected else h_n[d],
                last_c=of_direction(c_n, d),
                saved=workspace[d] if keeps_gates else None,
            )
            for d, own in enumerate(weights)
        ]
        recurrence = Recurrence(
            tokens,
            StepSequences(unprojected, cells),
            backward=False,
            checkpoint_every=problem.checkpoint_every if keeps_cells else 0,
            checkpoints=workspace if keeps_cells else None,
        )
        rows = tokens.flat(input)
        initial_terms = projection.initial_state_terms(h0, weights) if projected else None
        for start, stop in _segments(problem):
            parts = []
            for d, own in enumerate(weights):
                first = tokens.row(start if d == 0 else problem.T - stop)
                last = tokens.row(stop if d == 0 else problem.T - start)
                gx = product(rows[first:last], own.w_ih.T)
                if initial_terms is not None:
                    projection.add_initial_state_term(tokens, gx, initial_terms[d], first, last=d == 1)
                parts.append(directions[d]._replace(gx=gx, gx_row0=first, s0=start, s1=stop))
            recurrence.run(parts)
        if projected:
            output = projection.project(tokens, unprojected, weights, h_n)
    return output, h_n, c_n, cells, workspace


def _segments(problem: Problem) -> Iterator[tuple[int, int]]:
    """Segments of the steps, in the order of the pass, whose input products fit in `SEGMENT_BYTES`."""
    gates = CELLS[problem.cell].gates * problem.H
    step_bytes = problem.B * gates * accumulation_dtype(problem.dtype).itemsize
    steps = max(SEGMENT_STEPS, SEGMENT_BYTES // step_bytes)
    for start in range(0, problem.T, steps):
        yield start, min(start + steps, problem.T)


def backward(
    call: Call,
    problem: Problem,
    grads: tuple[Tensor | None, ...],
    output: Tensor,
    workspace: Tensor,
    *,
    needs: Needs,
) -> list[Tensor]:
    """Gradients of input, h0, c0 and the ten weights, from those of output, h_n, c_n and cells."""
    kept, output, workspace = _with_layout(call), contiguous(output), contiguous(workspace)
    with on_device(kept.input.device), autocast_disabled(kept.input.device.type):
        saved = backward_pass.Saved(_tokens(kept, problem), kept, output, workspace)
        return backward_pass.run(saved, backward_pass.OutputGrads(*all_contiguous(grads)), needs)


def _with_layout(call: Call) -> Call:
    """The call as the kernels read it: the input in any strides but the last, lengths beside it."""
    input, lengths = with_rows(call.input), call.lengths
    if lengths is not None and not input.is_cpu:
        lengths = contiguous(lengths).to(input.device, torch.int64, non_blocking=lengths.is_cpu)
    h0, c0, *weights = all_contiguous((call.h0, call.c0, *call.weights))
    return call._replace(input=input, h0=h0, c0=c0, lengths=lengths, weights=tuple(weights))


def _tokens(call: Call, problem: Problem) -> Tokens:
    reset = reset_bytes(call, problem)
    reset = None if reset is None else reset.view(-1)
    return Tokens(problem, call.lengths, call.batch_sizes, reset, call.input.device)
