"""Calls of the CPU kernels of attention: allocates the results, hands addresses and strides over.

The order of the fields is that of csrc/module.cpp and of csrc/attention/problem.h.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    addresses,
    contiguous,
    number_of,
    on_huge_pages,
    require_storage,
    storage_address,
    with_rows,
)
from pyrnn.ops.attention.call import Call, empty_gradients
from pyrnn.ops.attention.layout import Layout, layout_of

_NO_HEADS = (0,) * 4
_NO_SCORES = (0,) * 5
_ONE_PASS = (_NO_HEADS,) * 4  # a forward pass has no gradients


def forward(call: Call, *, with_statistics: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Check and run one call; returns output, weights and the statistics of the softmax, [0] if not asked.

    Weights always need the statistics.
    """
    layout = layout_of(call)
    dtype, asks_weights = layout.problem.dtype, layout.problem.return_weights != "none"
    output = torch.empty_strided(layout.output_shape, layout.output, dtype=dtype)
    weights = torch.empty(layout.weights_shape, dtype=dtype)
    shape = layout.statistics_shape if with_statistics or asks_weights else (0,)
    statistics = torch.empty(shape, dtype=layout.statistics_dtype)
    if layout.is_empty:
        return output.zero_(), weights.zero_(), statistics.zero_()
    on_huge_pages(output, weights)
    mask = _NO_SCORES if call.attn_mask is None else _mask(layout, call.attn_mask)
    scores = (mask, (weights.data_ptr(), *layout.weights) if asks_weights else _NO_SCORES, _NO_SCORES)
    inputs = call[:3]
    if layout.inputs is None:
        inputs = tuple([with_rows(tensor) for tensor in inputs])
        heads = [_heads(tensor) for tensor in inputs]
    else:
        heads = []
        for tensor, extent, strides in zip(inputs, layout.extents, layout.inputs, strict=False):
            heads.append((storage_address(tensor, extent), *strides))
    heads = (*heads, (output.data_ptr(), *layout.output[:3]), *_ONE_PASS)
    _run(_native.cpu.attention_forward, layout, call, heads, scores, statistics, None)
    return output, weights, statistics


def backward(
    call: Call,
    g_out: Tensor | None,
    g_weights: Tensor | None,
    out: Tensor,
    statistics: Tensor,
    *,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run one call backwards; returns the gradients of query, key, value and mask, [0] where not needed."""
    layout = layout_of(call)
    d_q, d_k, d_v, d_mask = empty_gradients(call, needs)
    if layout.is_empty:
        return d_q.zero_(), d_k.zero_(), d_v.zero_(), d_mask.zero_()
    scores_shape, d_scores = layout.problem.scores_shape, None
    if d_mask.numel():  # the kernels write every pair; sums over what the mask was broadcast over follow
        d_scores = d_mask if d_mask.shape == scores_shape else call.query.new_empty(scores_shape)
        on_huge_pages(d_scores)
    on_huge_pages(d_q, d_k, d_v)
    q, k, v, out = (with_rows(t) for t in (*call[:3], out))
    g_out = None if g_out is None else with_rows(g_out)
    heads = tuple(map(_heads, (q, k, v, out, g_out, d_q, d_k, d_v)))
    mask = _NO_SCORES if call.attn_mask is None else _mask(layout, call.attn_mask)
    g_scores = _NO_SCORES
    if g_weights is not None and g_weights.numel():
        of_mean = layout.problem.return_weights == "mean"
        require_storage(g_weights)
        over_heads = g_weights.unsqueeze(1).expand(scores_shape) if of_mean else g_weights
        g_scores = (g_weights.data_ptr(), *over_heads.stride())
    scores = (mask, _NO_SCORES, g_scores)
    _run(_native.cpu.attention_backward, layout, call, heads, scores, contiguous(statistics), d_scores)
    if d_scores is not None:
        d_mask = d_scores.sum_to_size(d_mask.shape)
    return d_q, d_k, d_v, d_mask


def _run(
    kernel: Callable[..., None],
    layout: Layout,
    call: Call,
    heads: tuple[tuple[int, ...], ...],
    scores: tuple[tuple[int, ...], ...],
    statistics: Tensor | None,
    d_scores: Tensor | None,
) -> None:
    seed = number_of(call.seed) if call.seed is not None and layout.problem.dropout_p > 0 else 0
    # Held by name until the kernel is done with its memory.
    padding = None if call.key_padding_mask is None else contiguous(call.key_padding_mask)
    slopes = None if call.alibi_slopes is None else require_storage(call.alibi_slopes)
    kernel(
        (*layout.integers, seed),
        layout.reals,
        heads,
        scores,
        (
            *addresses((call.lengths, padding, slopes)),
            *layout.slopes,
            *addresses((statistics, d_scores)),
        ),
        _native.num_threads(),
    )


def _heads(tensor: Tensor | None) -> tuple[int, ...]:
    return _NO_HEADS if tensor is None or not tensor.numel() else (tensor.data_ptr(), *tensor.stride()[:3])


def _mask(layout: Layout, mask: Tensor) -> tuple[int, ...]:
    return (storage_address(mask, layout.extents[3]), *layout.mask)
