"""The projection of an LSTM on a GPU, made of large products around kernels that know nothing of it.

The state is h = W_hr m with m = o * tanh(c). Because W_hh h = (W_hh W_hr) m, the recurrence is that of m with
the product of the two weights. The first state, which is no m, joins the input product of each sequence's
first step. Backward, with D the gradients of the gates: what m receives from outside is W_hr^T (g_y + g_h_n);
what h receives is g_y + g_h_n + W_hh^T D of the step that read it; the gradients of W_hr and h_0 follow.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pyrnn._native_args import accumulation_dtype, of_direction
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.cuda.recurrence import DirectionWeights, product, rounded_product
from pyrnn.ops.recurrent.cuda.tokens import ShiftedRows, Tokens


def initial_state_terms(h0: Tensor | None, weights: list[DirectionWeights]) -> list[Tensor] | None:
    """What the first state [D, B, P] adds to the gates: h_0 W_hh^T [B, G*H] of each direction."""
    return None if h0 is None else [product(h, own.w_hh.T) for h, own in zip(h0, weights, strict=True)]


def add_initial_state_term(tokens: Tokens, gx: Tensor, added: Tensor, start: int, *, last: bool) -> None:
    """Add `added` [B, G*H] to `gx`, token rows from `start`, at each sequence's first step, or last one."""
    N, B, stop = tokens.problem.N, tokens.problem.B, start + len(gx)
    if not last:
        if start == 0:
            gx[:B] += added
    elif tokens.later is None:
        if stop == N:
            gx[-B:] += added
    else:  # `later` counts from N where a sequence ends
        sequence = torch.where(tokens.later >= N, tokens.later - N, B)[start:stop].clamp_max(B)
        gx += torch.cat([added, added.new_zeros(1, added.shape[1])]).index_select(0, sequence)


def project(tokens: Tokens, unprojected: Tensor, weights: list[DirectionWeights], h_n: Tensor) -> Tensor:
    """The output from m of all steps, D*H columns; fills in `h_n`, which holds h_0 for empty sequences."""
    m = tokens.flat(unprojected).chunk(len(weights), -1)
    parts = [rounded_product(part, _w_hr(own).T) for part, own in zip(m, weights, strict=True)]
    for d, part in enumerate(parts):
        h_n[d] = tokens.unless_empty(part[tokens.end_rows(last=d == 0)], h_n[d])
    return tokens.unflat(torch.cat(parts, -1))


def gradient_before_projection(tokens: Tokens, g_output: Tensor, weights: list[DirectionWeights]) -> Tensor:
    """What m of all steps receives from the output's gradient."""
    parts = tokens.flat(g_output).chunk(len(weights), -1)
    found = [rounded_product(part, _w_hr(own)) for part, own in zip(parts, weights, strict=True)]
    return tokens.unflat(torch.cat(found, -1))


class ProjectionGradients:
    """Gradients of W_hr and of the first state, of one direction, from segments in the order of the pass."""

    def __init__(
        self,
        tokens: Tokens,
        weights: DirectionWeights,
        direction: int,
        g_output: Tensor | None,
        g_h_n: Tensor | None,
    ) -> None:
        problem: Problem = tokens.problem
        self._tokens, self._weights, self._direction = tokens, weights, direction
        self._g_h: Tensor | None = None
        if g_output is not None:
            self._g_h = tokens.without_padding(tokens.flat(g_output).chunk(problem.D, -1)[direction])
        # The step that reads h is one later in the forward direction, one earlier in the reverse one.
        self._through_gates = ShiftedRows(
            tokens,
            of_direction(g_h_n, direction),
            problem.P,
            accumulation_dtype(problem.dtype),
            later=direction == 0,
        )

    def add(self, start: int, d_gates: Tensor, saved: Tensor) -> Tensor:
        """Take a segment from token row `start`; its part [P, H] of the gradient of W_hr."""
        stop, H = start + len(d_gates), self._tokens.problem.H
        self._through_gates.rows[start:stop] = product(d_gates, self._weights.w_hh)
        d_h = self._through_gates.of(start, stop)
        if self._g_h is not None:
            d_h = d_h + self._g_h[start:stop]
        o, c = saved[:, 3, :H], saved[:, 4, :H]
        m = self._tokens.without_padding(o * c.tanh(), start)  # nothing was saved there
        return product(d_h.to(d_gates.dtype).T, m.to(d_gates.dtype))

    def d_h0(self, passed: Tensor) -> Tensor:
        """Gradient of the first state [B, P] after all segments; `passed` for empty sequences."""
        rows = self._through_gates.rows
        first = rows[self._tokens.end_rows(last=self._direction == 1)]
        return self._tokens.unless_empty(first.to(passed.dtype), passed)


def _w_hr(weights: DirectionWeights) -> Tensor:
    assert weights.w_hr is not None, "only a layer with a projection comes here"
    return weights.w_hr
