"""A call of linear_cross_entropy: its checks, the same on every route, and the pass over chunks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._checks import check_like, check_probability
from pyrnn._dispatch import autocast_disabled
from pyrnn._native_args import (
    DTYPES,
    accumulation_dtype,
    addresses,
    all_contiguous,
    check_fields,
    on_huge_pages,
)
from pyrnn.ops.linear import input_gradient, linear, linear_route, weight_gradients

#: Of the logits that are there at a time: as much as the C library gives back without fresh pages.
_CHUNK_BYTES = 2**25


class NativeLoss(NamedTuple):
    """`loss::Problem` of csrc/loss/problem.h."""

    dtype: int
    rows: int
    V: int
    gradient: int
    smoothing: float
    logits: int  # addresses
    targets: int
    weights: int
    losses: int
    total: int


check_fields(_native.cpu, "loss.Problem", NativeLoss._fields)


class Call(NamedTuple):
    """The arguments of a call, rows flattened."""

    input: Tensor  # [N, H]
    weight: Tensor  # [V, H]
    bias: Tensor | None  # [V]
    targets: Tensor  # [N]
    weights: Tensor | None  # [N]
    label_smoothing: float
    ignore_index: int

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """All there are, by position."""
        return self[:5]

    def check(self) -> None:
        """Require shapes, dtypes, devices and numbers that fit."""
        input, weight, bias, targets, weights, label_smoothing, _ = self
        if not input.is_floating_point():
            raise TypeError(f"input must be floating point, got {input.dtype}; convert it with input.float()")
        if input.dim() != 2 or weight.dim() != 2 or weight.shape[1] != input.shape[1] or not weight.shape[0]:
            raise ValueError(
                "expected input [N, H] and weight [V, H] with the same H and V at least 1, got "
                f"{list(input.shape)} and {list(weight.shape)}"
            )
        check_probability("label_smoothing", label_smoothing)
        N, V = input.shape[0], weight.shape[0]
        check_like("weight", weight, weight.shape, input.dtype, input, "input", "[V, H]")
        if bias is not None:
            check_like("bias", bias, (V,), input.dtype, input, "input", "[V]")
        check_like("targets", targets, (N,), torch.int64, input, "input", "[N]")
        if weights is not None:
            check_like("weights", weights, (N,), accumulation_dtype(input.dtype), input, "input", "[N]")

    def contiguous(self) -> Call:
        """The same call on contiguous tensors."""
        return Call(*all_contiguous(self.tensors), *self[5:])  # type: ignore[arg-type]

    def empty_results(self, wanted: Sequence[bool]) -> tuple[Tensor, ...]:
        """loss, losses [N], and gradients of input, weight and bias, [0] where they are not wanted."""
        wide = accumulation_dtype(self.input.dtype)
        return (
            self.input.new_empty((), dtype=wide),
            self.input.new_empty(self.targets.shape, dtype=wide),
            *self.empty_gradients(wanted),
        )

    def empty_gradients(self, wanted: Sequence[bool]) -> list[Tensor]:
        """Of input, weight and bias, [0] where they are not wanted."""
        shapes = self.input.shape, self.weight.shape, self.weight.shape[:1]
        return [
            self.input.new_empty(shape if want else (0,)) for shape, want in zip(shapes, wanted, strict=True)
        ]


def chunks_of(rows: int, V: int, itemsize: int) -> list[tuple[int, int]]:
    """Where the chunks of rows begin and end: as even as they go."""
    most = max(16, _CHUNK_BYTES // (V * itemsize))
    parts = -(-rows // most)
    return [(rows * part // parts, rows * (part + 1) // parts) for part in range(parts)]


def run(call: Call, wanted: Sequence[bool], results: tuple[Tensor, ...]) -> None:
    """Fill loss, losses, d_input, d_weight and d_bias, of contiguous tensors; the latter three as wanted."""
    input, weight, bias, targets, weights, label_smoothing, ignore_index = call
    loss, losses, d_input, d_weight, d_bias = results
    alive = targets != ignore_index
    if weights is not None:
        alive &= weights != 0
    rows = None
    if not input.is_cpu:  # the host would wait for the device to count those that are left out
        input, targets = input.where(alive.unsqueeze(1), 0), targets.where(alive, 0)
        weights = alive.to(losses.dtype) if weights is None else weights.where(alive, 0)
    elif not alive.all():
        rows = alive.nonzero().squeeze(1)
        input, targets = input[rows], targets[rows]
        weights = None if weights is None else weights[rows]
    own, own_d_input = losses, d_input
    if rows is not None:
        own = losses.new_empty(len(rows))
        own_d_input = d_input.new_empty((len(rows), input.shape[1])) if wanted[0] else d_input
    with torch.no_grad(), autocast_disabled(input.device.type):
        sums = _Sums(weight, d_weight, d_bias, wanted)
        total = torch.zeros((), dtype=torch.float64, device=input.device)
        for begin, end in chunks_of(len(targets), weight.shape[0], weight.itemsize):
            part = input[begin:end]
            scale = None if weights is None else weights[begin:end]
            logits = linear(part, weight, bias)
            _cross_entropy(
                logits, targets[begin:end], scale, label_smoothing, any(wanted), own[begin:end], total
            )
            if wanted[0]:
                own_d_input[begin:end] = input_gradient(logits, weight)
            sums.add(logits, part)
        sums.finish()
        loss.copy_(total)
        if rows is not None:
            losses.zero_()[rows] = own
            if wanted[0]:
                d_input.zero_()[rows] = own_d_input
        elif not input.is_cpu:
            losses.masked_fill_(~alive, 0)


class _Sums:
    """The gradients of weight and bias, summed over chunks: 16-bit ones in float32."""

    def __init__(self, weight: Tensor, d_weight: Tensor, d_bias: Tensor, wanted: Sequence[bool]) -> None:
        self._weight, self._results, self._wanted = weight, (d_weight, d_bias), wanted[1:]
        self._sums: list[Tensor | None] = [None, None]
        on_huge_pages(*(d_weight,) if d_weight.is_cpu else ())

    def add(self, gradient: Tensor, input: Tensor) -> None:
        """What a chunk adds, from the gradient of its logits and its rows."""
        wide, (d_weight, d_bias) = accumulation_dtype(gradient.dtype), self._sums
        with_weight, with_bias = self._wanted
        in_place = wide is gradient.dtype and self._by_torch(input)
        if with_weight and not in_place:
            product, column_sums = weight_gradients(gradient, input, with_bias=with_bias)
            self._sums[0] = product if d_weight is None else d_weight.to(wide).add_(product)
        else:
            if with_weight and d_weight is None:
                self._sums[0] = torch.mm(gradient.t(), input, out=self._results[0])
            elif with_weight and d_weight is not None:
                d_weight.addmm_(gradient.t(), input)
            column_sums = gradient.sum(0, dtype=wide) if with_bias else None
        if column_sums is not None:
            self._sums[1] = column_sums if d_bias is None else d_bias.to(wide).add_(column_sums)

    def _by_torch(self, input: Tensor) -> bool:
        return linear_route(input, self._weight, "weight_gradient").path == "torch"

    def finish(self) -> None:
        """Write the results."""
        for result, total, want in zip(self._results, self._sums, self._wanted, strict=True):
            if want and total is None:
                result.zero_()
            elif want and total is not None and total is not result:
                result.copy_(total)


def _cross_entropy(logits: Tensor, *args: Any) -> None:
    """The losses of a chunk by the kernel where there is one; see `_by_torch`."""
    has_kernel = logits.is_cpu and logits.dtype in _native.DTYPES["cpu"]
    (_by_kernel if has_kernel else _by_torch)(logits, *args)


def _by_kernel(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    smoothing: float,
    gradient: bool,
    losses: Tensor,
    total: Tensor,
) -> None:
    rows, V = logits.shape
    where = addresses((logits, targets, weights, losses, total))
    problem = NativeLoss(DTYPES[logits.dtype], rows, V, int(gradient), smoothing, *where)
    _native.cpu.cross_entropy(problem, _native.num_threads())


def _by_torch(
    logits: Tensor,
    targets: Tensor,
    weights: Tensor | None,
    smoothing: float,
    gradient: bool,
    losses: Tensor,
    total: Tensor,
) -> None:
    """Fill `losses`, add their weighted sum to `total`; the gradient, if wanted, takes the logits' place."""
    at_targets = targets.unsqueeze(1)
    logs = torch.log_softmax(logits, 1, dtype=losses.dtype)
    losses.copy_(logs.gather(1, at_targets).squeeze(1).mul_(smoothing - 1))
    if smoothing:
        losses.sub_(logs.mean(1), alpha=smoothing)
    total += (losses if weights is None else losses * weights).sum()
    if gradient:
        slopes = logs.exp_().scatter_add_(1, at_targets, losses.new_full(at_targets.shape, -1))
        if smoothing:
            slopes.sub_(smoothing / logits.shape[1])
            slopes.scatter_add_(1, at_targets, losses.new_full(at_targets.shape, smoothing))
        logits.copy_(slopes if weights is None else slopes.mul_(weights.unsqueeze(1)))
