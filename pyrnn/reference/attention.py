"""Scaled dot-product attention, all scores at once, straight from the equations.

Used by the tests as the float64 oracle, and by second derivatives, forward-mode differentiation and functorch
transforms, which differentiate it as ordinary torch code. It imports nothing but torch.

Dimension key: B batch, H heads of the queries, K heads of keys and values (H a multiple of K), T queries, S
keys, D features of queries and keys, V features of values.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrnn.reference.philox import attention_keep


class AttentionOutput(NamedTuple):
    """What attention returns; `weights` has shape [0] unless they were asked for.

    Example:
        >>> keys = torch.ones(1, 1, 4, 2)
        >>> output, weights = scaled_dot_product_attention(keys[:, :, :1], keys, keys, return_weights="full")
        >>> weights
        tensor([[[[0.2500, 0.2500, 0.2500, 0.2500]]]])
    """

    output: Tensor  # [B, H, T, V]
    weights: Tensor  # "full": [B, H, T, S]; "mean": [B, T, S]; "none": [0]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    key_padding_mask: Tensor | None = None,
    lengths: Tensor | None = None,
    alibi_slopes: Tensor | None = None,
    seed: Tensor | None = None,
    *,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    query_start: int = 0,
    window_left: int = -1,
    window_right: int = -1,
    softcap: float = 0.0,
    return_weights: Literal["none", "mean", "full"] = "none",
) -> AttentionOutput:
    """Attention with every option of `pyrnn.ops.scaled_dot_product_attention`, on tensors with one batch.

    A pair of a query and a key that it must not see contributes nothing to any result or derivative, whatever
    numbers stand there. A query that sees a number which is not finite gives NaN, in its output and in every
    weight that it sees, dropped or not. 16-bit types are computed
    in float32 and rounded once.

    Args:
        query: [B, H, T, D].
        key: [B, K, S, D].
        value: [B, K, S, V].
        attn_mask: bool or float, broadcastable to [B, H, T, S].
        key_padding_mask: bool [B, S], True where a key is padding.
        lengths: [B] integers, the keys of each sequence.
        alibi_slopes: [H] or [B, H].
        seed: int64 scalar; required with dropout.
        dropout_p: probability of a weight to be dropped.
        is_causal: query i sees no key after query_start + i.
        scale: of the products; None for D ** -0.5.
        query_start: where query 0 stands among the keys.
        window_left: how far back a query sees; negative for no limit.
        window_right: how far ahead a query sees; negative for no limit.
        softcap: 0, or the bound of the scores before bias and mask.
        return_weights: "none", "mean" over the heads, or "full".

    Example:
        >>> import torch
        >>> from pyrnn.reference import scaled_dot_product_attention
        >>> q, k, v = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 7, 4), torch.randn(2, 3, 7, 6)
        >>> scaled_dot_product_attention(q, k, v).output.shape
        torch.Size([2, 3, 5, 6])
    """
    dtype = query.dtype
    working = torch.promote_types(dtype, torch.float32)
    query, key, value = (t.to(working) for t in (query, key, value))
    B, H, T, D = query.shape
    S = key.shape[2]
    if key.shape[1] != H:
        key, value = (t.repeat_interleave(H // t.shape[1], 1) for t in (key, value))
    i = torch.arange(T, device=query.device)[:, None] + query_start
    j = torch.arange(S, device=query.device)

    visible = torch.ones(B, 1, T, S, dtype=torch.bool, device=query.device)
    if is_causal:
        visible = visible & (j <= i)
    if window_left >= 0:
        visible = visible & (j >= i - window_left)
    if window_right >= 0:
        visible = visible & (j <= i + window_right)
    if lengths is not None:
        visible = visible & (j < lengths.to(j.device)[:, None, None, None])
    if key_padding_mask is not None:
        visible = visible & ~key_padding_mask[:, None, None]
    if attn_mask is not None:
        visible = visible & (attn_mask if attn_mask.dtype is torch.bool else attn_mask != -torch.inf)

    query, unclean_query = _clean(query)
    key, unclean_key = _clean(key)
    value, unclean_value = _clean(value)
    scores = query @ key.mT * (D**-0.5 if scale is None else scale)
    scores = torch.where(visible, scores, 0.0)
    scores = _spoil(scores, visible & (unclean_query | unclean_key.mT))
    if softcap > 0:
        scores = softcap * torch.tanh(scores / softcap)
    if alibi_slopes is not None:
        scores = scores - alibi_slopes.to(working)[..., None, None] * (i - j).abs()
    if attn_mask is not None and attn_mask.dtype is not torch.bool:
        scores = scores + attn_mask.to(working)
    # A query without a visible key is given equal scores: softmax of -inf alone is NaN, in derivatives too.
    fill = torch.where(visible.any(-1, keepdim=True), -torch.inf, 0.0).to(working)
    weights = torch.where(visible, torch.softmax(torch.where(visible, scores, fill), -1), 0.0)
    if dropout_p > 0:
        assert seed is not None, "dropout needs a seed"
        kept = attention_keep(seed, dropout_p, (B, H, T, S), query.device)
        weights = weights * (kept.to(weights) * (1 / (1 - dropout_p) if dropout_p < 1 else 0.0))
    output = _spoil(weights, visible & unclean_value.mT) @ value

    if return_weights == "none":
        weights = query.new_zeros(0)
    elif return_weights == "mean":
        weights = weights.sum(1) / max(H, 1)
    return AttentionOutput(output.to(dtype), weights.to(dtype))


def _clean(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The rows with zeros for what is not finite, and which rows [..., 1] had such numbers.

    The products are matrix products over all pairs, and 0 * NaN is NaN: without this a number that one query
    must not see would reach its results by a weight of 0.
    """
    finite = torch.isfinite(rows)
    return torch.where(finite, rows, 0.0), ~finite.all(-1, keepdim=True)


def _spoil(pairs: Tensor, unclean: Tensor) -> Tensor:
    """NaN, also in every derivative, for pairs that do see a number that is not finite."""
    return pairs * torch.where(unclean, torch.nan, 1.0).to(pairs)
