"""Parts of larger layers: attentions, and by our operators the linear layers and dropouts of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn import ops
from pyrnn._dispatch import autocast_enabled
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import KeyValueCache
from pyrnn.nn.plain import is_plain, kind_of
from pyrnn.ops.dropout import Activation

LINEAR, DROPOUT, LAYER_NORM = kind_of(nn.Linear), kind_of(nn.Dropout), kind_of(nn.LayerNorm)
_RELU, _GELU = kind_of(nn.ReLU), kind_of(nn.GELU)
# As they are on import: what somebody puts in their place later is another function.
_RELU_FUNCTIONS, _GELU_FUNCTION = (F.relu, torch.relu), F.gelu
# From here on sum and normalisation are faster in one pass on a CPU; below, its call costs more.
_MANY_ELEMENTS = 2**17


class SumAndNorm(NamedTuple):
    """The end of a part of a layer: what is added up, and its normalisation."""

    summed: Tensor
    normed: Tensor


def apply_linear(module: Any, input: Tensor) -> Tensor:
    """`module(input)`."""
    return ops.linear(input, module.weight, module.bias) if is_plain(module, LINEAR) else module(input)


def apply_dropout(
    module: Any,
    input: Tensor,
    *,
    activation: Callable[[Tensor], Tensor] | None = None,
    residual: Tensor | None = None,
) -> Tensor:
    """`residual + module(activation(input))`, in one pass over memory where all parts are known."""
    name = name_of(activation)
    if activation is not None and name is None:
        input = activation(input)
    if is_plain(module, DROPOUT):
        return ops.dropout(input, module.p, module.training, residual=residual, activation=name)
    output = module(input if name is None or activation is None else activation(input))
    return output if residual is None else residual + output


def unchanged(summed: Tensor) -> Tensor:
    """The `norm` where there is none: a None that stands for a layer's module is called, and raises."""
    return summed


def with_norm(summed: Tensor, norm: Any) -> SumAndNorm:
    """A sum, and `norm` of it."""
    return SumAndNorm(summed, norm(summed))


def add(dropout: Any, input: Tensor, residual: Tensor, norm: Any) -> SumAndNorm:
    """`residual + dropout(input)` and `norm` of it, in one pass where parts are known and that is faster."""
    if norm is not unchanged and _normalises(dropout, input, residual, norm):
        normed, summed = ops.residual_layer_norm(
            input, residual, norm.weight, norm.bias, eps=norm.eps, p=dropout.p, training=dropout.training
        )
        return SumAndNorm(summed, normed)
    return with_norm(apply_dropout(dropout, input, residual=residual), norm)


def _normalises(dropout: Any, input: Tensor, residual: Tensor, norm: Any) -> bool:
    """Whether `ops.residual_layer_norm` does what these modules would.

    Traced models, and those compiled in evaluation mode, as for an export, keep torch's own operators.
    """
    training = getattr(dropout, "training", False)  # it may be any function
    traced = torch.jit.is_tracing() or (  # type: ignore[attr-defined]
        torch.compiler.is_compiling() and not training
    )
    # Without dropout, or for few elements, two operators are as fast on a CPU; on a GPU one launch is less
    # than two. A compiled graph must not depend on how many elements there are.
    many = torch.compiler.is_compiling() or input.numel() >= _MANY_ELEMENTS
    wants = input.is_cuda or (training and getattr(dropout, "p", 0) > 0 and many)
    if traced or not wants or not is_plain(norm, LAYER_NORM) or not is_plain(dropout, DROPOUT):
        return False
    if autocast_enabled(input.device.type) or input.shape != residual.shape:
        return False
    return tuple(norm.normalized_shape) == tuple(input.shape[-1:]) and all(
        each is None or (each.dtype is input.dtype and each.device == input.device)
        for each in (residual, norm.weight, norm.bias)
    )


def feed_forward(layer: Any, input: Tensor, dropout: nn.Module, *, residual: Tensor, norm: Any) -> SumAndNorm:
    """`residual + dropout(linear2(layer.dropout(activation(linear1(input)))))`, and `norm` of it."""
    first, inner, name = layer.linear1, layer.dropout, name_of(layer.activation)
    known = name is not None and is_plain(first, LINEAR) and is_plain(inner, DROPOUT)
    if known and not (inner.training and inner.p > 0):
        hidden = ops.linear(input, first.weight, first.bias, name)
    else:
        hidden = apply_dropout(inner, apply_linear(first, input), activation=layer.activation)
    return add(dropout, apply_linear(layer.linear2, hidden), residual, norm)


def attend(
    attention: nn.Module,
    query: Tensor,
    memory: Tensor,
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    is_causal: bool,
    cache: Any,
    *,
    weights: list[Tensor] | None = None,
) -> Tensor:
    """The output of an attention layer, ours or one that takes what torch's takes; `weights` get its own."""
    options = {} if cache is None else {"cache": cache}
    found = attention(
        query,
        memory,
        memory,
        attn_mask=attn_mask,
        key_padding_mask=key_padding_mask,
        need_weights=weights is not None,
        is_causal=is_causal,
        **options,
    )
    if weights is not None and found[1] is not None:
        weights.append(found[1])
    return found[0]


def convert_attention(attention: nn.MultiheadAttention, **options: Any) -> None:
    """Make torch's attention ours, in place: the constructors of torch's layers have initialised it."""
    attention.__class__ = MultiheadAttention
    attention._extend(**options)  # type: ignore[attr-defined]


def new_cache_of(attention: nn.Module) -> KeyValueCache:
    """An empty cache of an attention layer, which must be ours."""
    if not isinstance(attention, MultiheadAttention):
        raise TypeError(
            f"only pyrnn.nn.MultiheadAttention takes a cache, not {type(attention).__module__}."
            f"{type(attention).__qualname__}; pyrnn.accelerate(model) turns torch's layers into ours"
        )
    return attention.new_cache()


def added_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A bool mask as the numbers that torch's encoders hand on to be added to the scores.

    Somebody else's attention, or hook on ours, may know no other; our own needs no such copy.
    """
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(mask, -torch.inf)


def name_of(activation: Any) -> Activation | None:
    """The operators' name of an activation that they know, and that is nothing but this."""
    if activation is _RELU_FUNCTIONS[0] or activation is _RELU_FUNCTIONS[1] or is_plain(activation, _RELU):
        return "relu"
    if activation is _GELU_FUNCTION:
        return "gelu"
    if is_plain(activation, _GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    return None
