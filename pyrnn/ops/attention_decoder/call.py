"""A call of the decoder: its arguments, its sizes, checked once for every route, and its results.

The kernels read raw memory, so nothing reaches them that has not passed `Call.problem`.

Dimension key: T steps, B batch, S source, G gates, H hidden, A features of queries and keys, V features of
values, W width of the location filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn._checks import bad_shape, check_each_like, check_lengths, private_integers, wrong_type
from pyrnn._native_args import CELLS, accumulation_dtype

#: Which gradients a backward pass is asked for: the first 13 tensors of a call.
Needs = Sequence[bool]

_NONLINEARITIES = ("tanh", "relu")
_CELLS = ("rnn", *(name for name in CELLS if not name.startswith("rnn_")))


class Call(NamedTuple):
    """The arguments of `pyrnn::attention_decoder`."""

    input: Tensor  # [T, B, G*H]
    h_0: Tensor  # [B, H]
    c_0: Tensor | None  # [B, H], LSTM only
    context_0: Tensor  # [B, V]
    keys: Tensor  # [S, B, A]
    values: Tensor  # [S, B, V]
    weight_hh: Tensor  # [G*H, H]
    bias_hh: Tensor | None  # [G*H]
    weight_context: Tensor | None  # [G*H, V]
    weight_query: Tensor | None  # [A, H]
    score_weight: Tensor | None  # [A]
    weight_location: Tensor | None  # [A, W]
    alignment_0: Tensor | None  # [B, S]
    source_lengths: Tensor | None  # [B] int32 or int64
    lengths: Tensor | None  # [B] int32 or int64
    cell: str  # as the recurrent operator names it
    scale: float
    cumulative: bool

    @classmethod
    def for_kernels(cls, *args: Any) -> Call:
        """From the flat arguments of the schema, with lengths that nobody changes once they are checked."""
        call = cls._make(args)
        if call.source_lengths is None and call.lengths is None:
            return call
        source_lengths, lengths = private_integers(call.source_lengths), private_integers(call.lengths)
        return call._replace(source_lengths=source_lengths, lengths=lengths)

    def problem(self) -> Problem:
        """Check the call and return its sizes, those of a traced call symbolic.

        Raises:
            TypeError: input is not floating point; lengths are not integers.
            ValueError: anything else that does not fit. The values of lengths are read only where they can be
                (`is_readable`); shapes, dtypes and devices are checked everywhere.
        """
        for name in ("h_0", "context_0", "keys", "values", "weight_hh"):
            if getattr(self, name) is None:
                raise TypeError(f"{name} must be a tensor, got None")
        cell, input, keys, values = self.cell, self.input, self.keys, self.values
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        if not input.is_floating_point():
            raise TypeError(
                f"input must be a floating point tensor, got {input.dtype}; convert it with input.to(...)"
            )
        gates = CELLS[cell].gates
        if self.weight_hh.dim() != 2 or self.weight_hh.shape[1] == 0:
            bad_shape("weight_hh", self.weight_hh, f"[{gates}*H, H] with H at least 1, for the cell {cell!r}")
        H = self.weight_hh.shape[1]
        if input.dim() != 3 or input.shape[2] != gates * H:
            bad_shape("input", input, f"[T, B, {gates}*H] with H = {H} of weight_hh, for the cell {cell!r}")
        if keys.dim() != 3 or keys.shape[0] == 0 or keys.shape[2] == 0:
            bad_shape("keys", keys, "[S, B, A] with S and A at least 1")
        if values.dim() != 3 or values.shape[2] == 0:
            bad_shape("values", values, "[S, B, V] with V at least 1")
        (T, B), (S, _, A), V = input.shape[:2], keys.shape, values.shape[2]
        W = self._check_options(H, A)
        rows = gates * H
        shapes = (
            *((B, H), (B, H), (B, V), (S, B, A), (S, B, V)),
            *((rows, H), (rows,), (rows, V), (A, H), (A,), (A, W), (B, S)),
        )
        check_each_like(self._fields[1:13], self[1:13], shapes, input, "input", _MEANINGS)
        if self.source_lengths is not None:
            check_lengths(self.source_lengths, B, S, input, of="input", end="S", name="source_lengths")
        if self.lengths is not None:
            check_lengths(self.lengths, B, T, input, of="input", end="T")
        return Problem(cell, T, B, S, H, A, V, W, input.dtype)

    def _check_options(self, H: int, A: int) -> int:
        """Require that what is given and what is left out fit each other; the width of the filter, or 0."""
        if (self.c_0 is not None) != (self.cell == "lstm"):
            is_there = "got None" if self.c_0 is None else f"got one for {self.cell!r}"
            raise ValueError(f"c_0 [B, H] belongs to the cell 'lstm', and to no other; {is_there}")
        if self.weight_query is None and A != H:
            raise ValueError(
                f"without weight_query the query is the state itself, and keys must have its size: expected "
                f"A = H = {H}, got A = {A}; give weight_query [A, H]"
            )
        if self.score_weight is not None and self.scale != 1:
            raise ValueError(
                f"scale belongs to the dot product, and score_weight asks for the additive score; expected "
                f"1.0, got {self.scale}; scale score_weight instead"
            )
        if not math.isfinite(self.scale):
            raise ValueError(f"scale must be a finite number, got {self.scale}")
        if self.weight_location is None:
            if self.alignment_0 is not None:
                raise ValueError(
                    "alignment_0 is what weight_location reads, which is None; leave alignment_0 out, or "
                    "give weight_location"
                )
            return 0
        if self.score_weight is None:
            raise ValueError(
                "weight_location belongs to the additive score, and score_weight is None: the score is a dot "
                "product; give score_weight [A]"
            )
        if self.weight_location.dim() != 2 or self.weight_location.shape[1] % 2 == 0:
            bad_shape("weight_location", self.weight_location, f"[A, W] with W odd and A = {A}")
        return self.weight_location.shape[1]


_MEANINGS = (
    *("[B, H]", "[B, H]", "[B, V]", "[S, B, A]", "[S, B, V]"),
    *("[G*H, H]", "[G*H]", "[G*H, V]", "[A, H]", "[A]", "[A, W]", "[B, S]"),
)


class Problem(NamedTuple):
    """Sizes of one checked call."""

    cell: str
    T: int
    B: int
    S: int
    H: int
    A: int
    V: int
    W: int  # 0 without a location filter
    dtype: torch.dtype

    @property
    def result_shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of output, context, weights, h_n, c_n and alignment_n."""
        T, B = self.T, self.B
        c_n = (B, self.H) if self.cell == "lstm" else (0,)
        return (T, B, self.H), (T, B, self.V), (T, B, self.S), (B, self.H), c_n, (B, self.S)


def cell_of(cell: Any, nonlinearity: Any) -> str:
    """The recurrent operator's name of a cell.

    Raises:
        TypeError: one of the two is no name.
        ValueError: one is unknown, or they do not fit each other.
    """
    for name, value in (("cell", cell), ("nonlinearity", nonlinearity)):
        if not isinstance(value, str):
            raise wrong_type(name, "str", value)
    if cell not in _CELLS:
        raise ValueError(f"cell must be one of {', '.join(_CELLS)}, got {cell!r}")
    if nonlinearity not in _NONLINEARITIES:
        raise ValueError(f"nonlinearity must be 'tanh' or 'relu', got {nonlinearity!r}")
    if cell != "rnn" and nonlinearity != "tanh":
        raise ValueError(f"nonlinearity belongs to the cell 'rnn', got {nonlinearity!r} for {cell!r}")
    return f"rnn_{nonlinearity}" if cell == "rnn" else cell


def workspace_shapes(p: Problem, *, has_query: bool) -> tuple[tuple[int, ...], ...]:
    """Of what a forward pass keeps for its backward pass: gates, and queries where a product made them."""
    saved, units = CELLS[p.cell].saved, (p.H + 15) // 16 * 16
    gates = (p.T, p.B, saved, units) if saved else (0,)
    return gates, (p.T, p.B, p.A) if has_query else (0,)


def empty_results(call: Call, p: Problem, *, train: bool) -> tuple[Tensor, ...]:
    """The six results, and gates and queries ([0] unless `train`), as the kernels lay them out."""
    new = call.input.new_empty
    results = tuple(new(shape) for shape in p.result_shapes)
    shapes = workspace_shapes(p, has_query=call.weight_query is not None) if train else ((0,), (0,))
    return (*results, *(new(shape, dtype=accumulation_dtype(p.dtype)) for shape in shapes))


def empty_gradients(call: Call, needs: Needs) -> list[Tensor]:
    """Those of the first 13 tensors, [0] for what is absent or not needed."""
    return [
        call.input.new_empty(tensor.shape if tensor is not None and need else (0,))
        for tensor, need in zip(call[:13], needs, strict=True)
    ]
