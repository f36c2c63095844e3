"""Calls of the CPU kernels of attention: allocates the results, hands addresses and strides over."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    addresses,
    check_fields,
    contiguous,
    number_of,
    on_huge_pages,
    require_storage,
    storage_address,
    with_rows,
)
from pyrnn.ops.attention.call import Call, empty_gradients
from pyrnn.ops.attention.layout import Layout, layout_of

Heads = tuple[int, ...]  # address, strides over batch, heads and rows
Scores = tuple[int, ...]  # address, strides over batch, heads, queries and keys

_NO_HEADS = (0,) * 4
_NO_SCORES = (0,) * 5


class NativeTensors(NamedTuple):
    """Those fields of `attention::Problem` in csrc/attention/problem.h that each call has of its own."""

    seed: int = 0
    q: Heads = _NO_HEADS
    k: Heads = _NO_HEADS
    v: Heads = _NO_HEADS
    out: Heads = _NO_HEADS
    mask: Scores = _NO_SCORES
    lengths: int = 0
    padding: int = 0
    slopes: int = 0
    statistics: int = 0
    weights: Scores = _NO_SCORES
    g_out: Heads = _NO_HEADS
    g_weights: Scores = _NO_SCORES
    d_q: Heads = _NO_HEADS
    d_k: Heads = _NO_HEADS
    d_v: Heads = _NO_HEADS
    d_mask: int = 0


check_fields(_native.cpu, "attention.Tensors", NativeTensors._fields)


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
    inputs = call[:3]
    if layout.inputs is None:
        inputs = tuple([with_rows(tensor) for tensor in inputs])
        q, k, v = [_heads(tensor) for tensor in inputs]
    else:
        (q, k, v), extents, strides = inputs, layout.extents, layout.inputs
        q = (storage_address(q, extents[0]), *strides[0])
        k = (storage_address(k, extents[1]), *strides[1])
        v = (storage_address(v, extents[2]), *strides[2])
    tensors = NativeTensors(
        q=q,
        k=k,
        v=v,
        out=(output.data_ptr(), *layout.output[:3]),
        mask=mask,
        weights=(weights.data_ptr(), *layout.weights) if asks_weights else _NO_SCORES,
        statistics=statistics.data_ptr(),
    )
    _run(_native.cpu.attention_forward, layout, call, tensors)
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
    q, k, v, out = (with_rows(t) for t in (*call[:3], out))  # held until the kernel is done
    g_out = None if g_out is None else with_rows(g_out)
    g_scores = _NO_SCORES
    if g_weights is not None and g_weights.numel():
        of_mean = layout.problem.return_weights == "mean"
        require_storage(g_weights)
        over_heads = g_weights.unsqueeze(1).expand(scores_shape) if of_mean else g_weights
        g_scores = (g_weights.data_ptr(), *over_heads.stride())
    statistics = contiguous(statistics)
    tensors = NativeTensors(
        q=_heads(q),
        k=_heads(k),
        v=_heads(v),
        out=_heads(out),
        mask=_NO_SCORES if call.attn_mask is None else _mask(layout, call.attn_mask),
        statistics=statistics.data_ptr(),
        g_out=_heads(g_out),
        g_weights=g_scores,
        d_q=_heads(d_q),
        d_k=_heads(d_k),
        d_v=_heads(d_v),
        d_mask=0 if d_scores is None else d_scores.data_ptr(),
    )
    _run(_native.cpu.attention_backward, layout, call, tensors)
    if d_scores is not None:
        d_mask = d_scores.sum_to_size(d_mask.shape)
    return d_q, d_k, d_v, d_mask


def _run(kernel: Callable[..., None], layout: Layout, call: Call, tensors: NativeTensors) -> None:
    seed = number_of(call.seed) if call.seed is not None and layout.problem.dropout_p > 0 else 0
    # Held by name until the kernel is done with its memory.
    padding = None if call.key_padding_mask is None else contiguous(call.key_padding_mask)
    slopes = None if call.alibi_slopes is None else require_storage(call.alibi_slopes)
    if seed or padding is not None or slopes is not None or call.lengths is not None:
        lengths, rows, heads = addresses((call.lengths, padding, slopes))
        tensors = tensors._replace(seed=seed, lengths=lengths, padding=rows, slopes=heads)
    kernel(layout.sizes, tensors, _native.num_threads())


def _heads(tensor: Tensor | None) -> Heads:
    return _NO_HEADS if tensor is None or not tensor.numel() else (tensor.data_ptr(), *tensor.stride()[:3])


def _mask(layout: Layout, mask: Tensor) -> Scores:
    return (storage_address(mask, layout.extents[3]), *layout.mask)
