"""Calls of the CPU kernels of attention: allocates the results, hands addresses and strides over.

The order of the fields is that of csrc/module.cpp and of csrc/attention/problem.h.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops._addresses import address
from pyrnn.ops._attention_layout import Layout, has_rows, layout_of
from pyrnn.ops._attention_problem import Call, empty_in_order
from pyrnn.ops._memory import contiguous, memory_of, number_of, on_huge_pages, with_memory

_NO_HEADS = (0,) * 4
_NO_SCORES = (0,) * 5
_ONE_PASS = (_NO_HEADS,) * 4  # a forward pass has no gradients


def forward(call: Call, *, with_statistics: bool) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Check and run one call; returns output, weights and the statistics of the softmax, where asked.

    Weights always need the statistics.
    """
    layout = layout_of(call)
    p = layout.problem
    output = torch.empty_strided(p.output_shape, layout.output, dtype=p.dtype)
    weights = None if p.return_weights == "none" else torch.empty(p.weights_shape, dtype=p.dtype)
    statistics = None
    if with_statistics or weights is not None:
        statistics = torch.empty(p.statistics_shape, dtype=layout.statistics_dtype)
    if layout.is_empty:
        output.zero_()
        return (
            output,
            None if weights is None else weights.zero_(),
            None if statistics is None else statistics.zero_(),
        )
    on_huge_pages(output)
    scores = (_mask(layout, call), _NO_SCORES, _NO_SCORES)
    if weights is not None:
        on_huge_pages(weights)
        scores = (scores[0], (weights.data_ptr(), *layout.weights), _NO_SCORES)
    inputs = call[:3]
    if layout.inputs is None:
        inputs = tuple(map(_rows, inputs))
        heads = tuple(map(_heads, inputs))
    else:
        heads = tuple(
            (memory_of(t, reach), *strides)
            for t, reach, strides in zip(inputs, layout.reaches, layout.inputs, strict=False)
        )
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
    q, k, v, out = (_rows(t) for t in (*call[:3], out))
    g_out = None if g_out is None else _rows(g_out)
    heads = tuple(map(_heads, (q, k, v, out, g_out, d_q, d_k, d_v)))
    g_scores = _NO_SCORES
    if g_weights is not None and g_weights.numel():
        of_mean = layout.problem.return_weights == "mean"
        with_memory(g_weights)
        over_heads = g_weights.unsqueeze(1).expand(scores_shape) if of_mean else g_weights
        g_scores = (g_weights.data_ptr(), *over_heads.stride())
    scores = (_mask(layout, call), _NO_SCORES, g_scores)
    _run(_native.cpu.attention_backward, layout, call, heads, scores, contiguous(statistics), d_scores)
    if d_scores is not None:
        d_mask = d_scores.sum_to_size(d_mask.shape)
    return d_q, d_k, d_v, d_mask


def empty_gradients(call: Call, needs: tuple[bool, ...]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradients of query, key, value and mask, as the kernels lay them out."""
    nothing = call.query.new_empty
    d_q, d_k, d_v = (
        empty_in_order(t, tuple(t.shape)) if need else nothing(0)
        for t, need in zip(call[:3], needs[:3], strict=True)
    )
    mask = call.attn_mask
    d_mask = nothing(mask.shape if mask is not None and needs[3] else (0,))
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
    slopes = None if call.alibi_slopes is None else with_memory(call.alibi_slopes)
    kernel(
        (*layout.integers, seed),
        layout.reals,
        heads,
        scores,
        (
            *(address(call.lengths), address(padding), address(slopes)),
            *(*layout.slopes, address(statistics), address(d_scores)),
        ),
        _native.num_threads(),
    )


def _rows(tensor: Tensor) -> Tensor:
    """The tensor with its features side by side."""
    tensor = with_memory(tensor)
    return tensor if has_rows(tensor) else tensor.contiguous()


def _heads(tensor: Tensor | None) -> tuple[int, ...]:
    return _NO_HEADS if tensor is None or not tensor.numel() else (tensor.data_ptr(), *tensor.stride()[:3])


def _mask(layout: Layout, call: Call) -> tuple[int, ...]:
    return (
        _NO_SCORES if call.attn_mask is None else (memory_of(call.attn_mask, layout.reaches[3]), *layout.mask)
    )
