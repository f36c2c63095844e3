"""Self-attention by a module in one call: without views of heads, and into the room of a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import DTYPES
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


_RESTRICTED = "a mask or a hint hides keys, or weights are needed"
_OTHER = "the layer turns queries, adds keys or drops weights"
_NO_ROOM = "the cache is of another kind, empty, fixed or padded, or gradients are recorded"


def run_attention(
    layer: MultiheadAttention,
    input: Any,
    key: Any,
    value: Any,
    cache: Any,
    *,
    restricted: bool,
    ask: bool = False,
) -> Tensor | str:
    """Self-attention with both projections as one call of C++, or why it is not one.

    Args:
        layer: its own forward and hooks are the caller's to look at.
        input: [T, B, E], or [B, T, E] if the layer has the batch first, or [T, E].
        key: `input`, or it is no self-attention.
        value: the same.
        cache: of the layer, or None.
        restricted: whether keys are hidden otherwise than by the layer, or weights are needed.
        ask: compute nothing: where the call would be served, the output holds no numbers.
    """
    if restricted:
        return _RESTRICTED
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return "gradients are recorded, or torch.compile traces the call"
    if type(input) is not Tensor or input is not key or key is not value or input.dim() not in (2, 3):
        return "query, key and value are not one plain tensor of two or three dimensions"
    # Asked here, too, before room in a cache is taken.
    most = _native.cpu.most_rows(DTYPES.get(input.dtype, 0))
    if input.numel() > most * layer.embed_dim:
        return f"there are more than {most} tokens"
    options = self_attention_options(layer, causal=layer.causal)
    if options is None:
        return _OTHER
    threads = _native.cpu.asked if ask else _native.num_threads()
    if cache is None:
        return _native.cpu.multihead_attention(layer, options, input, None, threads)
    T = input.shape[1 if layer.batch_first and input.dim() == 3 else 0]
    room = cache.room_for(T) if type(cache) is KeyValueCache else None
    if room is None:
        return _NO_ROOM
    output: Tensor | str = ""
    try:
        output = _native.cpu.multihead_attention(layer, options, input, room, threads)
    finally:  # the room that was taken is written now, or given back
        cache.extend(T) if isinstance(output, Tensor) and not ask else cache.withdraw(T)
    return output


def attend_eagerly(
    layer: MultiheadAttention,
    packed: Tensor | None,
    cache: KeyValueCache | None,
    *,
    causal: bool,
    restricted: bool,
    ask: bool = False,
) -> Tensor | str:
    """The heads' outputs side by side, or why the operator must do it.

    Args:
        layer: of which the linear layer behind the heads is left to the caller.
        packed: queries, keys and values side by side, or None where no single product makes them.
        cache: of the layer, or None.
        causal: whether no query sees what is behind it.
        restricted: as of `run_attention`, `causal` and the layer's window aside.
        ask: as there.
    """
    if packed is None:
        return "queries, keys and values are not made of one tensor by one weight"
    if restricted:
        return _RESTRICTED
    if torch.compiler.is_compiling():
        return "torch.compile traces the call"
    options = self_attention_options(layer, causal=causal)
    if options is None:
        return _OTHER
    if cache is None:
        return eager_self_attention(options, packed, ask=ask)
    T = packed.shape[1 if layer.batch_first and packed.dim() == 3 else 0]
    room = cache.room_for(T) if type(cache) is KeyValueCache else None
    if room is None:
        return _NO_ROOM
    output: Tensor | str = ""
    try:
        output = eager_self_attention.cached(options, packed, *room, ask=ask)
    finally:
        cache.extend(T) if isinstance(output, Tensor) and not ask else cache.withdraw(T)
    return output
