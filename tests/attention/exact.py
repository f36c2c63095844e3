"""Attention in numpy's longest float, forward and backward, straight from the equations.

The oracle of float64 kernels, which sum more precisely than torch does in float64, and of rows of scores so
large that their rounding decides: there it takes the scores as a kernel's dtype rounds them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pyrnn.reference.philox import attention_keep

Array = np.ndarray
Long = np.longdouble


def attend(
    operands: tuple[Tensor, Tensor, Tensor],
    cotangents: tuple[Tensor, ...],
    *,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    key_padding_mask: Tensor | None = None,
    lengths: Tensor | None = None,
    query_start: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    softcap: float = 0.0,
    return_weights: str | None = None,
    seed: Tensor | None = None,
    enable_gqa: bool = False,
    scores_dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Results and gradients in float64, by the names of `tests.attention.checking.RESULTS`.

    `operands` are query, key and value of `pyrnn.ops.scaled_dot_product_attention`, the options are its own.
    `cotangents` are gradients of the output and, with `return_weights`, of the weights. To `scores_dtype`
    scale * q . k is rounded, and then its sum with the mask; None: neither.
    """
    (B, H, T, D), (K, S) = operands[0].shape, operands[1].shape[1:3]
    shared = H // K
    q, k, v = (as_long(t) for t in operands)
    k, v = np.repeat(k, shared, 1), np.repeat(v, shared, 1)
    ahead = np.arange(S) - np.arange(T)[:, None] - query_start
    left, right = window or (-1, -1)
    visible = np.ones((B, H, T, S), dtype=bool)
    for limited, allowed in (
        (is_causal, ahead <= 0),
        (left >= 0, -ahead <= left),
        (right >= 0, ahead <= right),
    ):
        if limited:
            visible &= allowed
    if lengths is not None:
        visible &= (np.arange(S) < lengths.numpy()[:, None])[:, None, None]
    if key_padding_mask is not None:
        visible &= ~key_padding_mask.numpy()[:, None, None]
    scale = D**-0.5 if scale is None else scale
    scores = rounded(np.einsum("bhtd,bhsd->bhts", q, k) * Long(scale), scores_dtype)
    tanh = np.tanh(scores / Long(softcap)) if softcap else None
    scores = scores if tanh is None else Long(softcap) * tanh
    if alibi_slopes is not None:
        scores = scores - as_long(alibi_slopes)[..., None, None] * np.abs(ahead)
    if attn_mask is not None and attn_mask.dtype is torch.bool:
        visible &= attn_mask.numpy()
    elif attn_mask is not None:
        visible &= (attn_mask != -torch.inf).numpy()
        scores = rounded(scores + as_long(attn_mask), scores_dtype)
    scores = np.where(visible, scores, -np.inf)
    most = scores.max(-1, keepdims=True)
    powers = np.exp(scores - np.where(np.isinf(most), 0, most))
    sums = powers.sum(-1, keepdims=True)
    weights = powers / np.where(sums == 0, 1, sums)
    factors = Long(1)
    if dropout_p:
        assert seed is not None
        kept = attention_keep(seed, dropout_p, (B, H, T, S), torch.device("cpu")).numpy()
        factors = kept / (1 - Long(dropout_p))
    dropped = weights * factors
    found = {"output": np.einsum("bhts,bhsv->bhtv", dropped, v)}
    if return_weights:
        found["weights"] = dropped.mean(1) if return_weights == "mean" else dropped

    g_output, *g_weights = (as_long(t) for t in cotangents)
    d_dropped = np.einsum("bhtv,bhsv->bhts", g_output, v)
    if g_weights:
        d_dropped = d_dropped + (g_weights[0][:, None] / H if return_weights == "mean" else g_weights[0])
    d_weights = d_dropped * factors
    d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
    d_products = d_scores * Long(scale) * (1 if tanh is None else 1 - tanh * tanh)
    found["d_query"] = np.einsum("bhts,bhsd->bhtd", d_products, k)
    for name, pairs, rows in (("d_key", d_products, q), ("d_value", dropped, g_output)):
        found[name] = np.einsum("bhts,bhtd->bhsd", pairs, rows).reshape(B, K, shared, S, -1).sum(2)
    results = {name: torch.from_numpy(array.astype(np.float64)) for name, array in found.items()}
    if attn_mask is not None and attn_mask.is_floating_point():
        results["d_mask"] = torch.from_numpy(d_scores.astype(np.float64)).sum_to_size(attn_mask.shape)
    return results


def as_long(tensor: Tensor) -> Array:
    """The numbers of a tensor."""
    return tensor.detach().double().numpy().astype(Long)


def rounded(numbers: Array, dtype: torch.dtype | None) -> Array:
    """The numbers as `dtype` holds them."""
    if dtype is None:
        return numbers
    return numbers.astype(np.float32 if dtype is torch.float32 else np.float64).astype(Long)
