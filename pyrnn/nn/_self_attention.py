"""Self-attention of few tokens by a module: without views of heads, and into the room of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrnn.nn.cache import KeyValueCache
from pyrnn.ops.attention import eager_self_attention
from pyrnn.ops.attention.call import as_window
from pyrnn.ops.attention.eager import SelfAttention

if TYPE_CHECKING:
    from pyrnn.nn.attention import MultiheadAttention


def is_in_order(layer: MultiheadAttention, query: Any, weight: Tensor, cache: Any) -> bool:
    """Whether a call on `query` alone, without masks and hints, is sure to pass all checks."""
    if type(query) is not Tensor or query.layout is not torch.strided or query.dim() not in (2, 3):
        return False
    grows = type(cache) is KeyValueCache and not cache.fixed and layer.bias_k is None
    return (
        (cache is None or (grows and not layer.add_zero_attn))
        and query.shape[-1] == layer.embed_dim == layer.kdim == layer.vdim
        and query.dtype == weight.dtype
        and query.device == weight.device
        and not query.is_nested
    )


def self_attention_options(layer: MultiheadAttention, *, causal: bool) -> SelfAttention | None:
    """What a layer computes between its linear layers, or None where it is more than the kernels know."""
    changes_keys = layer.bias_k is not None or layer.add_zero_attn
    if layer._rotary is not None or changes_keys or (layer.training and layer.dropout):
        return None
    left, right = (-1, -1) if layer.window is None else as_window(layer.window)
    scale: float = layer.head_dim**-0.5
    return SelfAttention(layer.num_heads, layer.batch_first, causal, left, right, scale, layer._slopes)


def attend_eagerly(
    layer: MultiheadAttention, packed: Tensor, cache: KeyValueCache | None, *, causal: bool
) -> Tensor | None:
    """The heads' outputs side by side, or None where the operator must do it.

    `packed` are queries, keys and values side by side; only `causal` and the layer's window hide keys.
    """
    options = None if torch.compiler.is_compiling() else self_attention_options(layer, causal=causal)
    if options is None:
        return None
    if cache is None:
        return eager_self_attention(options, packed)
    if type(cache) is not KeyValueCache:
        return None
    T = packed.shape[1 if layer.batch_first and packed.dim() == 3 else 0]
    room = cache.room_for(T)
    if room is None:
        return None
    output = eager_self_attention.cached(options, packed, *room)
    if output is None:
        cache.withdraw(T)
    else:
        cache.extend(T)
    return output
