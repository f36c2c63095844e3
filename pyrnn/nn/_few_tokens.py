"""Transformer layers on the new tokens of a model that generates, as one call of C++."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn import _native
from pyrnn._dispatch import (
    global_backward_hooks,
    global_backward_pre_hooks,
    global_forward_hooks,
    global_forward_pre_hooks,
)
from pyrnn._native_args import DTYPES
from pyrnn.nn._self_attention import self_attention_options
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import CacheList, KeyValueCache
from pyrnn.nn.parts import DROPOUT, LINEAR, name_of
from pyrnn.nn.plain import kind_of
from pyrnn.ops.dropout.call import CODES

_native.cpu.use_modules(
    (LINEAR, kind_of(nn.LayerNorm), DROPOUT, kind_of(MultiheadAttention)),
    (global_forward_hooks, global_forward_pre_hooks, global_backward_hooks, global_backward_pre_hooks),
)

#: Tokens of each sequence; the attention kernel for more is another.
_MOST_TOKENS = 4


def run_layers(
    layers: Iterable[Any], norm: Any, input: Any, caches: Sequence[Any], *, ask: bool = False
) -> Tensor | str:
    """What plain layers of a Transformer make of new tokens, or why their parts must be called.

    Args:
        layers: `TransformerEncoderLayer`s or `TransformerDecoderLayer`s, called without masks and hints;
            their own forward and hooks are the caller's to look at.
        norm: a normalisation behind the last one, or None.
        input: [T, B, E], or [B, T, E] if the layers have the batch first, or [T, E].
        caches: one for each layer; of a decoder's a pair, the second one filled.
        ask: compute nothing: where the call would be served, the output holds no numbers.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling():
        return "gradients are recorded, or torch.compile traces the call"
    if type(input) is not Tensor or input.dim() not in (2, 3):
        return "the input is no plain tensor of two or three dimensions"
    if norm is not None and type(norm) is not nn.LayerNorm:
        return "the last normalisation is no LayerNorm"
    # Asked here, too, before room in a cache is taken.
    most = _native.cpu.most_rows(DTYPES.get(input.dtype, 0))
    if input.numel() > most * input.shape[-1]:
        return f"there are more than {most} tokens"
    modules, calls = tuple(layers), list[Any]()
    output: Tensor | str = ""
    try:
        for layer, cache in zip(modules, caches, strict=True):
            call = _prepare(layer, input, cache)
            if isinstance(call, str):
                output = call
                return output
            calls.append(call)
        last = None if norm is None else (norm, norm.eps)
        threads = _native.cpu.asked if ask else _native.num_threads()
        output = _native.cpu.transformer_layers(modules, tuple(calls), last, input, threads)
    finally:  # the room that was taken is written now, or given back
        for ((own, *_), *_), cache in zip(calls, caches, strict=False):
            grows: Any = cache[0] if type(cache) is CacheList else cache
            T = _tokens(input, batch_first=own.batch_first)
            grows.extend(T) if isinstance(output, Tensor) and not ask else grows.withdraw(T)
    return output


def _tokens(input: Tensor, *, batch_first: bool) -> int:
    return input.shape[1 if batch_first and input.dim() == 3 else 0]


def _prepare(layer: Any, input: Tensor, cache: Any) -> tuple[Any, ...] | str:
    """Options of one layer, the room in its cache, which is taken, and its memory; or why there are none."""
    parts, activation = layer.__dict__["_modules"], name_of(layer.activation)
    attention, other = parts.get("self_attn"), parts.get("multihead_attn")
    memory = ()
    if (type(cache) is CacheList) != (other is not None):
        return "the cache is that of another kind of layer"
    if type(cache) is CacheList:
        if len(cache) != 2:
            return "the cache is that of another kind of layer"
        cache, known = cache
        found = _memory_of(other, known, attention)
        if isinstance(found, str):
            return found
        memory = (found,)
    if type(attention) is not MultiheadAttention or type(cache) is not KeyValueCache or activation is None:
        return "attention, cache or activation are of a kind that is not known"
    options = self_attention_options(attention, causal=True)
    eps = [getattr(parts.get(f"norm{n + 1}"), "eps", None) for n in range(2 + len(memory))]
    if options is None or None in eps or cache.keep == 0:
        return "the attention turns queries, adds keys or drops weights, or a normalisation is another"
    T = _tokens(input, batch_first=attention.batch_first)
    if not 0 < T <= _MOST_TOKENS:
        return f"there are more than {_MOST_TOKENS} tokens of a sequence, or none"
    room = cache.room_for(T)
    if room is None:
        return "the cache is empty, fixed or padded"
    return ((options, layer.norm_first, CODES[activation], *eps), *room, *memory)


def _memory_of(attention: Any, cache: Any, own: Any) -> tuple[Tensor, Tensor, Tensor | None] | str:
    """Keys, values and padding that a decoder's layer attends to, or why they are not to be had."""
    if type(attention) is not MultiheadAttention or type(cache) is not KeyValueCache:
        return "the attention to the memory, or its cache, are of a kind that is not known"
    options = self_attention_options(attention, causal=attention.causal)
    if type(own) is not MultiheadAttention or (
        (attention.num_heads, attention.batch_first) != (own.num_heads, own.batch_first)
    ):
        return "the two attentions differ in heads or in the order of dimensions"
    if options is None or options.causal or attention.window is not None or options.slopes is not None:
        return "the attention to the memory turns queries, adds or hides keys, or drops weights"
    return cache.memory or "the memory's keys are not known yet"
