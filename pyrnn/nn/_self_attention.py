"""Self-attention of few tokens by a module: without views of heads, and into the room of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrnn import _native
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


def run_attention(layer: MultiheadAttention, input: Any, key: Any, value: Any, cache: Any) -> Tensor | None:
    """Self-attention of few tokens with both projections as one call of C++, or None where it is not one.

    Args:
        layer: its own forward and hooks are the caller's to look at, as is that nothing is masked.
        input: [T, B, E], or [B, T, E] if the layer has the batch first, or [T, E].
        key: `input`, or it is no self-attention.
        value: the same.
        cache: of the layer, or None.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or type(input) is not Tensor:
        return None
    if input is not key or key is not value or input.dim() not in (2, 3):
        return None
    # Asked here, too, before room in a cache is taken.
    few = input.numel() <= _native.cpu.most_rows * layer.embed_dim
    options = self_attention_options(layer, causal=layer.causal) if few else None
    if options is None or (cache is not None and type(cache) is not KeyValueCache):
        return None
    if cache is None:
        return _native.cpu.multihead_attention(layer, options, input, None, _native.num_threads())
    T = input.shape[1 if layer.batch_first and input.dim() == 3 else 0]
    room = cache.room_for(T)
    if room is None:
        return None
    output = _native.cpu.multihead_attention(layer, options, input, room, _native.num_threads())
    cache.withdraw(T) if output is None else cache.extend(T)
    return output


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
