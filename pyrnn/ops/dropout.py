"""Dropout with an activation before it and a sum after it: the public operator and its route."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from pyrnn.ops import _library
from pyrnn.ops._checks import (
    as_activation,
    as_bool,
    as_number,
    check_all_dense,
    check_dense,
    check_memory,
    draw_seed,
)
from pyrnn.ops._dropout_autograd import DirectDropout, Dropout
from pyrnn.ops._dropout_kernels import by_reference, check, dropout_native, dropout_op, why_not_native
from pyrnn.ops.recurrent import Route

Activation = Literal["relu", "gelu", "gelu_tanh"]


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
        input: any shape. float32, float64 or bfloat16 for the CPU kernels; any other floating dtype or device
            takes the reference. torch.autocast changes nothing: it leaves dropout alone in torch too.
        p: probability in [0, 1] of an element to be dropped.
        training: whether to drop at all; without, activation and sum remain.
        residual: of the input's shape, or None. Where dtypes differ, both take the one that holds both.
        activation: "relu", "gelu", "gelu_tanh", or None.
        seed: int64 scalar on the CPU; by default it is drawn from torch's generator. Under torch.vmap each
            sample is a call of its own.

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
    act = as_activation(activation)
    if type(p) is not float:
        p = as_number("p", p)
    if type(training) is not bool:
        training = as_bool("training", training)
    if not training:
        p = 0.0
    is_short = input is not None and _library.unwatched((input, residual, seed))
    if not is_short:
        check_all_dense(("input", "residual", "seed"), (input, residual, seed), required=1)
    if residual is not None and residual.dtype != input.dtype:
        check_dense("input", input)  # quantized numbers have no common dtype with others
        check_dense("residual", residual)
        check_memory((input, residual))
        dtype = torch.promote_types(input.dtype, residual.dtype)
        input, residual = input.to(dtype), residual.to(dtype)
    if p == 0 and act == "none":  # nothing that torch does not do as well
        check(input, residual, "residual", seed, p, act)
        return input if residual is None else residual + input
    if p > 0 and seed is None:
        seed = draw_seed()
    args = (input, residual, seed, p, act)
    if is_short:
        if not _library.wants_gradient(args[:2]):
            return dropout_native(*args)
        if not why_not_native(input.device.type, input.dtype):
            return DirectDropout.apply(*args)  # type: ignore[return-value]
    # torch.func knows no operator's backward: it is given the autograd.Function, which it can transform.
    if not torch.compiler.is_compiling() and _library.functorch_differentiates():
        if dropout_route(input).path == "native":
            return Dropout.apply(*args)  # type: ignore[return-value]
        return by_reference(*args)
    return dropout_op(*args)


def dropout_route(input: Tensor) -> Route:
    """Who computes `dropout` for this input, under the transforms active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import dropout_route
        >>> dropout_route(torch.zeros(1)).path
        'native'
    """
    why_not = why_not_native(input.device.type, input.dtype)
    if not why_not and _library.forward_mode_active():
        why_not = "a forward-mode derivative is being taken, and the kernels have none"
    return Route("reference", why_not) if why_not else Route("native", f"CPU kernels for {input.dtype}")


def _dropout_autograd(*args: Any) -> Tensor:
    """Autograd's kernel of `pyrnn::dropout`."""
    if _library.forward_mode_active() or _library.functorch_differentiates():
        return by_reference(*args)
    if not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in args[:2]):
        with _library.BelowAutograd():
            return dropout_op(*args)
    if dropout_route(args[0]).path == "reference":
        return by_reference(*args)
    return Dropout.apply(*args)  # type: ignore[return-value]


_library.library.impl("dropout", _dropout_autograd, "Autograd")
