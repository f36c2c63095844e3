"""Parts of larger layers: attentions, and by our operators the linear layers and dropouts of torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn import ops
from pyrnn.nn.plain import is_plain, kind_of
from pyrnn.ops.dropout import Activation

LINEAR, DROPOUT = kind_of(nn.Linear), kind_of(nn.Dropout)
_RELU, _GELU = kind_of(nn.ReLU), kind_of(nn.GELU)
# As they are on import: what somebody puts in their place later is another function.
_RELU_FUNCTIONS, _GELU_FUNCTION = (F.relu, torch.relu), F.gelu


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


def feed_forward(layer: Any, input: Tensor, dropout: nn.Module, *, residual: Tensor) -> Tensor:
    """`residual + dropout(linear2(layer.dropout(activation(linear1(input)))))` of a Transformer layer."""
    first, inner, name = layer.linear1, layer.dropout, name_of(layer.activation)
    drops = inner.training and getattr(inner, "p", 1) > 0
    if name is not None and not drops and is_plain(first, LINEAR) and is_plain(inner, DROPOUT):
        hidden = ops.linear(input, first.weight, first.bias, name)
    else:
        hidden = apply_dropout(inner, apply_linear(first, input), activation=layer.activation)
    return apply_dropout(dropout, apply_linear(layer.linear2, hidden), residual=residual)


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


def name_of(activation: Any) -> Activation | None:
    """The operators' name of an activation that they know, and that is nothing but this."""
    if activation is _RELU_FUNCTIONS[0] or activation is _RELU_FUNCTIONS[1] or is_plain(activation, _RELU):
        return "relu"
    if activation is _GELU_FUNCTION:
        return "gelu"
    if is_plain(activation, _GELU):
        return "gelu" if activation.approximate == "none" else "gelu_tanh"
    return None
