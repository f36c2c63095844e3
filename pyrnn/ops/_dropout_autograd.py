"""Derivatives of dropout.

`Dropout` and `DropoutBackward` are one autograd.Function each: the first derivative, that of the kernels,
is itself an operation with a derivative. By the gradient that is the same operation again; by the input it
differentiates the reference.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn.ops._dropout_kernels import backward_native, backward_op, dropout_native, dropout_op
from pyrnn.ops._library import BelowAutograd, derivative, direct, sign
from pyrnn.reference.dropout import dropout as reference


class Dropout(Function):
    """The arguments of `pyrnn::dropout` to its result, differentiable."""

    generate_vmap_rule = True

    @staticmethod
    @sign
    def forward(*args: Any) -> Tensor:
        with BelowAutograd():
            return dropout_op(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, _, seed, *ctx.options = inputs
        ctx.save_for_backward(None if ctx.options[1] == "none" else input, seed)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        d_input = None
        if ctx.needs_input_grad[0]:
            saved = ctx.saved_tensors
            derive = derivative(
                (grad,), saved, function=DropoutBackward, native=backward_native, operator=backward_op
            )
            d_input = derive(grad, *saved, *ctx.options)
        return d_input, grad if ctx.needs_input_grad[1] else None, None, None, None


DirectDropout = direct("Dropout", Dropout, dropout_native)


class DropoutBackward(Function):
    """The arguments of `pyrnn::_dropout_bwd` to its result, which is linear in the first of them."""

    generate_vmap_rule = True

    @staticmethod
    @sign
    def forward(*args: Any) -> Tensor:
        with BelowAutograd():
            return backward_op(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (outer,), (grad, input, seed) = grads, ctx.saved_tensors
        d_grad, d_input = None, None
        if ctx.needs_input_grad[0]:
            d_grad = DropoutBackward.apply(outer, input, seed, *ctx.options)
        if ctx.needs_input_grad[1]:

            def first_order(x: Tensor) -> Tensor:
                pullback = torch.func.vjp(lambda x: reference(x, None, seed, *ctx.options), x)[1]
                return pullback(grad)[0]

            d_input = torch.func.vjp(first_order, input)[1](outer)[0]
        return d_grad, d_input, None, None, None  # type: ignore[return-value]
