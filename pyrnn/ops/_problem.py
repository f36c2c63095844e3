"""What one call of the recurrent operator computes, checked once for every route.

The kernels read raw memory, so nothing reaches them that has not passed `make_problem`.

Dimension key: T time, B batch, I input, H hidden, P output (P = H without projection), D directions, N token
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.ops._checks import (
    as_checkpoint,
    bad_shape,
    check_lengths,
    check_like,
    is_readable,
)
from pyrnn.ops._memory import with_memory
from pyrnn.reference.recurrent import GATES

#: Names of one direction's weights, in the order of the flat tuple.
WEIGHT_NAMES = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")

#: Numbers kept for each unit and token in training, as in csrc/recurrent/cells.
SAVED = {"rnn_tanh": 0, "rnn_relu": 0, "gru": 4, "lstm": 5}


class Problem(NamedTuple):  # made at every call: a frozen dataclass takes five times as long
    """Sizes and options of one checked call."""

    cell: str
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    P: int
    D: int
    N: int  # token rows: T*B, or the rows of packed data
    packed: bool
    batch_first: bool
    checkpoint_every: int
    dtype: torch.dtype

    def rows(self, features: int) -> tuple[int, ...]:
        """Shape of input, output or cells with `features` in the last dimension."""
        if self.packed:
            return (self.N, features)
        return (self.B, self.T, features) if self.batch_first else (self.T, self.B, features)

    @property
    def output_shape(self) -> tuple[int, ...]:
        return self.rows(self.D * self.P)

    @property
    def cells_shape(self) -> tuple[int, ...]:
        return self.rows(self.D * self.H)

    @property
    def h_shape(self) -> tuple[int, ...]:
        return (self.D, self.B, self.P)

    @property
    def c_shape(self) -> tuple[int, ...]:
        """Shape of c_0 and c_n: nothing unless the cell is an LSTM."""
        return (self.D, self.B, self.H) if self.cell == "lstm" else (0,)


def workspace_shape(problem: Problem) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape and dtype of what a forward pass keeps for its backward pass, on any machine."""
    dtype = accumulation_dtype(problem.dtype)
    units = (problem.H + 15) // 16 * 16
    if problem.checkpoint_every:
        if problem.cell != "lstm":
            return (0,), dtype
        spans = (problem.T + problem.checkpoint_every - 1) // problem.checkpoint_every
        return (problem.D, spans, problem.B, units), dtype
    saved = SAVED[problem.cell]
    return ((problem.D, problem.N, saved, units) if saved else (0,)), dtype


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums, and of what is kept between the passes."""
    return torch.float64 if dtype is torch.float64 else torch.float32


def make_problem(
    cell: str,
    input: Tensor,
    h0: Tensor | None,
    c0: Tensor | None,
    lengths: Tensor | None,
    batch_sizes: Tensor | None,
    weights: Sequence[Tensor | None],
    *,
    batch_first: bool,
    checkpoint_every: int,
) -> Problem:
    """Check one call and return its sizes.

    Args:
        cell: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        input: [T, B, I]; [B, T, I] if `batch_first`; [N, I] with `batch_sizes`. Floating point.
        h0: [D, B, P] or None.
        c0: [D, B, H] or None; LSTM only.
        lengths: [B] int32 or int64 in [0, T], or None.
        batch_sizes: [T] int64 on the CPU, or None.
        weights: `WEIGHT_NAMES` of the forward direction, then of the reverse one (all None, or absent, for
            one direction).
        batch_first: the layout of `input`; without meaning for packed data.
        checkpoint_every: 0, or the number of steps between kept states.

    Returns:
        The sizes, those of a traced call symbolic.

    Raises:
        TypeError: input is not floating point; lengths or batch_sizes are not integers.
        ValueError: anything else that does not fit. The values of lengths and batch_sizes are read only where
            they can be (`_checks.is_readable`); shapes, dtypes and devices are checked everywhere.
    """
    if cell not in GATES:
        raise ValueError(f"cell must be one of {', '.join(GATES)}, got {cell!r}")
    checkpoint_every = as_checkpoint(checkpoint_every)
    if not input.is_floating_point():
        raise TypeError(
            f"input must be a floating point tensor, got {input.dtype}; convert it with input.to(...)"
        )

    directions = 1 if len(weights) <= 5 or all(w is None for w in weights[5:]) else 2
    H, P, I = _check_weights(cell, input, weights[: 5 * directions])  # noqa: E741
    if batch_sizes is not None:
        T, B, N = _check_packed(input, h0, lengths, batch_sizes, I)
        batch_first = False
    else:
        T, B = _check_padded(input, lengths, I, batch_first=batch_first)
        N = T * B
    if type(T) is int:  # more steps than there are change nothing, and could overflow in the kernels
        checkpoint_every = min(checkpoint_every, max(T, 1))
    problem = Problem(
        cell=cell,
        T=T,
        B=B,
        I=I,
        H=H,
        P=P,
        D=directions,
        N=N,
        packed=batch_sizes is not None,
        batch_first=batch_first,
        checkpoint_every=checkpoint_every,
        dtype=input.dtype,
    )

    if h0 is not None:
        check_like("h0", h0, problem.h_shape, input.dtype, input, "input", "[D, B, P]")
    if c0 is not None:
        if cell != "lstm":
            raise ValueError(f"c0 applies to the cell 'lstm' alone, got one for {cell!r}; leave it out")
        check_like("c0", c0, problem.c_shape, input.dtype, input, "input", "[D, B, H]")
    return problem


def _check_weights(cell: str, input: Tensor, weights: Sequence[Tensor | None]) -> tuple[int, int, int]:
    """Check one or two groups of weights and return (H, P, I)."""
    w_ih, w_hh, w_hr = weights[0], weights[1], weights[4]
    if w_ih is None or w_hh is None:
        raise ValueError("w_ih and w_hh must be tensors, got None; only biases and w_hr may be left out")
    gates, dtype = GATES[cell], input.dtype
    if w_ih.dim() != 2 or w_ih.shape[0] % gates or w_ih.shape[0] == 0 or w_ih.shape[1] == 0:
        bad_shape("w_ih", w_ih, f"[{gates}*H, I] with H and I at least 1, for the cell {cell!r}")
    rows, features = w_ih.shape
    H = rows // gates
    if w_hr is not None:
        if cell != "lstm":
            raise ValueError(
                f"w_hr (projection) applies to the cell 'lstm' alone, got one for {cell!r}; leave it out"
            )
        if w_hr.dim() != 2 or w_hr.shape[0] == 0:
            bad_shape("w_hr", w_hr, f"[P, H] with P at least 1 and H = {H}")
    P = H if w_hr is None else w_hr.shape[0]
    shapes = ((rows, features), (rows, P), (rows,), (rows,), (P, H))
    meanings = (f"[{gates}*H, I]", f"[{gates}*H, P]", f"[{gates}*H]", f"[{gates}*H]", "[P, H]")
    for start in range(0, len(weights), 5):
        for n, name in enumerate(WEIGHT_NAMES):
            weight, twin = weights[start + n], weights[n]
            if start and (weight is None) != (twin is None):
                raise ValueError(
                    f"both directions must have the same weights: {name} is {_presence(twin)} in the forward "
                    f"direction and {_presence(weight)} in the reverse one"
                )
            if weight is not None:
                label = f"{name}_reverse" if start else name
                check_like(label, weight, shapes[n], dtype, input, "input", meanings[n])
    return H, P, features


def _check_padded(
    input: Tensor, lengths: Tensor | None, features: int, *, batch_first: bool
) -> tuple[int, int]:
    """Check padded input and its lengths and return (T, B)."""
    layout = "[B, T, I]" if batch_first else "[T, B, I]"
    if input.dim() != 3 or input.shape[2] != features:
        bad_shape("input", input, f"{layout} with I = {features}")
    first, second = input.shape[:2]
    T, B = (second, first) if batch_first else (first, second)
    if lengths is not None:
        check_lengths(lengths, B, T, input, of="input", end="T")
    return T, B


def _check_packed(
    input: Tensor, h0: Tensor | None, lengths: Tensor | None, batch_sizes: Tensor, features: int
) -> tuple[int, int, int]:
    """Check packed input and return (T, B, N)."""
    if lengths is not None:
        raise ValueError("lengths and batch_sizes exclude each other: packed data carries its own lengths")
    if h0 is None:
        raise ValueError(
            "packed input (batch_sizes) needs h0 [D, B, P], got None; pass zeros for a fresh state"
        )
    if h0.dim() != 3:
        bad_shape("h0", h0, "[D, B, P]")
    if input.dim() != 2 or input.shape[1] != features:
        bad_shape("input", input, f"[N, I] with I = {features} for packed data")
    if batch_sizes.dtype is not torch.int64:
        raise TypeError(f"batch_sizes must be int64, as in PackedSequence, got {batch_sizes.dtype}")
    if batch_sizes.dim() != 1:
        bad_shape("batch_sizes", batch_sizes, "[T]")
    if not batch_sizes.is_cpu and not (batch_sizes.is_meta and input.is_meta):
        raise ValueError(
            f"batch_sizes must be a CPU tensor, as in PackedSequence, got one on {batch_sizes.device}"
        )
    T, B, N = batch_sizes.shape[0], h0.shape[1], input.shape[0]
    if is_readable(batch_sizes):
        sizes = with_memory(batch_sizes).tolist()
        falling = all(a >= b for a, b in pairwise(sizes))
        if sum(sizes) != N or (sizes and (not falling or sizes[-1] < 1 or sizes[0] != B)):
            raise ValueError(
                f"batch_sizes must fall from B = {B} (of h0) to at least 1 and sum to the {N} rows of input, "
                f"got {sizes[:8]}{'...' if T > 8 else ''} with sum {sum(sizes)}; build them with "
                "pack_padded_sequence"
            )
    return T, B, N


def _presence(weight: Tensor | None) -> str:
    return "absent" if weight is None else "given"
