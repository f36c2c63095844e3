"""Derivatives of attention.

`Forward` and `Backward` are one autograd.Function each, so that the first derivative, the kernel's own, is
itself an operation with a derivative. That second derivative, and every further one, differentiates the
reference. Arguments are flat because autograd sees only tensors that are arguments themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn.ops._attention_kernels import (
    backward_native,
    backward_op,
    by_reference,
    forward_native,
    forward_op,
)
from pyrnn.ops._attention_problem import Call
from pyrnn.ops._library import BelowAutograd, derivative, direct, sign

Gradients = tuple[Tensor | None, ...]

_TENSORS = 8  # of the arguments
_ARGUMENTS = len(Call._fields)
_DERIVED = 4  # the leading arguments, which have gradients: query, key, value and mask


class Forward(Function):
    """The arguments of `pyrnn::scaled_dot_product_attention` to output, weights and statistics."""

    generate_vmap_rule = True

    @staticmethod
    @sign
    def forward(*args: Any) -> tuple[Tensor, ...]:
        with BelowAutograd():
            return forward_op(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        out, weights, statistics = output
        ctx.options = inputs[_TENSORS:]
        ctx.mark_non_differentiable(*((weights, statistics) if ctx.options[-1] == "none" else (statistics,)))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:_TENSORS], out, statistics)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        grads = grad_outputs[:2]
        if all(grad is None for grad in grads):
            return (None,) * _ARGUMENTS
        needs, saved = ctx.needs_input_grad[:_DERIVED], ctx.saved_tensors
        derive = derivative(grads, saved, function=Backward, native=backward_native, operator=backward_op)
        found = derive(*grads, *saved, *ctx.options, needs)
        derived = [grad if need else None for grad, need in zip(found, needs, strict=True)]
        return (*derived, *(None,) * (_ARGUMENTS - _DERIVED))


Attention = direct("Attention", Forward, forward_native)


class Backward(Function):
    """The arguments of `pyrnn::_attention_bwd` to the gradients of query, key, value and mask.

    The output and the statistics are functions of the other arguments and count as constants here: what
    depends on them reaches the derivative through those arguments.
    """

    generate_vmap_rule = True

    @staticmethod
    @sign
    def forward(*args: Any) -> tuple[Tensor, ...]:
        with BelowAutograd():
            return backward_op(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        needs = inputs[-1]
        ctx.needs = tuple(needs)
        ctx.mark_non_differentiable(*(grad for grad, need in zip(output, needs, strict=True) if not need))
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[: 2 + _TENSORS])
        ctx.options = inputs[4 + _TENSORS : -1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        saved = ctx.saved_tensors
        wrt = [n for n, need in enumerate(ctx.needs_input_grad[: 2 + _DERIVED]) if need]
        asked = [n for n, grad in enumerate(grad_outputs) if grad is not None and ctx.needs[n]]
        found: list[Tensor | None] = [None] * (5 + _ARGUMENTS)
        if wrt and asked:
            first_order = _first_order(saved, ctx.options, wrt, asked)
            pullback = torch.func.vjp(first_order, *(saved[n] for n in wrt))[1]
            for n, grad in zip(wrt, pullback(tuple(grad_outputs[n] for n in asked)), strict=True):
                found[n] = grad
        return tuple(found)


def _first_order(
    saved: tuple[Tensor | None, ...], options: tuple[Any, ...], wrt: list[int], asked: list[int]
) -> Callable[..., tuple[Tensor, ...]]:
    """The reference's gradients number `asked`, as a function of the saved tensors number `wrt`.

    `saved` are the gradients of output and weights and then the eight tensors of the call.
    """

    def gradients(*moved: Tensor) -> tuple[Tensor, ...]:
        values = list(saved)
        for n, value in zip(wrt, moved, strict=True):
            values[n] = value
        grads, tensors = values[:2], values[2:]
        given = [n for n, grad in enumerate(grads) if grad is not None]

        def outputs(*primals: Tensor) -> tuple[Tensor, ...]:
            arguments: list[Any] = list(tensors)
            for n, primal in zip(asked, primals, strict=True):
                arguments[n] = primal
            computed = by_reference(Call(*arguments, *options))
            return tuple(computed[n] for n in given)

        pullback = torch.func.vjp(outputs, *(tensors[n] for n in asked))[1]
        return pullback(tuple(grads[n] for n in given))

    return gradients
