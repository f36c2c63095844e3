"""Where the tokens of a call lie, and which are neighbours in time, for work on all of them at once.

Rows of tokens stand in order of time: row t*B + b of padded data, the rows themselves of packed data. Lengths
that live on a GPU are never read by the host: their consequences are tensors, too.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from pyrnn.ops.recurrent.call import Problem


class Tokens:
    """The tokens of one call."""

    def __init__(
        self,
        problem: Problem,
        lengths: Tensor | None,
        batch_sizes: Tensor | None,
        reset: Tensor | None,
        device: torch.device,
    ) -> None:
        self.problem, self.device = problem, device
        self.reset = reset  # bool [N] in order of the rows: where a new sequence starts
        self.packed = batch_sizes is not None
        self.offset: Tensor | None = None  # [T] first row of each step, packed only
        self.given = lengths  # [B] on the device; what lies outside [0, T] is for the kernels to clamp
        if batch_sizes is not None:  # known to the host: data goes to the device, nothing comes back
            sequences = torch.arange(problem.B)
            longer = torch.searchsorted(batch_sizes.flip(0), sequences, right=True)
            self.given = (problem.T - longer).to(device, non_blocking=True)
            ends = batch_sizes.cumsum(0)
            self._rows = [0, *ends.tolist()]
            self.offset = (ends - batch_sizes).to(device, non_blocking=True)

    def row(self, t: int) -> int:
        """First row of step t; of t = T, the number of rows."""
        return self._rows[t] if self.packed else t * self.problem.B

    @cached_property
    def lengths(self) -> Tensor | None:
        """[B] in [0, T]."""
        return None if self.given is None else self.given.clamp(0, self.problem.T)

    @property
    def masked(self) -> bool:
        """Whether some rows may be padding."""
        return self.given is not None and not self.packed

    @cached_property
    def alive(self) -> Tensor:
        """[N, 1]: which rows are no padding. For masked data."""
        assert self.lengths is not None
        steps = torch.arange(self.problem.T, device=self.device)
        return (steps[:, None] < self.lengths).reshape(-1, 1)

    def flat(self, sequence: Tensor) -> Tensor:
        """The rows [N, F] of a sequence laid out as the call's input is; a copy only where it must be."""
        if self.problem.batch_first:
            sequence = sequence.transpose(0, 1)
        return sequence.reshape(self.problem.N, sequence.shape[-1])

    def unflat(self, rows: Tensor) -> Tensor:
        """Inverse of `flat`, contiguous."""
        if self.packed:
            return rows.contiguous()
        sequence = rows.view(self.problem.T, self.problem.B, -1)
        return (sequence.transpose(0, 1) if self.problem.batch_first else sequence).contiguous()

    def without_padding(self, rows: Tensor, start: int = 0) -> Tensor:
        """`rows`, from row `start` of the call, with zeros where there is no token.

        Padding may hold anything, and 0 * NaN would reach the weights' gradients.
        """
        return rows.where(self.alive[start : start + len(rows)], 0) if self.masked else rows

    def end_rows(self, *, last: bool) -> Tensor | slice:
        """Rows of each sequence's first or last step; of an empty sequence, any row of its own."""
        B, N = self.problem.B, self.problem.N
        if not last:
            return slice(0, B)
        if self.lengths is None:
            return slice(N - B, N)
        t = (self.lengths - 1).clamp_min(0)
        return self._first_of(t) + torch.arange(B, device=self.device)

    def carried(self, state: Tensor | None, new: Tensor) -> Tensor:
        """`new` [D, B, F], which holds `state` where a sequence is empty: no kernel writes there."""
        if self.masked and new.numel():
            return new.zero_() if state is None else new.copy_(state)
        return new

    def first_state(self, state: Tensor | None) -> Tensor | None:
        """[D, B, F] as the steps meet it: forward, nothing is left of it where a reset cuts it off."""
        if state is None or self.reset is None:
            return state
        return torch.cat([self.unless_cut_off(state[0]).unsqueeze(0), state[1:]])

    def unless_cut_off(self, state: Tensor) -> Tensor:
        """`state` [B, F], forward's first or its gradient, zeroed where a reset cuts it off."""
        if self.reset is None:
            return state
        cut = self.reset[: self.problem.B]
        if self.lengths is not None:  # an empty sequence keeps its state
            cut = cut & (self.lengths > 0)
        return state.where(~cut[:, None], 0)

    def unless_empty(self, rows: Tensor, otherwise: Tensor) -> Tensor:
        """`rows` [B, F], with `otherwise` for empty sequences."""
        if not self.masked or self.lengths is None:
            return rows
        return rows.where(self.lengths[:, None] > 0, otherwise)

    @cached_property
    def later(self) -> Tensor | None:
        """[N]: each row's neighbour one step later, as `ShiftedRows` counts; None if it is always B on."""
        if self.lengths is None:
            return None
        t, b = self._positions
        following = self._first_of((t + 1).clamp_max(self.problem.T - 1)) + b
        length = self.lengths[b]
        source = torch.where(t + 1 < length, following, self.problem.N + b)
        return source if self.packed else source.where(t < length, self.problem.N + self.problem.B)

    @cached_property
    def earlier(self) -> Tensor | None:
        """[N]: the same, one step earlier; None if it is always B rows before."""
        if not self.packed:
            return None
        t, b = self._positions
        return torch.where(t > 0, self._first_of((t - 1).clamp_min(0)) + b, self.problem.N + b)

    def without_cut(self, rows: Tensor, start: int, *, later: bool) -> Tensor:
        """Neighbours of the rows from `start`, one step later or earlier, zeroed behind a reset."""
        if self.reset is None:
            return rows
        cut = self._cut_later if later else self._cut_earlier
        return rows.where(~cut[start : start + len(rows), None], 0)

    @cached_property
    def _cut_earlier(self) -> Tensor:
        """[N]: whether a row has a neighbour one step earlier, and starts a new sequence."""
        assert self.reset is not None
        B = self.problem.B
        return torch.cat([self.reset.new_zeros(B), self.reset[B:]])

    @cached_property
    def _cut_later(self) -> Tensor:
        """[N]: whether a row's neighbour one step later, if there is one, starts a new sequence."""
        assert self.reset is not None
        B = self.problem.B
        behind = torch.cat([self.reset, self.reset.new_zeros(B + 1)])
        return behind[B : len(self.reset) + B] if self.later is None else behind[self.later]

    @cached_property
    def _positions(self) -> tuple[Tensor, Tensor]:
        """Step and sequence of each row."""
        rows = torch.arange(self.problem.N, device=self.device)
        if self.offset is None:
            return rows // self.problem.B, rows % self.problem.B
        t = torch.searchsorted(self.offset, rows, right=True) - 1
        return t, rows - self.offset[t]

    def _first_of(self, t: Tensor) -> Tensor:
        return t * self.problem.B if self.offset is None else self.offset[t]


class ShiftedRows:
    """Rows [N, F] of all tokens, to fill in and to look up one step later or earlier.

    Where a sequence has no such step stands its row of `edge` [B, F] (None: zeros), behind a reset zeros.
    Rows of padding yield numbers without meaning, but finite ones if `rows` and `edge` are.
    """

    def __init__(
        self, tokens: Tokens, edge: Tensor | None, features: int, dtype: torch.dtype, *, later: bool
    ) -> None:
        N, B = tokens.problem.N, tokens.problem.B
        self._tokens, self._later = tokens, later
        self._source = tokens.later if later else tokens.earlier
        spare = 0 if self._source is None else 1  # a row of zeros, for padding
        self._buffer = torch.empty(N + B + spare, features, dtype=dtype, device=tokens.device)
        self._first = B if later and self._source is None else 0
        behind = later or self._source is not None
        self.rows = self._buffer[:N] if behind else self._buffer[B:]
        edges = self._buffer[N:] if behind else self._buffer[:B]
        if edge is None:
            edges.zero_()
            return
        if spare:
            edges[B:] = 0
        if tokens.masked and not later:  # the first step of an empty sequence is padding
            assert tokens.lengths is not None
            edge = edge.where(tokens.lengths[:, None] > 0, 0)
        edges[:B] = edge

    def of(self, start: int, stop: int) -> Tensor:
        """The neighbours of rows `start` to `stop`."""
        if self._source is None:
            rows = self._buffer[self._first + start : self._first + stop]
        else:
            rows = self._buffer.index_select(0, self._source[start:stop])
        return self._tokens.without_cut(rows, start, later=self._later)
