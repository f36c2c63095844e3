"""The operators of dropout below autograd: schemas, checks, native kernels, fake kernels, vmap rules.

`pyrnn::dropout` is the public operator, `_dropout_bwd` its derivative, which only the autograd functions
call. Nothing is kept between the two but the seed, and the input where an activation needs it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops._addresses import DTYPES, address
from pyrnn.ops._checks import as_activation, check_memory, check_probability, check_seed, refuse_other_layouts
from pyrnn.ops._library import Operator, define, library, loop_over_samples, refuse_gradients
from pyrnn.ops._memory import contiguous, number_of, on_huge_pages
from pyrnn.ops._support import why_not_on_cpu
from pyrnn.reference.dropout import dropout as reference

ACTIVATIONS = {"none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3}  #: as in csrc/pointwise/problem.h

dropout_op = define(
    "dropout", "(Tensor input, Tensor? residual, Tensor? seed, float p, str activation) -> Tensor"
)
backward_op = define(
    "_dropout_bwd", "(Tensor grad, Tensor? input, Tensor? seed, float p, str activation) -> Tensor"
)


def check(tensor: Tensor, other: Tensor | None, name: str, seed: Tensor | None, p: float, act: str) -> None:
    """Check a call; `other`, called `name`, is like `tensor` where it is there."""
    if not tensor.is_floating_point():
        raise TypeError(f"input must be floating point, got {tensor.dtype}; convert it with input.float()")
    as_activation(None if act == "none" else act)
    check_probability("p", p)
    if other is not None and other.shape != tensor.shape:
        raise ValueError(
            f"{name} must have the input's shape {list(tensor.shape)}, got {list(other.shape)}; "
            "expand it first"
        )
    if other is not None and (other.dtype != tensor.dtype or other.device != tensor.device):
        raise ValueError(
            f"{name} must have the input's dtype and device, {tensor.dtype} on {tensor.device}, got "
            f"{other.dtype} on {other.device}"
        )
    check_seed(seed, p, tensor, of="input")


def why_not_native(device_type: str, dtype: torch.dtype) -> str:
    """Why no kernel computes dropout for this device and dtype, in words; empty where one does."""
    return why_not_on_cpu("dropout", device_type, dtype)


def by_reference(input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, act: str) -> Tensor:
    """Check the call and compute it with the reference, differentiable any number of times."""
    check(input, residual, "residual", seed, p, act)
    check_memory((input, residual, seed))
    return reference(input, residual, seed, p, act)


def dropout_native(input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, act: str) -> Tensor:
    """The kernel of `pyrnn::dropout` on the CPU."""
    if why_not_native(input.device.type, input.dtype):
        return by_reference(input, residual, seed, p, act).contiguous()
    check(input, residual, "residual", seed, p, act)
    return _run(_native.cpu.dropout_forward, input, input, residual, seed, p, act)


def backward_native(grad: Tensor, input: Tensor | None, seed: Tensor | None, p: float, act: str) -> Tensor:
    check(grad, input, "input", seed, p, act)
    if input is None and act != "none":
        raise ValueError(f"the derivative of {act!r} needs the input, got None")
    return _run(_native.cpu.dropout_backward, grad, input, grad, seed, p, act)


def _run(
    kernel: Operator,
    like: Tensor,
    x: Tensor | None,
    other: Tensor | None,
    seed: Tensor | None,
    p: float,
    act: str,
) -> Tensor:
    out = _empty_like(like)
    on_huge_pages(out)
    tensors = [None if t is None else contiguous(t) for t in (x, other)]
    addresses = [address(t) for t in (*tensors, out)]
    number = number_of(seed) if seed is not None and p > 0 else 0
    threads = _native.num_threads()
    kernel(DTYPES[like.dtype], ACTIVATIONS[act], out.numel(), number, p, *addresses, threads)
    return out


def _empty_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)


def _fake(
    tensor: Tensor, other: Tensor | None, seed: Tensor | None, p: float, act: str, *, name: str = "residual"
) -> Tensor:
    check(tensor, other, name, seed, p, act)
    return _empty_like(tensor)


def _folding_rule(operator: Operator) -> Any:
    """The vmap rule: one call for all samples; one for each where elements are dropped, by position."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Tensor, int]:
        if args[3] > 0:
            results, dims = loop_over_samples(lambda *a: (operator(*a),))(info, in_dims, *args)
            return results[0], dims[0]
        folded = (
            tensor
            if tensor is None
            else tensor.expand(info.batch_size, *tensor.shape)
            if dim is None
            else tensor.movedim(dim, 0)
            for tensor, dim in zip(args[:2], in_dims[:2], strict=True)
        )
        return operator(*folded, None, *args[3:]), 0

    return rule


library.impl("dropout", lambda *args: by_reference(*args).contiguous(), "CompositeExplicitAutograd")
library.impl("dropout", dropout_native, "CPU")
library.impl("_dropout_bwd", backward_native, "CPU")
torch.library.register_fake("pyrnn::dropout", _fake, lib=library)
torch.library.register_fake("pyrnn::_dropout_bwd", lambda *args: _fake(*args, name="input"), lib=library)
torch.library.register_vmap("pyrnn::dropout", _folding_rule(dropout_op), lib=library)
torch.library.register_vmap("pyrnn::_dropout_bwd", _folding_rule(backward_op), lib=library)
refuse_other_layouts(dropout_op, backward_op)
refuse_gradients("_dropout_bwd", backward_op, "pyrnn::dropout")
