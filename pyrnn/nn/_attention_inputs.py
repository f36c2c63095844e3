"""What may come into multi-head attention, checked once, and its masks in the operator's form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pyrnn._dispatch import autocast_enabled
from pyrnn.nn.cache import KeyValueCache

if TYPE_CHECKING:
    from pyrnn.nn.attention import MultiheadAttention


def check_operands(
    query: Tensor, key: Tensor, value: Tensor, *, widths: tuple[int, int, int], batch_first: bool
) -> None:
    """Raise unless all are [T, B, E], with `batch_first` [B, T, E], or all [T, E], of these widths."""
    if query.dim() not in (2, 3):
        raise AssertionError(
            f"query should be unbatched 2-D or batched 3-D, got a {query.dim()}-D tensor of shape "
            f"{tuple(query.shape)}"
        )
    kind = "batched (3-D)" if query.dim() == 3 else "unbatched (2-D)"
    for name, tensor in (("key", key), ("value", value)):
        if tensor.dim() != query.dim():
            raise AssertionError(
                f"for {kind} query, expected {name} to be {query.dim()}-D too, got {tensor.dim()}-D"
            )
    if query.shape[-1] != widths[0]:
        raise AssertionError(f"was expecting embedding dimension of {widths[0]}, but got {query.shape[-1]}")
    if key.shape[:-1] != value.shape[:-1]:
        raise AssertionError(
            "key and value must have the same length and batch, got shapes "
            f"{tuple(key.shape)} and {tuple(value.shape)}"
        )
    # torch lets the product fail if keys and values have one wrong width where they should have the queries'.
    one_width = widths[0] == widths[1] == widths[2] and key.shape == value.shape
    for name, tensor, width in (("key", key, widths[1]), ("value", value, widths[2])):
        if tensor.shape[-1] != width:
            kind_of_error = RuntimeError if one_width else AssertionError
            raise kind_of_error(f"expected {width} features of {name}, got {tensor.shape[-1]}")
    batch_dim = 0 if batch_first else 1
    if query.dim() == 3 and query.shape[batch_dim] != key.shape[batch_dim]:
        raise RuntimeError(
            f"query and key must have the same batch size (dimension {batch_dim} with "
            f"batch_first={batch_first}), got {query.shape[batch_dim]} and {key.shape[batch_dim]}"
        )


def check_alike(query: Tensor, key: Tensor, value: Tensor, weight: Tensor) -> None:
    """Raise unless all have the weight's device and, if autocast will not unify them, dtype."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        alike = tensor.dtype == weight.dtype or autocast_enabled(query.device.type)
        if tensor.device != weight.device or not alike:
            raise RuntimeError(
                f"expected {name} to have the weights' dtype and device, {weight.dtype} at {weight.device}, "
                f"got {tensor.dtype} at {tensor.device}: convert it, or the layer, with .to()"
            )


def check_hint(attn_mask: Tensor | None, *, needs_mask: bool) -> None:
    """Raise if `is_causal` comes without the mask that it is about, or with what is none."""
    if needs_mask and attn_mask is None:
        raise RuntimeError(
            "is_causal is a hint about attn_mask, which is needed with it: "
            "generate_square_subsequent_mask of nn.Transformer makes one; causal=True needs none"
        )
    if attn_mask is not None and attn_mask.dim() not in (2, 3):
        raise AssertionError(f"expected attn_mask to be 2-D or 3-D, got {attn_mask.dim()}-D")


def check_cache(
    cache: KeyValueCache, T: int, S: int, key_padding_mask: Tensor | None, *, extra: int, beyond: str
) -> None:
    """Raise unless a cache fits T queries and S keys, `extra` ones, and options `beyond` torch's."""
    if not isinstance(cache, KeyValueCache):
        name = type(cache).__name__
        raise TypeError(f"expected cache to be a KeyValueCache (layer.new_cache()), got {name}")
    if extra:
        raise ValueError("a cache cannot be combined with add_bias_kv or add_zero_attn")
    if key_padding_mask is not None and key_padding_mask.dtype != torch.bool:
        raise ValueError(f"with a cache, key_padding_mask must be bool, got {key_padding_mask.dtype}")
    if cache.fixed and beyond:
        raise ValueError(
            "a fixed cache holds a memory, at whose positions the queries do not stand: causal, window, "
            "alibi and rotary are for self-attention"
        )
    if not cache.fixed and T != S:
        raise ValueError(
            f"a cache grows by the keys of its queries: expected as many keys as queries, got {S} keys "
            f"and {T} queries. KeyValueCache(fixed=True) is for a memory"
        )


def check_masks(
    attn_mask: Tensor | None,
    key_padding_mask: Tensor | None,
    *,
    B: int | None,
    H: int,
    T: int,
    S: int,
    new: int,
) -> None:
    """Raise unless the masks fit B sequences (None: unbatched), H heads, T queries and S keys, `new` of them
    new.

    Raises:
        AssertionError, RuntimeError: where torch raises them.
    """
    for name, mask in (("key_padding_mask", key_padding_mask), ("attn_mask", attn_mask)):
        if mask is not None and mask.dtype != torch.bool and not mask.is_floating_point():
            raise AssertionError(f"only bool and floating types of {name} are supported, got {mask.dtype}")
    if key_padding_mask is not None:
        expected = (new,) if B is None else (B, new)
        if key_padding_mask.shape != expected:
            raise AssertionError(
                f"expected key_padding_mask of shape {expected}, got {tuple(key_padding_mask.shape)}"
            )
    if attn_mask is None:
        return
    expected = (T, S) if attn_mask.dim() == 2 else (H * (1 if B is None else B), T, S)
    if attn_mask.shape != expected:
        kind_of_error = AssertionError if B is None and attn_mask.dim() == 3 else RuntimeError
        raise kind_of_error(
            f"the shape of the {attn_mask.dim()}-D attn_mask is {tuple(attn_mask.shape)}, but should be "
            f"{expected}"
        )


def operator_masks(
    attn_mask: Tensor | None, key_padding_mask: Tensor | None, *, H: int, extra: int, dtype: torch.dtype
) -> tuple[Tensor | None, Tensor | None]:
    """The masks as `ops.scaled_dot_product_attention` takes them: one over scores, one bool over keys.

    Here True forbids, there it takes part. `extra` keys that every query sees stand behind the others. A
    float padding mask is added to the scores; a bool one stays [B, S], and no [T, S] is made for its sake.
    """
    if attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.unflatten(0, (-1, H))
        if attn_mask.dtype == torch.bool:
            attn_mask = ~attn_mask
        attn_mask = _widen(attn_mask, extra, visible=attn_mask.dtype == torch.bool)
    if key_padding_mask is None:
        return _as(attn_mask, dtype), None
    key_padding_mask = _widen(key_padding_mask, extra, visible=False)
    if key_padding_mask.dtype == torch.bool:
        return _as(attn_mask, dtype), key_padding_mask
    bias = key_padding_mask[:, None, None, :]
    if attn_mask is None:
        return _as(bias, dtype), None
    if attn_mask.dtype == torch.bool:
        return _as(bias.masked_fill(~attn_mask, -torch.inf), dtype), None
    return _as(attn_mask + bias, dtype), None


def _widen(mask: Tensor, extra: int, *, visible: bool) -> Tensor:
    """The mask with `extra` columns behind, which forbid nothing: `visible` if bool, 0 if added."""
    if not extra:
        return mask
    value = visible if mask.dtype == torch.bool else 0
    return torch.nn.functional.pad(mask, (0, extra), value=value)


def _as(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    return mask if mask is None or mask.dtype == torch.bool else mask.to(dtype)


def with_extra_keys(
    k: Tensor, v: Tensor, bias_k: Tensor | None, bias_v: Tensor | None, *, zeros: bool
) -> tuple[Tensor, Tensor]:
    """Keys and values [B, H, S, D] with learned ones and those of zeros behind them, where there are any."""
    B, H, _, D = k.shape
    if bias_k is not None and bias_v is not None:
        learned = [bias.view(H, 1, D).expand(B, H, 1, D).to(k.dtype) for bias in (bias_k, bias_v)]
        k, v = torch.cat((k, learned[0]), dim=2), torch.cat((v, learned[1]), dim=2)
    if zeros:
        nothing = k.new_zeros(B, H, 1, D)
        k, v = torch.cat((k, nothing), dim=2), torch.cat((v, nothing), dim=2)
    return k, v


def check_call(
    layer: MultiheadAttention,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    key_padding_mask: Tensor | None,
    attn_mask: Tensor | None,
    cache: KeyValueCache | None,
    weight: Tensor,
    *,
    is_causal: bool,
    known: bool,
    says_all: bool,
) -> None:
    """Raise unless the call fits; key and value are the query where a cache knows them.

    `says_all`: the hint does, and `attn_mask` may be a causal mask of more queries and keys.
    """
    E = layer.embed_dim
    widths = (E, E, E) if known else (E, layer.kdim, layer.vdim)
    check_operands(query, key, value, widths=widths, batch_first=layer.batch_first)
    check_alike(query, key, value, weight)
    batch_dim, sequence_dim = (0, 1) if layer.batch_first else (1, 0)
    if query.dim() == 2:
        sequence_dim = 0
    T, S = query.shape[sequence_dim], key.shape[sequence_dim]
    kept = S
    if cache is not None:
        check_cache(cache, T, S, key_padding_mask, extra=layer._extra_keys, beyond=layer._beyond_torch())
        kept = cache.length_with(S)
    B = None if query.dim() == 2 else query.shape[batch_dim]
    grows = cache is not None and not cache.fixed
    check_hint(attn_mask, needs_mask=is_causal and not layer.causal and not grows)
    mask = None if says_all else attn_mask
    check_masks(mask, key_padding_mask, B=B, H=layer.num_heads, T=T, S=kept, new=S)


def recall(
    cache: KeyValueCache, new: list[Tensor], padding: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Keys, values and padding of all calls, after appending those of this one (none if they are known)."""
    if new:
        cache.append(new[0], new[1], padding)
    return cache.keys, cache.values, cache.padding  # type: ignore[return-value]  not None after an append
