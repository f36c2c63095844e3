"""Derivatives of the recurrent operator.

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

from pyrnn.ops._library import BelowAutograd, derivative, direct, sign
from pyrnn.ops._recurrent_kernels import Call, backward_native, backward_op, forward_native, forward_op

Gradients = tuple[Tensor | None, ...]


class Forward(Function):
    """The arguments of `pyrnn::recurrent` to output, h_n, c_n, cells and the workspace for `Backward`."""

    generate_vmap_rule = True

    @staticmethod
    @sign
    def forward(*args: Any) -> tuple[Tensor, ...]:
        with BelowAutograd():
            return forward_op(*args)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        cell, tensors, (batch_first, return_cells, checkpoint_every) = inputs[0], inputs[1:16], inputs[16:]
        sequence, _, c_n, cells, workspace = output
        unused = [workspace]
        if cell != "lstm":
            unused.append(c_n)
        if cell != "lstm" or not return_cells:
            unused.append(cells)
        ctx.mark_non_differentiable(*unused)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors, sequence, workspace)
        ctx.cell, ctx.options = cell, (batch_first, checkpoint_every)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        grads = grad_outputs[:4]
        if all(grad is None for grad in grads):
            return (None,) * 19
        wanted = _differentiable(ctx.needs_input_grad[1:16])
        needs = (*wanted[:3], any(wanted[3:]))
        saved = ctx.saved_tensors
        derive = derivative(grads, saved, function=Backward, native=backward_native, operator=backward_op)
        found = derive(ctx.cell, *grads, *saved, *ctx.options, needs)
        d_input, d_h0, d_c0, *d_weights = (
            grad if want else None for grad, want in zip(found, wanted, strict=True)
        )
        return (None, d_input, d_h0, d_c0, None, None, *d_weights, None, None, None)


Recurrent = direct("Recurrent", Forward, forward_native)


class Backward(Function):
    """The arguments of `pyrnn::_recurrent_bwd` to the thirteen gradients of `Forward`.

    The sequence and the workspace are functions of the other arguments and count as constants here: what
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
        cell, grads, tensors = inputs[0], inputs[1:5], inputs[5:20]
        batch_first, checkpoint_every, needs = inputs[22:]
        wanted = (*needs[:3], *[needs[3]] * 10)
        ctx.computed = tuple(
            want and tensor is not None for want, tensor in zip(wanted, _differentiable(tensors), strict=True)
        )
        ctx.mark_non_differentiable(
            *(grad for grad, kept in zip(output, ctx.computed, strict=True) if not kept)
        )
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*grads, *tensors)
        ctx.cell, ctx.options = cell, (batch_first, grads[3] is not None, checkpoint_every)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        saved = ctx.saved_tensors
        needed = ctx.needs_input_grad[1:20]
        wrt = [
            n
            for n, (tensor, need) in enumerate(zip(saved, needed, strict=True))
            if tensor is not None and need
        ]
        asked = [n for n, grad in enumerate(grad_outputs) if grad is not None and ctx.computed[n]]
        found: list[Tensor | None] = [None] * 19
        if wrt and asked:
            first_order = _first_order(ctx.cell, saved, ctx.options, wrt, asked)
            pullback = torch.func.vjp(first_order, *(saved[n] for n in wrt))[1]
            for n, grad in zip(wrt, pullback(tuple(grad_outputs[n] for n in asked)), strict=True):
                found[n] = grad
        return (None, *found, None, None, None, None, None)


def _first_order(
    cell: str, saved: tuple[Tensor | None, ...], options: tuple[Any, ...], wrt: list[int], asked: list[int]
) -> Callable[..., tuple[Tensor, ...]]:
    """The reference's gradients number `asked`, as a function of the saved tensors number `wrt`.

    `saved` are the four gradients of the outputs and then the fifteen tensors of the call.
    """

    def gradients(*moved: Tensor) -> tuple[Tensor, ...]:
        values = list(saved)
        for n, value in zip(wrt, moved, strict=True):
            values[n] = value
        grads, tensors = values[:4], values[4:]
        positions = [_DIFFERENTIABLE[n] for n in asked]
        given = [n for n, grad in enumerate(grads) if grad is not None]

        def outputs(*primals: Tensor) -> tuple[Tensor, ...]:
            arguments = list(tensors)
            for position, primal in zip(positions, primals, strict=True):
                arguments[position] = primal
            computed = Call.of(cell, *arguments, *options).by_reference()
            return tuple(computed[n] for n in given)

        pullback = torch.func.vjp(outputs, *(tensors[position] for position in positions))[1]
        return pullback(tuple(grads[n] for n in given))

    return gradients


#: Which of the fifteen tensors of a call have a gradient: all but lengths and batch_sizes.
_DIFFERENTIABLE = (0, 1, 2, *range(5, 15))


def _differentiable(per_tensor: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(per_tensor[position] for position in _DIFFERENTIABLE)
