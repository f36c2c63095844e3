"""The recurrent layer on a GPU, backward: the kernels walk the gates' gradients, products make them weights'.

With every gate in the workspace there is one span, all steps. Otherwise the gates are computed again for
`checkpoint_every` steps at a time: every h is known from the output, so two large products give all but the
LSTM's c, which the kernels replay from the workspace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.ops import _cuda_projection as projection
from pyrnn.ops._addresses import of_direction
from pyrnn.ops._cuda_walk import (
    Group,
    Walk,
    WalkDirection,
    WalkSequences,
    product,
    rounded_product,
)
from pyrnn.ops._problem import SAVED, Problem
from pyrnn.ops._tokens import Neighbours, Tokens

_SLOTS = {"rnn_tanh": 1, "rnn_relu": 1, "gru": 4, "lstm": 4}  #: kSlots of csrc/recurrent/cells


class Saved(NamedTuple):
    """What a forward pass was given, and left."""

    tokens: Tokens
    input: Tensor
    h0: Tensor | None
    c0: Tensor | None
    groups: list[Group]
    output: Tensor
    workspace: Tensor


class Given(NamedTuple):
    """Gradients of the results of a forward pass."""

    output: Tensor | None
    h_n: Tensor | None
    c_n: Tensor | None
    cells: Tensor | None


def run(call: Saved, given: Given, needs: tuple[bool, bool, bool, bool]) -> tuple[Tensor, ...]:
    """Gradients of input, h0, c0 and the ten weights, [0] for those that `needs` leaves out."""
    tokens, input = call.tokens, call.input
    problem, is_lstm = tokens.problem, tokens.problem.cell == "lstm"
    every = problem.checkpoint_every if SAVED[problem.cell] else 0

    def nothing() -> Tensor:  # a new one each time: results of an operator must not alias
        return input.new_empty(0)

    wants_h0, wants_c0 = needs[1] and call.h0 is not None, needs[2] and call.c0 is not None
    d_h0 = tokens.carried(given.h_n, input.new_empty(problem.h_shape)) if wants_h0 else nothing()
    d_c0 = tokens.carried(given.c_n, input.new_empty(problem.c_shape)) if wants_c0 else nothing()
    y, g_y = call.output, given.output
    if call.groups[0].w_hr is not None:  # the kernels walk on m, which nothing has kept
        y = None
        g_y = None if g_y is None else projection.gradient_of_walked(tokens, g_y, call.groups)
    walk = Walk(
        tokens,
        WalkSequences(y, None, g_y, given.cells if is_lstm else None),
        backward=True,
        checkpoint_every=every,
        checkpoints=call.workspace if every and is_lstm else None,
    )
    rows = tokens.without_padding(tokens.flat(input))
    sides = [_Side(call, given, rows, d, (d_h0, d_c0), every, needs) for d in range(problem.D)]
    d_rows: Tensor | None = None
    for spans in _spans(problem, every):
        parts = [side.enter(*span) for side, span in zip(sides, spans, strict=True)]
        if every:
            walk.replay([part.walk for part in parts])
        walk.run([part.walk for part in parts])
        for side, part in zip(sides, parts, strict=True):
            side.leave(part)
            if needs[0]:
                d_rows = _add_input_gradient(d_rows, part, side.group.w_ih, problem)
    if wants_h0:
        for d, side in enumerate(sides):
            side.finish_h0(d_h0[d])
    d_input = nothing() if d_rows is None else tokens.unflat(d_rows.to(problem.dtype))
    d_weights = [grad for side in sides for grad in side.d_weights()]
    d_weights += [None] * (10 - len(d_weights))
    return (d_input, d_h0, d_c0, *(nothing() if grad is None else grad for grad in d_weights))


def _spans(problem: Problem, every: int) -> Iterator[list[tuple[int, int]]]:
    """Steps [from, to) that each direction walks back through at a time, cut at multiples of `every`.

    The forward direction was walked with time, so it starts at the end; the reverse one starts at 0.
    """
    length = every or problem.T
    cuts = [(t, min(t + length, problem.T)) for t in range(0, problem.T, length)]
    for last, first in zip(reversed(cuts), cuts, strict=True):
        yield [last, first][: problem.D]


class _Span(NamedTuple):
    """Some steps of one direction."""

    start: int  # token rows
    stop: int
    h_previous: Tensor | None  # S [rows, P], where it is needed
    saved: Tensor | None  # A [rows, kSaved, Hp]
    d_gates: Tensor  # S [rows, kSlots*H], to be written
    walk: WalkDirection

    def d_gates_of(self, cell: str, *, hidden: bool) -> Tensor:
        """Gradients [rows, G*H] of what W_ih x, or W_hh h_prev, adds to.

        The gates stand in torch's order; those of the GRU's W_hh h_prev, as n, r, z.
        """
        if cell != "gru":
            return self.d_gates
        H = self.d_gates.shape[1] // _SLOTS[cell]
        return self.d_gates[:, : 3 * H] if hidden else self.d_gates[:, H:]


class _Side:
    """One direction: what its walk needs of each span, and the sums of what comes of it."""

    def __init__(
        self,
        call: Saved,
        given: Given,
        rows: Tensor,
        direction: int,
        d_states: tuple[Tensor, Tensor],
        every: int,
        needs: tuple[bool, bool, bool, bool],
    ) -> None:
        """`rows` are the input's [N, I]; `d_states`, [D, B, F] or [0], are to be written."""
        problem = call.tokens.problem
        self.group = call.groups[direction]
        self._tokens, self._problem, self._direction = call.tokens, problem, direction
        self._rows, self._every, self._wants_weights = rows, every, needs[3]
        self._workspace = of_direction(call.workspace, direction)
        self._sums: list[Tensor] = []
        h0, first_h, last_h = (of_direction(t, direction) for t in (call.h0, given.h_n, d_states[0]))
        self._previous: Neighbours | None = None
        if needs[3] or every:
            self._previous = Neighbours(call.tokens, h0, problem.P, problem.dtype, later=direction == 1)
            self._previous.rows.copy_(call.tokens.flat(call.output).chunk(problem.D, -1)[direction])
        self._projection: projection.ProjectionGradients | None = None
        if self.group.w_hr is not None:
            self._projection = projection.ProjectionGradients(
                call.tokens, self.group, direction, given.output, given.h_n
            )
            h0 = last_h = None
            first_h = None if first_h is None else rounded_product(first_h, self.group.w_hr)
        self._constant = WalkDirection(
            w_hh=self.group.walked(),
            b_ih=self.group.b_ih,
            b_hh=self.group.b_hh,
            h0=h0,
            c0=of_direction(call.c0, direction),
            first_h=first_h,
            first_c=of_direction(given.c_n, direction) if problem.cell == "lstm" else None,
            last_h=last_h,
            last_c=of_direction(d_states[1], direction),
        )

    def enter(self, t0: int, t1: int) -> _Span:
        """What the kernels need for steps t0 to t1."""
        problem, reverse = self._problem, self._direction == 1
        start, stop = self._tokens.row(t0), self._tokens.row(t1)
        h_previous = None if self._previous is None else self._previous.of(start, stop)
        d_gates = self._rows.new_empty(stop - start, _SLOTS[problem.cell] * problem.H)
        gx = gh = saved = None
        if self._every:
            assert h_previous is not None
            gx = product(self._rows[start:stop], self.group.w_ih.T)
            gh = product(h_previous, self.group.w_hh.T)
            units = (problem.H + 15) // 16 * 16
            saved = gx.new_empty(stop - start, SAVED[problem.cell], units)
        elif self._workspace is not None:
            saved = self._workspace[start:stop]
        walk = self._constant._replace(
            gx=gx,
            gx_row=start,
            gh=gh,
            saved=saved,
            saved_row=start,
            d_gates=d_gates,
            d_gates_row=start,
            start=t0 if reverse else problem.T - t1,
            stop=t1 if reverse else problem.T - t0,
        )
        return _Span(start, stop, h_previous, saved, d_gates, walk)

    def leave(self, span: _Span) -> None:
        """Add what the walk through a span found to the gradients of weights."""
        found: list[Tensor] = []
        if self._wants_weights:
            assert span.h_previous is not None
            d_input, d_hidden = (span.d_gates_of(self._problem.cell, hidden=h) for h in (False, True))
            found.append(product(d_input.T, self._rows[span.start : span.stop]))
            found.append(product(d_hidden.T, span.h_previous))
            if self.group.b_ih is not None or self.group.b_hh is not None:
                found.append(span.d_gates.sum(0, dtype=found[0].dtype))
        if self._projection is not None:
            assert span.saved is not None
            found.append(self._projection.add(span.start, span.d_gates, span.saved))
        self._sums = [a.add_(b) for a, b in zip(self._sums, found, strict=True)] if self._sums else found

    def finish_h0(self, d_h0: Tensor) -> None:
        """Write the gradient of the first state [B, P], where the kernels have not."""
        if self._projection is not None:
            d_h0.copy_(self._projection.d_h0(d_h0))

    def d_weights(self) -> list[Tensor | None]:
        """Gradients of the five weights, None for those that are not there or not wanted."""
        if not self._wants_weights:
            return [None] * 5
        H, gru = self._problem.H, self._problem.cell == "gru"

        def ordered(hidden: Tensor) -> Tensor:
            return torch.cat([hidden[H:], hidden[:H]]) if gru else hidden

        d_ih, d_hh, *rest = self._sums
        slots = rest[0] if self.group.b_ih is not None or self.group.b_hh is not None else None
        found = (
            d_ih,
            ordered(d_hh),
            None if slots is None or self.group.b_ih is None else slots[H:] if gru else slots,
            None if slots is None or self.group.b_hh is None else ordered(slots[: 3 * H] if gru else slots),
            None if self.group.w_hr is None else rest[-1],
        )
        # A copy, because the results of an operator must not alias, and both biases' are one sum.
        return [None if grad is None else grad.to(self._problem.dtype, copy=True) for grad in found]


def _add_input_gradient(total: Tensor | None, span: _Span, w_ih: Tensor, problem: Problem) -> Tensor:
    """The sum [N, I] of D W_ih over directions and spans, with that of `span`."""
    d_gates = span.d_gates_of(problem.cell, hidden=False)
    # One direction gives each row once, so that it can be rounded at once.
    part = rounded_product(d_gates, w_ih) if problem.D == 1 else product(d_gates, w_ih)
    if total is None:
        if span.stop - span.start == problem.N:
            return part
        total = part.new_zeros(problem.N, problem.I)
    total[span.start : span.stop] += part
    return total
