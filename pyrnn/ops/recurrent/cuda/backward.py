"""The recurrent layer on a GPU, backward: kernels find the gates' gradients, large products all others.

With every gate in the workspace there is one segment, all steps. Otherwise the gates are computed again for
`checkpoint_every` steps at a time: every h is known from the output, so two large products give all but the
LSTM's c, which the kernels replay from the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn._native_args import CELLS, of_direction
from pyrnn.ops.recurrent.call import Call, Needs, Problem, empty_gradients
from pyrnn.ops.recurrent.cuda import projection
from pyrnn.ops.recurrent.cuda.recurrence import (
    DirectionArgs,
    DirectionWeights,
    Recurrence,
    StepSequences,
    product,
    rounded_product,
)
from pyrnn.ops.recurrent.cuda.tokens import ShiftedRows, Tokens


class Saved(NamedTuple):
    """What a forward pass was given, and left."""

    tokens: Tokens
    call: Call
    output: Tensor
    workspace: Tensor

    def weights(self, direction: int) -> DirectionWeights:
        """Of one direction."""
        return DirectionWeights.of(self.call.weights, direction)


class OutputGrads(NamedTuple):
    """Gradients of the results of a forward pass."""

    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    cells: Tensor | None


def run(saved: Saved, grads: OutputGrads, needs: Needs) -> list[Tensor]:
    """Gradients of input, h0, c0 and the ten weights, [0] for those that `needs` leaves out."""
    tokens, call, problem = saved.tokens, saved.call, saved.tokens.problem
    is_lstm, every = problem.cell == "lstm", problem.checkpoint_every if CELLS[problem.cell].saved else 0
    gradients = empty_gradients(call, needs)
    tokens.carried(grads.h_n, gradients[1])
    tokens.carried(grads.c_n, gradients[2])
    y, g_y = saved.output, grads.output
    if call.weights[4] is not None:  # the recurrence is that of m, which nothing has kept
        y, weights = None, [saved.weights(d) for d in range(problem.D)]
        g_y = None if g_y is None else projection.gradient_before_projection(tokens, g_y, weights)
    recurrence = Recurrence(
        tokens,
        StepSequences(y, None, g_y, grads.cells if is_lstm else None),
        backward=True,
        checkpoint_every=every,
        checkpoints=saved.workspace if every and is_lstm else None,
    )
    rows = tokens.without_padding(tokens.flat(call.input))
    directions = [
        _DirectionBackward(saved, grads, rows, d, gradients, every, needs) for d in range(problem.D)
    ]
    d_rows: Tensor | None = None
    for segments in _segments(problem, every):
        parts = [own.begin(*segment) for own, segment in zip(directions, segments, strict=True)]
        if every:
            recurrence.replay([part.args for part in parts])
        recurrence.run([part.args for part in parts])
        for own, part in zip(directions, parts, strict=True):
            own.finish(part)
            if needs[0]:
                d_rows = _add_input_gradient(d_rows, part, own.weights.w_ih, problem)
    for d, own in enumerate(directions):
        if gradients[1].numel():
            own.finish_h0(gradients[1][d])
        if d == 0 and tokens.reset is not None:
            for state in gradients[1:3]:
                if state.numel():
                    state[0] = tokens.unless_cut_off(state[0])
        for n, d_weight in enumerate(own.d_weights()):
            if d_weight is not None:
                gradients[3 + 5 * d + n].copy_(d_weight)
    if d_rows is not None:
        gradients[0] = tokens.unflat(d_rows.to(problem.dtype))
    return gradients


def _segments(problem: Problem, every: int) -> Iterator[list[tuple[int, int]]]:
    """Steps [from, to) that each direction runs back through at a time, cut at multiples of `every`.

    The forward direction ran with time, so it starts at the end; the reverse one starts at 0.
    """
    length = every or problem.T
    cuts = [(t, min(t + length, problem.T)) for t in range(0, problem.T, length)]
    for last, first in zip(reversed(cuts), cuts, strict=True):
        yield [last, first][: problem.D]


class _Segment(NamedTuple):
    """Some steps of one direction."""

    start: int  # token rows
    stop: int
    h_previous: Tensor | None  # S [rows, P], where it is needed
    saved: Tensor | None  # A [rows, kSaved, Hp]
    d_gates: Tensor  # S [rows, kSlots*H], to be written
    args: DirectionArgs

    def d_gates_of(self, cell: str, *, hidden: bool) -> Tensor:
        """Gradients [rows, G*H] of what W_ih x, or W_hh h_prev, adds to.

        The gates stand in torch's order; those of the GRU's W_hh h_prev, as n, r, z.
        """
        if cell != "gru":
            return self.d_gates
        H = self.d_gates.shape[1] // CELLS[cell].slots
        return self.d_gates[:, : 3 * H] if hidden else self.d_gates[:, H:]


class _DirectionBackward:
    """One direction: what the kernels need of each segment, and the sums of what comes of it."""

    def __init__(
        self,
        saved: Saved,
        grads: OutputGrads,
        rows: Tensor,
        direction: int,
        gradients: list[Tensor],
        every: int,
        needs: Needs,
    ) -> None:
        """`rows` are the input's [N, I]; those of `gradients` that belong to states are to be written."""
        tokens, call = saved.tokens, saved.call
        problem = tokens.problem
        self.weights = saved.weights(direction)
        self._tokens, self._problem, self._direction = tokens, problem, direction
        self._rows, self._every, self._wants_weights = rows, every, any(needs[3:])
        self._workspace = of_direction(saved.workspace, direction)
        self._sums: list[Tensor] = []
        h0, c0 = (of_direction(tokens.first_state(t), direction) for t in (call.h0, call.c0))
        first_h, last_h = (of_direction(t, direction) for t in (grads.h_n, gradients[1]))
        self._previous: ShiftedRows | None = None
        if self._wants_weights or every:
            self._previous = ShiftedRows(tokens, h0, problem.P, problem.dtype, later=direction == 1)
            self._previous.rows.copy_(tokens.flat(saved.output).chunk(problem.D, -1)[direction])
        self._projection: projection.ProjectionGradients | None = None
        if self.weights.w_hr is not None:
            self._projection = projection.ProjectionGradients(
                tokens, self.weights, direction, grads.output, grads.h_n
            )
            h0 = last_h = None
            first_h = None if first_h is None else rounded_product(first_h, self.weights.w_hr)
        self._constant = DirectionArgs(
            w_hh=self.weights.recurrent_weight(),
            b_ih=self.weights.b_ih,
            b_hh=self.weights.b_hh,
            h0=h0,
            c0=c0,
            first_h=first_h,
            first_c=of_direction(grads.c_n, direction) if problem.cell == "lstm" else None,
            last_h=last_h,
            last_c=of_direction(gradients[2], direction),
        )

    def begin(self, t0: int, t1: int) -> _Segment:
        """What the kernels need for steps t0 to t1."""
        problem, reverse = self._problem, self._direction == 1
        start, stop = self._tokens.row(t0), self._tokens.row(t1)
        h_previous = None if self._previous is None else self._previous.of(start, stop)
        d_gates = self._rows.new_empty(stop - start, CELLS[problem.cell].slots * problem.H)
        gx = gh = saved = None
        if self._every:
            assert h_previous is not None
            gx = product(self._rows[start:stop], self.weights.w_ih.T)
            gh = product(h_previous, self.weights.w_hh.T)
            units = (problem.H + 15) // 16 * 16
            saved = gx.new_empty(stop - start, CELLS[problem.cell].saved, units)
        elif self._workspace is not None:
            saved = self._workspace[start:stop]
        args = self._constant._replace(
            gx=gx,
            gx_row0=start,
            gh=gh,
            saved=saved,
            saved_row0=start,
            d_gates=d_gates,
            d_gates_row0=start,
            s0=t0 if reverse else problem.T - t1,
            s1=t1 if reverse else problem.T - t0,
        )
        return _Segment(start, stop, h_previous, saved, d_gates, args)

    def finish(self, segment: _Segment) -> None:
        """Add what the pass through a segment found to the gradients of weights."""
        found: list[Tensor] = []
        if self._wants_weights:
            assert segment.h_previous is not None
            d_input, d_hidden = (segment.d_gates_of(self._problem.cell, hidden=h) for h in (False, True))
            found.append(product(d_input.T, self._rows[segment.start : segment.stop]))
            found.append(product(d_hidden.T, segment.h_previous))
            if self.weights.b_ih is not None or self.weights.b_hh is not None:
                found.append(segment.d_gates.sum(0, dtype=found[0].dtype))
        if self._projection is not None:
            assert segment.saved is not None
            found.append(self._projection.add(segment.start, segment.d_gates, segment.saved))
        self._sums = [a.add_(b) for a, b in zip(self._sums, found, strict=True)] if self._sums else found

    def finish_h0(self, d_h0: Tensor) -> None:
        """Write the gradient of the first state [B, P], where the kernels have not."""
        if self._projection is not None:
            d_h0.copy_(self._projection.d_h0(d_h0))

    def d_weights(self) -> tuple[Tensor | None, ...]:
        """Gradients of the five weights, None for those that are not there or not wanted."""
        if not self._wants_weights:
            return (None,) * 5
        H, gru, weights = self._problem.H, self._problem.cell == "gru", self.weights

        def ordered(hidden: Tensor) -> Tensor:
            return torch.cat([hidden[H:], hidden[:H]]) if gru else hidden

        d_ih, d_hh, *rest = self._sums
        d_b_ih = d_b_hh = None
        if weights.b_ih is not None:
            d_b_ih = rest[0][H:] if gru else rest[0]
        if weights.b_hh is not None:
            d_b_hh = ordered(rest[0][: 3 * H] if gru else rest[0])
        return d_ih, ordered(d_hh), d_b_ih, d_b_hh, None if weights.w_hr is None else rest[-1]


def _add_input_gradient(total: Tensor | None, segment: _Segment, w_ih: Tensor, problem: Problem) -> Tensor:
    """The sum [N, I] of D W_ih over directions and segments, with that of `segment`."""
    d_gates = segment.d_gates_of(problem.cell, hidden=False)
    # One direction gives each row once, so that it can be rounded at once.
    part = rounded_product(d_gates, w_ih) if problem.D == 1 else product(d_gates, w_ih)
    if total is None:
        if segment.stop - segment.start == problem.N:
            return part
        total = part.new_zeros(problem.N, problem.I)
    total[segment.start : segment.stop] += part
    return total
