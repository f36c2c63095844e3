"""Layer normalisation of a residual sum with dropout: the public operator, its passes, its route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pyrnn._checks import as_bool, as_number, check_all_dense, draw_seed
from pyrnn._native_args import accumulation_dtype, all_contiguous, contiguous, require_readable_storage
from pyrnn.ops._operator import Operator, Route, Spec
from pyrnn.ops.dropout import dropout
from pyrnn.ops.dropout.call import empty_contiguous
from pyrnn.ops.residual_layer_norm.call import check, run, slices_of
from pyrnn.reference.residual_layer_norm import residual_layer_norm as reference

Tensors = tuple[Tensor | None, ...]


def residual_layer_norm(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    eps: float = 1e-5,
    p: float = 0.0,
    training: bool = True,
    seed: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Dropout, a residual sum, and the layer normalisation of the sum, in one pass over memory.

    summed = residual + dropout(input, p); normed = (summed - mean) / sqrt(variance + eps) * weight + bias,
    where mean and variance (that of the features, divided by E) are of each row of the last dimension.

    The dropout is `pyrnn.ops.dropout`, with the same elements for the same seed. Mean and 1 / sqrt(variance +
    eps) are kept for the backward pass, in float32, or float64 for float64. The gradients of weight and bias
    are summed in an order that depends on the shape alone. The kernels compute the first derivative; higher
    ones, and forward-mode ones, differentiate `pyrnn.reference.residual_layer_norm`.

    Args:
        input: [..., E], float32, float64 or bfloat16, on CUDA also float16, for the kernels; any other
            floating dtype or device takes the reference. torch.autocast changes nothing.
        residual: of the input's shape and dtype.
        weight: [E], of the input's dtype, or None for ones.
        bias: [E], of the input's dtype, or None for zeros.
        eps: added to the variance.
        p: probability in [0, 1] of an element of the input to be dropped.
        training: whether to drop at all.
        seed: int64 scalar on the CPU; by default it is drawn from torch's generator, if p > 0. Under
            torch.vmap each sample is a call of its own.

    Returns:
        (normed, summed), both contiguous and of the input's shape.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point, or the seed is not
            int64; an option has another type.
        ValueError: p is outside [0, 1], eps is negative, or shape, dtype, device or seed do not fit, or the
            storage of a tensor does not hold all of it.

    Source: Ba, Kiros, Hinton, Layer Normalization (2016), equation 3.

    Example:
        >>> import torch
        >>> from pyrnn.ops import residual_layer_norm
        >>> x = torch.tensor([[1.0, 3.0]])
        >>> normed, summed = residual_layer_norm(x, x, bias=torch.tensor([5.0, 5.0]), eps=0.0)
        >>> summed, normed
        (tensor([[2., 6.]]), tensor([[4., 6.]]))
    """
    if type(eps) is not float:
        eps = as_number("eps", eps)
    if type(p) is not float:
        p = as_number("p", p)
    if type(training) is not bool:
        training = as_bool("training", training)
    if not training:
        p = 0.0
    if p > 0 and seed is None:
        seed = draw_seed()
    check_all_dense(_TENSORS, (input, residual, weight, bias, seed), required=2)
    return _operator(input, residual, weight, bias, seed, eps, p)


def residual_layer_norm_route(input: Tensor) -> Route:
    """Who computes `residual_layer_norm` for this input, under the transforms active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import residual_layer_norm_route
        >>> residual_layer_norm_route(torch.zeros(1)).path
        'native'
    """
    return _operator.route(input)


# -------------------------------------------------------------------------------------------- kernels


def _forward(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    eps: float,
    p: float,
) -> tuple[Tensor, ...]:
    """normed, summed, mean, 1 / sqrt(variance + eps)."""
    output, summed, mean, rstd = _fake_forward(input, residual, weight, bias, seed, eps, p)
    given = all_contiguous((input, residual, weight, bias))  # held by name until the kernel has been called
    results = {"out": output, "summed": summed, "mean": mean, "rstd": rstd}
    if input.numel():
        tensors = dict(zip(("x", "residual", "weight", "bias"), given, strict=True))
        run("forward", output, seed, eps, p, {**tensors, **results})
    return output, summed, mean, rstd


def _infer(*args: Any) -> tuple[Tensor, ...]:
    return _forward(*args)[:2]


def _backward(
    g_output: Tensor | None,
    g_summed: Tensor | None,
    weight: Tensor | None,
    seed: Tensor | None,
    summed: Tensor,
    mean: Tensor,
    rstd: Tensor,
    eps: float,
    p: float,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    """Gradients of input, residual, weight and bias."""
    grads = _fake_backward(g_output, g_summed, weight, seed, summed, mean, rstd, eps, p, needs)
    d_input, d_residual, d_weight, d_bias = grads
    if g_output is None or not summed.numel():
        sums = d_weight.zero_(), d_bias.zero_()
        return (d_input, d_residual, *sums) if g_summed is None else (*_of_sum(g_summed, seed, p), *sums)
    names = ("g", "g_summed", "weight", "summed", "mean", "rstd")
    given = all_contiguous((g_output, g_summed, weight, summed, mean, rstd))
    wanted = [gradient if need else None for gradient, need in zip(grads, needs, strict=True)]
    partial = None
    if needs[2] or needs[3]:
        slices = slices_of(summed.shape[:-1].numel())
        partial = mean.new_empty((slices, 2, summed.shape[-1]))
    results = dict(zip(("d_x", "d_residual", "d_weight", "d_bias"), wanted, strict=True))
    tensors = dict(zip(names, given, strict=True))
    run("backward", summed, seed, eps, p, {**tensors, **results, "partial": partial})
    return d_input, d_residual, d_weight, d_bias


def _of_sum(grad: Tensor, seed: Tensor | None, p: float) -> tuple[Tensor, Tensor]:
    """The gradients of input and residual from that of the sum: dropout's is dropout of its gradient."""
    d_residual = empty_contiguous(grad).copy_(contiguous(grad))
    return dropout(d_residual, p, seed=seed) if p > 0 else d_residual.clone(), d_residual


def _reference(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    eps: float,
    p: float,
) -> tuple[Tensor, Tensor]:
    check(input, residual, weight, bias, seed, eps, p)
    require_readable_storage((input, residual, weight, bias, seed))
    return reference(input, residual, weight, bias, seed, eps, p)


def _fake_forward(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    eps: float,
    p: float,
) -> tuple[Tensor, ...]:
    check(input, residual, weight, bias, seed, eps, p)
    mean, rstd = (input.new_empty(input.shape[:-1], dtype=accumulation_dtype(input.dtype)) for _ in range(2))
    return empty_contiguous(input), empty_contiguous(input), mean, rstd


def _fake_backward(
    g_output: Tensor | None,
    g_summed: Tensor | None,
    weight: Tensor | None,
    seed: Tensor | None,
    summed: Tensor,
    mean: Tensor,
    rstd: Tensor,
    eps: float,
    p: float,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:
    for grad in (g_output, g_summed):
        if grad is not None:
            check(summed, grad, weight, None, seed, eps, p)
    for name, tensor in (("mean", mean), ("rstd", rstd)):
        dtype = accumulation_dtype(summed.dtype)
        if tensor.shape != summed.shape[:-1] or tensor.dtype != dtype or tensor.device != summed.device:
            raise ValueError(f"{name} must be what the forward pass returned, got {tensor.dtype}")
    shapes = (summed.shape, summed.shape, summed.shape[-1:], summed.shape[-1:])
    return tuple(summed.new_empty(shape if need else (0,)) for shape, need in zip(shapes, needs, strict=True))


def _keep(tensors: Tensors, options: tuple[Any, ...]) -> Tensors:
    """Weight and seed: the rest is a function of the sum."""
    _, _, weight, _, seed = tensors
    return weight, seed


def _restore(grads: Tensors, kept: Tensors) -> Tensors:
    """A call whose residual is the sum, and the input zero: its derivatives are those of the call."""
    weight, seed, summed = kept
    assert summed is not None
    return torch.zeros_like(summed), summed, weight, summed.new_zeros(summed.shape[-1:]), seed


_TENSORS = ("input", "residual", "weight", "bias", "seed")

_operator = Operator(
    Spec(
        name="residual_layer_norm",
        tensors="Tensor input, Tensor residual, Tensor? weight, Tensor? bias, Tensor? seed",
        options="float eps, float p",
        results="Tensor output, Tensor summed",
        saved="Tensor mean, Tensor rstd",
        differentiable=(0, 1, 2, 3),
        saved_results=(1, 2, 3),
        followed=1,
        kept="Tensor? weight, Tensor? seed",
        keep=_keep,
        restore=_restore,
        devices=("cpu", "cuda"),
        autocasts=False,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
    )
)
