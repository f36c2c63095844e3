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
from pyrnn.nn._parts import DROPOUT, LINEAR, name_of
from pyrnn.nn._self_attention import self_attention_options
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import KeyValueCache
from pyrnn.nn.plain import kind_of
from pyrnn.ops.dropout.cpu import ACTIVATIONS

_native.cpu.use_modules(
    (LINEAR, kind_of(nn.LayerNorm), DROPOUT, kind_of(MultiheadAttention)),
    (global_forward_hooks, global_forward_pre_hooks, global_backward_hooks, global_backward_pre_hooks),
)

#: Tokens of each sequence; the attention kernel for more is another.
_MOST_TOKENS = 4


def run_layers(layers: Iterable[Any], norm: Any, input: Any, caches: Sequence[Any]) -> Tensor | None:
    """What plain `TransformerEncoderLayer`s make of new tokens, or None where their parts must be called.

    Args:
        layers: called without masks and hints; their own forward and hooks are the caller's to look at.
        norm: a normalisation behind the last one, or None.
        input: [T, B, E], or [B, T, E] if the layers have the batch first, or [T, E].
        caches: one for each layer.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or type(input) is not Tensor:
        return None
    if input.dim() not in (2, 3) or (norm is not None and type(norm) is not nn.LayerNorm):
        return None
    modules, calls = tuple(layers), []
    for layer, cache in zip(modules, caches, strict=True):
        call = _prepare(layer, input, cache)
        if call is None:
            break
        calls.append(call)
    output = None
    if len(calls) == len(modules):
        last = None if norm is None else (norm, norm.eps)
        output = _native.cpu.transformer_layers(modules, tuple(calls), last, input, _native.num_threads())
    for (options, *_), cache in zip(calls, caches, strict=False):
        T = _tokens(input, batch_first=options[0].batch_first)
        cache.withdraw(T) if output is None else cache.extend(T)
    return output


def _tokens(input: Tensor, *, batch_first: bool) -> int:
    return input.shape[1 if batch_first and input.dim() == 3 else 0]


def _prepare(layer: Any, input: Tensor, cache: Any) -> tuple[Any, ...] | None:
    """Options of one layer, and the room in its cache, which is taken."""
    parts = layer.__dict__["_modules"]
    attention, activation = parts.get("self_attn"), name_of(layer.activation)
    if type(attention) is not MultiheadAttention or type(cache) is not KeyValueCache or activation is None:
        return None
    options = self_attention_options(attention, causal=True)
    eps = [getattr(parts.get(name), "eps", None) for name in ("norm1", "norm2")]
    if options is None or None in eps or cache.keep == 0:
        return None
    T = _tokens(input, batch_first=attention.batch_first)
    room = cache.room_for(T) if 0 < T <= _MOST_TOKENS else None
    return None if room is None else ((options, layer.norm_first, ACTIVATIONS[activation], *eps), *room)
