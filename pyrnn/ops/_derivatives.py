"""The derivatives of an operator, as two nested autograd.Functions.

The first derivative, the kernel's own, is itself an operation with a derivative. That second derivative,
and every further one, differentiates the reference. Arguments are flat because autograd sees only tensors
that are arguments themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn._dispatch import BelowAutograd, autocast_disabled

if TYPE_CHECKING:
    from pyrnn.ops._operator import Operator

Gradients = tuple[Tensor | None, ...]


def make_function(operator: Operator) -> type[Function]:
    """The arguments of a call to its results and what `forward` saves, differentiable any number of times."""
    spec, count, results = operator.spec, len(operator.tensors), len(operator.results)

    def forward(*args: Any) -> Any:
        with BelowAutograd():
            return operator.forward_op(*args)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        found = as_tuple(output)
        unused = [result for result in found[1:results] if not _applies(result)]
        ctx.mark_non_differentiable(*unused, *found[results:])
        ctx.set_materialize_grads(False)
        ctx.options = inputs[count:]
        kept = spec.keep(inputs[:count], ctx.options)
        read = [
            spec.stand_ins[n] if n in spec.stand_ins and not _applies(found[n]) else n
            for n in spec.saved_results
        ]
        ctx.save_for_backward(*kept, *[found[n] for n in read])

    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        grads, wanted = grad_outputs[:results], ctx.needs_input_grad
        gradients: list[Tensor | None] = [None] * len(wanted)
        if all(grad is None for grad in grads):
            return tuple(gradients)
        for position, result in spec.passed_through.items():
            if wanted[position]:
                gradients[position] = grads[result]
        needs = tuple([wanted[n] for n in operator.derived])
        if any(needs):
            saved = ctx.saved_tensors
            compute = operator.select_backward((*grads, *saved))
            found = as_tuple(compute(*grads, *saved, *ctx.options, needs))
            for position, need, gradient in zip(operator.derived, needs, found, strict=True):
                if need:
                    gradients[position] = gradient
        return tuple(gradients)

    return _function(f"{_title(spec.name)}Function", forward, setup_context, backward)


def make_fast_function(operator: Operator) -> type[Function]:
    """The same for the fast path: the kernel is called past the dispatcher.

    What makes an autograd.Function transformable costs more than the kernel of a small call.
    """
    function: Any = operator.function
    native, setup_context = operator.spec.forward, function.setup_context

    def forward(ctx: Any, *args: Any) -> Any:
        output = native(*args)
        setup_context(ctx, args, output)
        return output

    body = {"forward": staticmethod(forward), "backward": staticmethod(function.backward)}
    return type(_title(operator.spec.name), (Function,), {**body, "__module__": __name__})


def make_backward_function(operator: Operator) -> type[Function]:
    """The arguments of the backward operator to the gradients, differentiable by the reference.

    Results that were saved and are not followed are functions of the other arguments and count as constants
    here: what depends on them reaches the derivative through those arguments.
    """
    spec, results = operator.spec, len(operator.results)
    saved_at = results + len(operator.kept)
    moving = saved_at + spec.followed  # the leading arguments, which the gradients are functions of
    options_at = saved_at + len(spec.saved_results)

    def forward(*args: Any) -> Any:
        with BelowAutograd():
            return operator.backward_op(*args)

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.needs, ctx.options = tuple(inputs[-1]), inputs[options_at:-1]
        unused = [grad for grad, need in zip(as_tuple(output), ctx.needs, strict=True) if not need]
        ctx.mark_non_differentiable(*unused)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:moving])

    def backward(ctx: Any, *grad_outputs: Tensor | None) -> Gradients:
        saved, needed = ctx.saved_tensors, ctx.needs_input_grad
        wrt = [n for n in range(moving) if needed[n]]
        asked = [n for n, grad in enumerate(grad_outputs) if grad is not None and ctx.needs[n]]
        found: list[Tensor | None] = [None] * len(needed)
        if wrt and asked:
            of_reference = _gradients_of_reference(
                operator, ctx.options, saved, wrt, [operator.derived[n] for n in asked]
            )
            pullback = torch.func.vjp(of_reference, *(saved[n] for n in wrt))[1]
            for n, grad in zip(wrt, pullback(tuple(grad_outputs[n] for n in asked)), strict=True):
                found[n] = grad
        return tuple(found)

    return _function(f"{_title(spec.name)}BackwardFunction", forward, setup_context, backward)


def recompute_gradients(
    function: Callable[..., tuple[Tensor, ...]],
    tensors: Gradients,
    grads: Gradients,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """Gradients of `tensors`, on the CPU, from those of `function(*tensors)`, which is computed again for it.

    In a backward pass: with `create_graph` they can be differentiated in turn.
    """
    create_graph = torch.is_grad_enabled()
    # Autocast that is on now was off when the call was made.
    with torch.enable_grad(), autocast_disabled("cpu"):
        # Views: a tensor that comes twice, or depends on another, has a gradient of its own in each place.
        own = [t.view_as(t) if t is not None and need else t for t, need in zip(tensors, needs, strict=True)]
        results = function(*own)
    asked = [(r, grad) for r, grad in zip(results, grads, strict=True) if grad is not None]
    wanted = [t for t, need in zip(own, needs, strict=True) if t is not None and need]
    found = iter(
        torch.autograd.grad(
            [result for result, _ in asked],
            wanted,
            [grad for _, grad in asked],
            create_graph=create_graph,
            allow_unused=True,
        )
    )
    return [next(found) if t is not None and need else None for t, need in zip(tensors, needs, strict=True)]


def _gradients_of_reference(
    operator: Operator,
    options: tuple[Any, ...],
    saved: tuple[Tensor | None, ...],
    wrt: list[int],
    positions: list[int],
) -> Callable[..., tuple[Tensor, ...]]:
    """The reference's gradients of the tensors at `positions`, as a function of the saved ones number `wrt`.

    `saved` are the gradients of the results, then what the operator kept of the tensors of the call, and the
    results that are followed.
    """
    spec, results = operator.spec, len(operator.results)

    def gradients(*moved: Tensor) -> tuple[Tensor, ...]:
        values = list(saved)
        for n, value in zip(wrt, moved, strict=True):
            values[n] = value
        grads = tuple(values[:results])
        tensors = spec.restore(grads, tuple(values[results:]))
        given = [n for n, grad in enumerate(grads) if grad is not None]

        def outputs(*primals: Tensor) -> tuple[Tensor, ...]:
            arguments = list(tensors)
            for position, primal in zip(positions, primals, strict=True):
                arguments[position] = primal
            computed = as_tuple(spec.reference(*arguments, *options))
            return tuple(computed[n] for n in given)

        pullback = torch.func.vjp(outputs, *(tensors[position] for position in positions))[1]
        return pullback(tuple(grads[n] for n in given))

    return gradients


def _applies(result: Tensor) -> bool:
    """Whether a result is one of this call: those that are not have shape [0]."""
    return result.dim() != 1 or result.numel() != 0


def as_tuple(results: Any) -> tuple[Any, ...]:
    """What an operator returns: torch gives a single result by itself."""
    return results if isinstance(results, tuple) else (results,)


def _function(
    name: str,
    forward: Callable[..., Any],
    setup_context: Callable[..., None],
    backward: Callable[..., Gradients],
) -> type[Function]:
    """An autograd.Function that torch.func can transform."""
    # torch asks for the signature at every call.
    forward.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    body = {
        "forward": staticmethod(forward),
        "setup_context": staticmethod(setup_context),
        "backward": staticmethod(backward),
        "generate_vmap_rule": True,
        "__module__": __name__,
    }
    return type(name, (Function,), body)


def _title(name: str) -> str:
    """In capitals, as autograd's nodes are called."""
    return "".join(word.capitalize() for word in name.split("_"))
