"""Calls of the CPU kernels of attention: allocates the results, hands addresses and strides over.

Every argument has passed `make_problem`. The order of the fields is that of csrc/module.cpp and of
csrc/attention/problem.h.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops._addresses import DTYPES, address
from pyrnn.ops._attention_problem import WEIGHTS_KINDS, AttentionProblem, Call, empty_in_order
from pyrnn.ops._memory import on_huge_pages, with_memory
from pyrnn.ops._problem import accumulation_dtype

_NO_HEADS = (0,) * 4
_NO_SCORES = (0,) * 5


def forward(problem: AttentionProblem, call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """Run one call; returns the output, the weights and the log of each query's sum."""
    output, weights, lse = empty_outputs(problem, call)
    on_huge_pages(output, weights)
    if not _is_empty(problem):
        q, k, v = (_rows(t) for t in call[:3])
        heads = (*map(_heads, (q, k, v, output)), *(_NO_HEADS,) * 4)
        scores = (_mask(problem, call), _scores(problem, weights), _NO_SCORES)
        _run(_native.cpu.attention_forward, problem, call, heads, scores, lse, None)
        return output, weights, lse
    return output.zero_(), weights.zero_(), lse.fill_(-torch.inf)


def backward(
    problem: AttentionProblem,
    call: Call,
    g_out: Tensor | None,
    g_weights: Tensor | None,
    out: Tensor,
    lse: Tensor,
    *,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run one call backwards; returns the gradients of query, key, value and mask, [0] where not needed."""
    d_q, d_k, d_v, d_mask = empty_gradients(call, needs)
    if _is_empty(problem):
        return d_q.zero_(), d_k.zero_(), d_v.zero_(), d_mask.zero_()
    d_scores = None
    if d_mask.numel():  # the kernels write every pair; sums over what the mask was broadcast over follow
        whole = d_mask.shape == problem.scores_shape
        d_scores = d_mask if whole else call.query.new_empty(problem.scores_shape)
        on_huge_pages(d_scores)
    on_huge_pages(d_q, d_k, d_v)
    q, k, v, out = (_rows(t) for t in (*call[:3], out))
    g_out = None if g_out is None else _rows(g_out)
    heads = tuple(map(_heads, (q, k, v, out, g_out, d_q, d_k, d_v)))
    scores = (_mask(problem, call), _NO_SCORES, _scores(problem, g_weights))
    _run(_native.cpu.attention_backward, problem, call, heads, scores, lse.contiguous(), d_scores)
    if d_scores is not None:
        d_mask = d_scores.sum_to_size(d_mask.shape)
    return d_q, d_k, d_v, d_mask


def empty_outputs(problem: AttentionProblem, call: Call) -> tuple[Tensor, Tensor, Tensor]:
    """The output, the weights and the log of each query's sum, as the kernels lay them out."""
    dtype, device = problem.dtype, call.query.device
    return (
        empty_in_order(call.query, problem.output_shape),
        torch.empty(problem.weights_shape, dtype=dtype, device=device),
        torch.empty(problem.lse_shape, dtype=accumulation_dtype(dtype), device=device),
    )


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
    p: AttentionProblem,
    call: Call,
    heads: tuple[tuple[int, ...], ...],
    scores: tuple[tuple[int, ...], ...],
    lse: Tensor,
    d_scores: Tensor | None,
) -> None:
    mask, slopes = call.attn_mask, call.alibi_slopes
    mask_kind = 0 if mask is None else 1 if mask.dtype is torch.bool else 2
    seed = int(call.seed) if call.seed is not None and p.dropout_p > 0 else 0
    # Held by name until the kernel is done with their memory.
    lengths = None if call.lengths is None else call.lengths.to(torch.int64).contiguous()
    padding = None if call.key_padding_mask is None else call.key_padding_mask.contiguous()
    slope_strides = (0, 0) if slopes is None else slopes.expand(p.B, p.H).stride()
    kernel(
        (
            DTYPES[p.dtype],
            *(p.B, p.H, p.K, p.T, p.S, p.D, p.V),
            int(p.is_causal),
            *(p.window_left, p.window_right, p.query_start),
            mask_kind,
            WEIGHTS_KINDS.index(p.return_weights),
            seed,
        ),
        (p.scale, p.softcap, p.dropout_p),
        heads,
        scores,
        (*map(address, (lengths, padding, slopes)), *slope_strides, address(lse), address(d_scores)),
        _native.num_threads(),
    )


def _is_empty(p: AttentionProblem) -> bool:
    return not (p.B and p.H and p.T and p.S)


def _rows(tensor: Tensor) -> Tensor:
    """The tensor with its features side by side."""
    together = tensor.stride(-1) == 1 or tensor.shape[-1] == 1
    return with_memory(tensor if together else tensor.contiguous())


def _heads(tensor: Tensor | None) -> tuple[int, ...]:
    return _NO_HEADS if tensor is None or not tensor.numel() else (tensor.data_ptr(), *tensor.stride()[:3])


def _mask(problem: AttentionProblem, call: Call) -> tuple[int, ...]:
    if call.attn_mask is None:
        return _NO_SCORES
    mask = with_memory(call.attn_mask).expand(problem.scores_shape)
    return (mask.data_ptr(), *mask.stride())


def _scores(problem: AttentionProblem, weights: Tensor | None) -> tuple[int, ...]:
    """Weights or their gradient, the mean of the heads with a stride of 0 over them."""
    if weights is None or not weights.numel():
        return _NO_SCORES
    if problem.return_weights == "mean":
        weights = weights.unsqueeze(1).expand(problem.scores_shape)
    return (weights.data_ptr(), *weights.stride())
