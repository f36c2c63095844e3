"""Calls of the CPU kernels of dropout: allocates the result, hands addresses over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import DTYPES, addresses, all_contiguous, check_fields, number_of, on_huge_pages
from pyrnn.ops.dropout.call import check, empty_contiguous

ACTIVATIONS = {"none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3}  #: as in csrc/pointwise/problem.h


class NativeDropout(NamedTuple):
    """`pointwise::DropoutProblem` of csrc/pointwise/problem.h."""

    dtype: int
    activation: int
    count: int
    seed: int
    p: float
    x: int  # addresses
    other: int
    out: int


check_fields(_native.cpu, "pointwise.Dropout", NativeDropout._fields)


def forward(input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, activation: str) -> Tensor:
    """residual + drop(activation(input))."""
    check(input, residual, "residual", seed, p, activation)
    return _run(_native.cpu.dropout_forward, (input, residual), seed, p, activation, like=input)


def backward(
    grad: Tensor,
    input: Tensor | None,
    seed: Tensor | None,
    p: float,
    activation: str,
    needs: Sequence[bool],
) -> Tensor:
    """The gradient of the input from that of the output; the input is None without an activation."""
    check(grad, input, "input", seed, p, activation)
    if input is None and activation != "none":
        raise ValueError(f"the derivative of {activation!r} needs the input, got None")
    return _run(_native.cpu.dropout_backward, (input, grad), seed, p, activation, like=grad)


def _run(
    kernel: Callable[..., None],
    tensors: tuple[Tensor | None, ...],
    seed: Tensor | None,
    p: float,
    activation: str,
    *,
    like: Tensor,
) -> Tensor:
    out = empty_contiguous(like)
    on_huge_pages(out)
    tensors = all_contiguous(tensors)  # held by name until the kernel is done with their memory
    number = number_of(seed) if seed is not None and p > 0 else 0
    codes = (DTYPES[like.dtype], ACTIVATIONS[activation])
    kernel(NativeDropout(*codes, out.numel(), number, p, *addresses((*tensors, out))), _native.num_threads())
    return out
