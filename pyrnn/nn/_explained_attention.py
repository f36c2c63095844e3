"""The attentions that a call of a layer holds, and whether each is a small call (docs/small-calls.md)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn.nn._attention_inputs import operator_masks
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import KeyValueCache
from pyrnn.nn.decoder_layer import TransformerDecoderLayer
from pyrnn.nn.encoder_layer import TransformerEncoderLayer
from pyrnn.nn.transformer import Transformer, TransformerDecoder, TransformerEncoder, is_causal_mask
from pyrnn.ops import linear_route, rotary_embedding_route
from pyrnn.ops.attention.call import Call


@dataclass(frozen=True)
class Attention:
    """One attention of a call."""

    name: str
    layer: MultiheadAttention
    query: Tensor
    key: Tensor
    cache: KeyValueCache | None
    small: str
    given: dict[str, Any]  # the arguments of the call, by their names

    def operator_call(self, sizes: tuple[int, ...], dtype: torch.dtype) -> Call:
        """What `pyrnn.ops.scaled_dot_product_attention` is called with, on heads without numbers.

        Args:
            sizes: B, H, T, S, D.
            dtype: of the heads.
        """
        layer, (B, H, T, S, D) = self.layer, sizes
        padding, mask, needs = (
            self.given.get(name, _UNRESTRICTED[name])
            for name in ("key_padding_mask", "attn_mask", "need_weights")
        )
        if self.cache is None:
            S += layer._extra_keys
        elif padding is not None:
            padding = padding.new_zeros(B, S)  # the cache has that of the keys before
        if padding is not None and padding.dim() == 1:
            padding = padding.unsqueeze(0)
        causal, query_start, says_all = layer._order(
            T, S, self.cache, is_causal=bool(self.given.get("is_causal")), bare=padding is None and not needs
        )
        mask, padding = operator_masks(
            None if says_all else mask, padding, H=H, extra=layer._extra_keys, dtype=dtype
        )
        if mask is not None:
            mask = mask[(None,) * (4 - mask.dim())]
        query, key = (self.query.new_empty(B, H, length, D, dtype=dtype) for length in (T, S))
        slopes = None if layer._slopes is None else layer._slopes.to(query.device).expand(1, H)
        dropout = layer.dropout if layer.training else 0.0
        seed = torch.zeros((), dtype=torch.int64) if dropout > 0 else None
        left, right = layer.window or (-1, -1)
        averages = self.given.get("average_attn_weights", True)
        kind = ("mean" if averages else "full") if needs else "none"
        masks = (mask, padding, None, slopes, seed)
        return Call(query, key, key, *masks, dropout, causal, None, query_start, left, right, 0.0, kind)


def attentions_of(layer: nn.Module, call: dict[str, Any], wider: tuple[str, ...] = ()) -> Iterator[Attention]:
    """Every attention of `layer(**call)`, in their order.

    Args:
        layer: an attention, or what has some.
        call: its arguments by their names.
        wider: why the layers around this one are no small calls; or one word, that they are.
    """
    cache = call.get("cache")
    if isinstance(layer, MultiheadAttention):
        query, key = call["query"], call["key"]
        name = "self-attention" if query is key else "attention"
        yield Attention(name, layer, query, key, cache, _small_attention(layer, call, wider), call)
    elif isinstance(layer, TransformerEncoderLayer):
        src, mask, padding = call["src"], call.get("src_mask"), call.get("src_key_padding_mask")
        if cache is not None and wider != _SERVED:
            wider = _ask(layer, call, wider)
        yield from attentions_of(layer.self_attn, _inner(src, src, mask, padding, call, "", cache), wider)
    elif isinstance(layer, TransformerDecoderLayer):
        own, other = (None, None) if cache is None else cache
        tgt, memory = call["tgt"], call["memory"]
        if cache is not None and wider != _SERVED:
            wider = _ask(layer, call, wider)
        masks = call.get("tgt_mask"), call.get("tgt_key_padding_mask")
        yield from attentions_of(layer.self_attn, _inner(tgt, tgt, *masks, call, "tgt_", own), wider)
        masks = call.get("memory_mask"), call.get("memory_key_padding_mask")
        inner = _inner(tgt, memory, *masks, call, "memory_", other)
        inner["need_weights"] = call.get("weights") is not None
        yield from attentions_of(layer.multihead_attn, inner, wider)
    elif isinstance(layer, TransformerEncoder | TransformerDecoder):
        encodes = isinstance(layer, TransformerEncoder)
        mask, hint = ("mask", "is_causal") if encodes else ("tgt_mask", "tgt_is_causal")
        if call.get(hint) is None:
            call = {**call, hint: is_causal_mask(call.get(mask))}
        if encodes:
            call = {**call, "src_mask": call.get(mask)}
        if cache is not None:
            wider = _ask(layer, call, wider)
        for number, part in enumerate(layer.layers):
            inner = {**call, "cache": None if cache is None else cache[number]}
            if number < len(layer.layers) - 1:  # of a decoder's, the last tells its weights
                inner["weights"] = None
            yield from attentions_of(part, inner, wider)
    elif isinstance(layer, Transformer):
        names = {"src": "src", "src_mask": "mask", "src_is_causal": "is_causal"}
        names["src_key_padding_mask"] = "src_key_padding_mask"
        yield from attentions_of(layer.encoder, {names[name]: call.get(name) for name in names})
        yield from attentions_of(layer.decoder, {"memory_is_causal": False, **call, "memory": call["src"]})
    else:
        raise TypeError(
            "explain expects attentions and Transformer layers of pyrnn's, got "
            f"{type(layer).__module__}.{type(layer).__qualname__}; pyrnn.accelerate(model) turns torch's "
            "into ours"
        )


#: Of what stands around an attention: it is a small call, and nothing of it is called.
_SERVED = ("served",)


#: Arguments of layers and stacks that their single calls do not know.
_BEYOND = ("src_mask", "src_key_padding_mask", "tgt_mask", "tgt_key_padding_mask", "memory_mask", "weights")


def _ask(layer: Any, call: dict[str, Any], wider: tuple[str, ...]) -> tuple[str, ...]:
    """What is told of a layer, or of a stack, to those inside it."""
    input = call["src"] if "src" in call else call["tgt"]
    restricted = any(call.get(name) is not None for name in _BEYOND)
    found = layer.run_at_once(input, call["cache"], restricted=restricted, ask=True)
    return (*wider, found) if isinstance(found, str) else _SERVED


def _inner(
    query: Tensor, key: Tensor, mask: Any, padding: Any, call: dict[str, Any], prefix: str, cache: Any
) -> dict[str, Any]:
    """The call of an attention inside a layer."""
    hint = call.get(f"{prefix}is_causal") or False
    told = {"attn_mask": mask, "key_padding_mask": padding, "is_causal": hint, "need_weights": False}
    return {"query": query, "key": key, "value": key, "cache": cache, **told}


def _small_attention(layer: MultiheadAttention, call: dict[str, Any], wider: tuple[str, ...]) -> str:
    """Whether a call is a small one, and why it is no wider part of the layers around it."""
    if wider == _SERVED:
        return "one call of C++ for the whole layer, or for all layers"
    given = {name: call.get(name, value) for name, value in _UNRESTRICTED.items()}
    whole, between = layer._attend(call["query"], call["key"], call["value"], **given, ask=True)
    if isinstance(whole, Tensor):
        what, why = "one call of C++ with both linear layers", wider
    elif isinstance(between, Tensor):
        what, why = "one call of C++ between the linear layers", (whole, *wider)
    else:
        what, why = "no", (between, whole, *wider)
    return f"{what}; not more: {'; '.join(dict.fromkeys(why))}" if why else what


_UNRESTRICTED: dict[str, Any] = {
    "key_padding_mask": None, "need_weights": True, "attn_mask": None, "average_attn_weights": True,
    "is_causal": False, "cache": None,
}  # fmt: skip


def projection(attention: Attention) -> str:
    """Who computes the forward product with the query's weights, in words."""
    layer = attention.layer
    weight: Any = layer.in_proj_weight  # torch's own type leaves out that it may be None
    if weight is None:
        weight = layer.q_proj_weight
    elif attention.name != "self-attention":
        weight = weight[: layer.embed_dim]
    path, reason = linear_route(attention.query, weight)
    return f"{path}: {reason}"


def rotation(attention: Attention, dtype: torch.dtype) -> str | None:
    """Who turns queries and keys by their positions, in words; None if the layer does not."""
    if attention.layer._rotary is None:
        return None
    path, reason = rotary_embedding_route(attention.query.new_empty(0, dtype=dtype))
    return f"{path}: {reason}"


def restrictions(attention: Attention) -> Iterator[str]:
    """What the layer itself, or its cache, keeps a query from seeing."""
    layer, cache = attention.layer, attention.cache
    if layer.causal or (cache is not None and not cache.fixed):
        yield "causal"
    if layer.window is not None:
        yield f"window {layer.window}"
