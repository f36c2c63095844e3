"""Dropout with an activation before it and a sum after it: the public operator, its kernels, its route."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._checks import as_bool, as_number, check_all_dense, check_dense, draw_seed
from pyrnn._native_args import DTYPES, addresses, all_contiguous, number_of, require_readable_storage
from pyrnn.ops._library import Kernel, VmapRule, loop_over_samples
from pyrnn.ops._operator import Operator, Part, Route, Spec
from pyrnn.ops.dropout import cpu, cuda
from pyrnn.ops.dropout.call import CODES, NativeDropout, Pass, as_activation, check, empty_contiguous
from pyrnn.reference.dropout import dropout as reference

Activation = Literal["relu", "gelu", "gelu_tanh"]

Tensors = tuple[Tensor | None, ...]


def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    residual: Tensor | None = None,
    activation: Activation | None = None,
    seed: Tensor | None = None,
) -> Tensor:
    """Drop elements at random, after an activation and before a sum, in one pass over memory.

    out_n = residual_n + m_n activation(input_n) / (1 - p), where m_n is 0 with probability p, else 1. A
    dropped element adds exactly 0, whatever it was.

    m is never stored: it is a function of the seed and of n, the place in row-major order, and the backward
    pass computes it again. The kernels compute the first derivative; higher ones, and forward-mode ones,
    differentiate `pyrnn.reference.dropout`.

    Args:
        input: any shape. float32, float64 or bfloat16, on CUDA also float16, for the kernels; any other
            floating dtype or device takes the reference. torch.autocast changes nothing: it leaves dropout
            alone in torch too.
        p: probability in [0, 1] of an element to be dropped.
        training: whether to drop at all; without, activation and sum remain.
        residual: of the input's shape, or None. Where dtypes differ, both take the one that holds both.
        activation: "relu", "gelu", "gelu_tanh", or None.
        seed: int64 scalar on the CPU; by default it is drawn from torch's generator. Under torch.vmap each
            sample is a call of its own. A CUDA graph drops what was dropped when it was captured.

    Returns:
        A contiguous tensor of the input's shape. Without dropout, activation and residual, the input itself.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point, or the seed is not
            int64; an option has another type.
        ValueError: p is outside [0, 1], or shape, device, activation or seed do not fit, or the storage of a
            tensor does not hold all of it.

    Source: Srivastava et al., Dropout: A Simple Way to Prevent Overfitting (2014), scaled as is usual
    in training. Random bits: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011), Philox4x32
    with 7 rounds. Hendrycks and Gimpel, Gaussian Error Linear Units (2016).

    Example:
        >>> import torch
        >>> from pyrnn.ops import dropout
        >>> x = torch.ones(1000)
        >>> kept = dropout(x, 0.2, seed=torch.tensor(7)) != 0
        >>> dropout(x, 0.2, residual=x, seed=torch.tensor(7))[kept].unique()
        tensor([2.2500])
    """
    act = "none" if activation is None else as_activation(activation)
    if type(p) is not float:
        p = as_number("p", p)
    if type(training) is not bool:
        training = as_bool("training", training)
    if not training:
        p = 0.0
    is_a_sum = p == 0 and act == "none"  # nothing that torch does not do as well
    if is_a_sum or residual is not None:
        check_all_dense(_TENSORS, (input, residual, seed), required=1)
    if residual is not None and residual.dtype != input.dtype:
        check_dense("input", input)  # quantized numbers have no common dtype with others
        check_dense("residual", residual)
        require_readable_storage((input, residual))
        dtype = torch.promote_types(input.dtype, residual.dtype)
        input, residual = input.to(dtype), residual.to(dtype)
    if is_a_sum:
        check(input, residual, "residual", seed, p, act)
        return input if residual is None else residual + input
    if p > 0 and seed is None:
        seed = draw_seed()
    return _operator(input, residual, seed, p, act)


def dropout_route(input: Tensor) -> Route:
    """Who computes `dropout` for this input, under the transforms active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import dropout_route
        >>> dropout_route(torch.zeros(1)).path
        'native'
    """
    return _operator.route(input)


# -------------------------------------------------------------------------------------------- kernels


def _forward(
    input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, activation: str
) -> Tensor:
    """residual + drop(activation(input))."""
    check(input, residual, "residual", seed, p, activation)
    return _run("forward", (input, residual), seed, p, activation, like=input)


def _backward(
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
    return _run("backward", (input, grad), seed, p, activation, like=grad)


def _run(
    which: Pass, tensors: Tensors, seed: Tensor | None, p: float, activation: str, *, like: Tensor
) -> Tensor:
    out = empty_contiguous(like)
    tensors = all_contiguous(tensors)  # held by name until the kernel has been called
    number = number_of(seed) if seed is not None and p > 0 else 0
    codes = (DTYPES[like.dtype], CODES[activation])
    problem = NativeDropout(*codes, out.numel(), number, p, *addresses((*tensors, out)))
    (cuda if like.is_cuda or _native.emulated_cuda is not None else cpu).run(which, problem, out)
    return out


def _reference(
    input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, activation: str
) -> Tensor:
    check(input, residual, "residual", seed, p, activation)
    require_readable_storage((input, residual, seed))
    return reference(input, residual, seed, p, activation)


def _fake_forward(
    input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, activation: str
) -> Tensor:
    check(input, residual, "residual", seed, p, activation)
    return empty_contiguous(input)


def _fake_backward(
    grad: Tensor, input: Tensor | None, seed: Tensor | None, p: float, activation: str, needs: Any
) -> Tensor:
    check(grad, input, "input", seed, p, activation)
    return empty_contiguous(grad)


def _keep(tensors: Tensors, options: tuple[Any, ...]) -> Tensors:
    """The input where an activation needs it, and the seed, of which what was dropped is a function."""
    input, _, seed = tensors
    return None if options[1] == "none" else input, seed


def _restore(grads: Tensors, kept: Tensors) -> Tensors:
    """Without an activation the derivative is the same at any input, also at the gradient."""
    input, seed = kept
    return grads[0] if input is None else input, None, seed


def _vmap(part: Part, operator: Kernel) -> VmapRule:
    """One call for all samples; one for each where elements are dropped, by their positions."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        if args[3] > 0:  # p
            return loop_over_samples(operator)(info, in_dims, *args)
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


_TENSORS = ("input", "residual", "seed")

_operator = Operator(
    Spec(
        name="dropout",
        tensors="Tensor input, Tensor? residual, Tensor? seed",
        options="float p, str activation",
        results="Tensor output",
        differentiable=(0, 1),
        passed_through={1: 0},  # the gradient of the residual is that of the output
        kept="Tensor? input, Tensor? seed",
        keep=_keep,
        restore=_restore,
        devices=("cpu", "cuda"),
        autocasts=False,
        infer=_forward,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        vmap=_vmap,
    )
)
