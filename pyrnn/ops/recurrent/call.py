"""A call of the recurrent operator: its arguments, its sizes, checked once for every route, and its results.

The kernels read raw memory, so nothing reaches them that has not passed `Call.problem`.

Dimension key: T time, B batch, I input, H hidden, P output (P = H without projection), D directions, N token
rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn._checks import (
    FARTHEST,
    as_integer,
    bad_shape,
    check_each_like,
    check_lengths,
    check_like,
    integers_of,
    private_integers,
)
from pyrnn._dispatch import is_readable
from pyrnn._native_args import CELLS, accumulation_dtype, contiguous, require_storage

#: Names of one direction's weights, in the order of the flat tuple.
WEIGHT_NAMES = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")

#: Which gradients a backward pass is asked for: input, h0, c0, and the ten weights.
Needs = Sequence[bool]

_LABELS = (*WEIGHT_NAMES, *(f"{name}_reverse" for name in WEIGHT_NAMES))


class Call(NamedTuple):
    """The arguments of `pyrnn::recurrent`, with the weights together."""

    input: Tensor  # [T, B, I]; [B, T, I] if batch_first; [N, I] with batch_sizes
    h0: Tensor | None  # [D, B, P]
    c0: Tensor | None  # [D, B, H], LSTM only
    lengths: Tensor | None  # [B] int32 or int64
    batch_sizes: Tensor | None  # [T] int64 on the CPU
    reset: Tensor | None  # bool, the input's shape without its features
    weights: tuple[Tensor | None, ...]  # 5*D, `WEIGHT_NAMES` of each direction
    cell: str
    batch_first: bool  # without meaning for packed data
    return_cells: bool
    checkpoint_every: int

    @classmethod
    def of(cls, *args: Any) -> Call:
        """From the flat arguments of the schema; without reverse weights there is one direction."""
        weights = args[6:16] if _has_any(args[11:16]) else args[6:11]
        return cls._make((*args[:6], weights, *args[16:]))

    @classmethod
    def for_kernels(cls, *args: Any) -> Call:
        """The same, with lengths and batch sizes that nobody changes once they are checked."""
        call = cls.of(*args)
        if call.lengths is None and call.batch_sizes is None:
            return call
        lengths, batch_sizes = private_integers(call.lengths), private_integers(call.batch_sizes)
        return call._replace(lengths=lengths, batch_sizes=batch_sizes)

    def problem(self) -> Problem:
        """Check the call and return its sizes, those of a traced call symbolic.

        Raises:
            TypeError: input is not floating point; lengths or batch_sizes are not integers; reset is no
                bool.
            ValueError: anything else that does not fit. The values of lengths and batch_sizes are read only
                where they can be (`is_readable`); shapes, dtypes and devices are checked everywhere.
        """
        cell, input = self.cell, self.input
        if cell not in CELLS:
            raise ValueError(f"cell must be one of {', '.join(CELLS)}, got {cell!r}")
        checkpoint_every = as_checkpoint(self.checkpoint_every)
        if not input.is_floating_point():
            raise TypeError(
                f"input must be a floating point tensor, got {input.dtype}; convert it with input.to(...)"
            )
        H, P, I = _check_weights(self)  # noqa: E741
        batch_first = self.batch_first
        if self.batch_sizes is not None:
            T, B, N = _check_packed(input, self.h0, self.lengths, self.batch_sizes, I)
            batch_first = False
        else:
            T, B = _check_padded(input, self.lengths, I, batch_first=batch_first)
            N = T * B
        if type(T) is int:  # more steps than there are change nothing, and could overflow in the kernels
            checkpoint_every = min(checkpoint_every, max(T, 1))
        D, packed, dtype = len(self.weights) // 5, self.batch_sizes is not None, input.dtype
        problem = Problem(cell, T, B, I, H, P, D, N, packed, batch_first, checkpoint_every, dtype)
        if self.h0 is not None:
            check_like("h0", self.h0, (D, B, P), dtype, input, "input", "[D, B, P]")
        if self.c0 is not None:
            if cell != "lstm":
                raise ValueError(f"c0 applies to the cell 'lstm' alone, got one for {cell!r}; leave it out")
            check_like("c0", self.c0, (D, B, H), dtype, input, "input", "[D, B, H]")
        if self.reset is not None:
            _check_reset(self.reset, problem, input)
        return problem


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
        """Of h at every step."""
        return self.rows(self.D * self.P)

    @property
    def cells_shape(self) -> tuple[int, ...]:
        """Of c at every step, and of h before a projection."""
        return self.rows(self.D * self.H)

    @property
    def h_shape(self) -> tuple[int, ...]:
        """Of h_0 and h_n."""
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
        segments = (problem.T + problem.checkpoint_every - 1) // problem.checkpoint_every
        return (problem.D, segments, problem.B, units), dtype
    saved = CELLS[problem.cell].saved
    return ((problem.D, problem.N, saved, units) if saved else (0,)), dtype


def _has_any(weights: tuple[Tensor | None, ...]) -> bool:
    return any(weight is not None for weight in weights)


# -------------------------------------------------------------------------------------------- checks


def as_checkpoint(value: Any) -> int:
    """The option `checkpoint_every`, in the range of an int64.

    Raises:
        TypeError: it is no integer.
        ValueError: it is negative.
    """
    if type(value) is int and 0 <= value <= FARTHEST:
        return value
    value = as_integer("checkpoint_every", value)
    if value < 0:
        raise ValueError(
            f"checkpoint_every must be 0 (keep every gate) or a positive number of steps, got {value}"
        )
    return min(value, FARTHEST)  # no sequence has as many steps


def _check_weights(call: Call) -> tuple[int, int, int]:
    """Check the weights of one or both directions and return (H, P, I)."""
    weights, cell, gates = call.weights, call.cell, CELLS[call.cell].gates
    w_ih, w_hh, w_hr = weights[0], weights[1], weights[4]
    if w_ih is None or w_hh is None:
        raise ValueError("w_ih and w_hh must be tensors, got None; only biases and w_hr may be left out")
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
    for n, weight in enumerate(weights[5:]):
        if (weight is None) != (weights[n] is None):
            raise ValueError(
                f"both directions must have the same weights: {WEIGHT_NAMES[n]} is {_presence(weights[n])} "
                f"in the forward direction and {_presence(weight)} in the reverse one"
            )
    directions = len(weights) // 5
    shapes = ((rows, features), (rows, P), (rows,), (rows,), (P, H)) * directions
    meanings = (f"[{gates}*H, I]", f"[{gates}*H, P]", f"[{gates}*H]", f"[{gates}*H]", "[P, H]") * directions
    check_each_like(_LABELS, weights, shapes, call.input, "input", meanings)
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
        sizes = integers_of(require_storage(batch_sizes))
        falling = all(a >= b for a, b in pairwise(sizes))
        if sum(sizes) != N or (sizes and (not falling or sizes[-1] < 1 or sizes[0] != B)):
            raise ValueError(
                f"batch_sizes must fall from B = {B} (of h0) to at least 1 and sum to the {N} rows of input, "
                f"got {sizes[:8]}{'...' if T > 8 else ''} with sum {sum(sizes)}; build them with "
                "pack_padded_sequence"
            )
    return T, B, N


def _check_reset(reset: Tensor, problem: Problem, input: Tensor) -> None:
    if reset.dtype is not torch.bool:
        raise TypeError(
            f"reset must be bool, true at the first step of each new sequence, got {reset.dtype}; convert it "
            "with reset.bool()"
        )
    layout = "[N]" if problem.packed else "[B, T]" if problem.batch_first else "[T, B]"
    check_like("reset", reset, problem.rows(0)[:-1], torch.bool, input, "input", layout)


def _presence(weight: Tensor | None) -> str:
    return "absent" if weight is None else "given"


# ------------------------------------------------------------------------------- arguments of kernels


def reset_bytes(call: Call, p: Problem) -> Tensor | None:
    """`reset` as the kernels read it: a byte for each token, time first and without gaps."""
    if call.reset is None:
        return None
    return contiguous(call.reset.transpose(0, 1) if p.batch_first else call.reset)


# ------------------------------------------------------------------------------------------- results


def empty_results(call: Call, p: Problem, *, train: bool) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """output, h_n, c_n, cells and the workspace ([0] unless `train`), as the kernels lay them out."""
    new, is_lstm = call.input.new_empty, p.cell == "lstm"
    output, h_n = new(p.rows(p.D * p.P)), new((p.D, p.B, p.P))
    c_n = new((p.D, p.B, p.H) if is_lstm else (0,))
    cells = new(p.rows(p.D * p.H) if is_lstm and call.return_cells else (0,))
    if not train:
        return output, h_n, c_n, cells, new(0)
    shape, dtype = workspace_shape(p)
    return output, h_n, c_n, cells, new(shape, dtype=dtype)


def empty_gradients(call: Call, needs: Needs) -> list[Tensor]:
    """Those of input, h0, c0 and the ten weights, [0] for what is absent or not needed.

    The kernels compute the gradients of all weights or of none.
    """
    tensors = (call.input, call.h0, call.c0, *call.weights, *(None,) * (10 - len(call.weights)))
    wanted = (*needs[:3], *(any(needs[3:]),) * 10)
    return [
        call.input.new_empty(tensor.shape if tensor is not None and want else (0,))
        for tensor, want in zip(tensors, wanted, strict=True)
    ]


def pass_through(gradients: list[Tensor], grads: Sequence[Tensor | None]) -> list[Tensor]:
    """Fill in the gradients of a call without tokens: its final states are the first ones."""
    for gradient in gradients:
        gradient.zero_()
    for position, grad in ((1, grads[1]), (2, grads[2])):
        if grad is not None and gradients[position].numel():
            gradients[position].copy_(require_storage(grad))
    return gradients
