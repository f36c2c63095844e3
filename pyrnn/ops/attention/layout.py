"""What the kernels of attention are told of a call beside addresses: its layout, from a cache.

It depends on shape, strides, dtype and device of the tensors and on the options alone, and to work it out
costs more than the kernel of a small call.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._checks import check_range
from pyrnn._native_args import DTYPES, accumulation_dtype, check_fields, extent_of, has_rows
from pyrnn.ops.attention.call import WEIGHTS_KINDS, Call, Problem, empty_in_order, make_problem

Strides = tuple[int, ...]

_LARGEST_CACHE = 4096


class NativeSizes(NamedTuple):
    """Those fields of `attention::Problem` in csrc/attention/problem.h that calls with one layout share."""

    dtype: int
    B: int
    H: int
    K: int
    T: int
    S: int
    D: int
    V: int
    causal: int
    window_left: int
    window_right: int
    query_start: int
    mask_kind: int
    weights_kind: int
    scale: float
    softcap: float
    dropout: float
    slope_batch: int
    slope_head: int


check_fields(_native.cpu, "attention.Sizes", NativeSizes._fields)


class Layout(NamedTuple):
    """Calls with one layout differ in their numbers alone."""

    problem: Problem
    is_empty: bool
    sizes: NativeSizes
    inputs: tuple[Strides, ...] | None  # of query, key and value; None: one of them must be copied first
    extents: tuple[int, ...]  # of query, key, value and mask, in bytes
    output: Strides
    output_shape: tuple[int, ...]
    weights_shape: tuple[int, ...]
    statistics_shape: tuple[int, ...]
    statistics_dtype: torch.dtype
    mask: Strides
    weights: Strides  # the mean of the heads with a stride of 0 over them


def layout_of(call: Call) -> Layout:
    """Check the call and lay it out.

    Raises:
        TypeError, ValueError: as `make_problem`.
    """
    query, key, value, mask, padding, lengths, slopes, seed, *options = call
    cache_key: tuple[Any, ...] = (*_key_of(query), *_key_of(key), *_key_of(value), *options)
    if (
        mask is not None
        or padding is not None
        or lengths is not None
        or slopes is not None
        or seed is not None
    ):
        others = (mask, padding, lengths, slopes, seed)
        cache_key += tuple(t if t is None else _key_of(t) for t in others)
    layout = _cache.get(cache_key)
    if layout is None:
        layout = _lay_out(call)
        if len(_cache) >= _LARGEST_CACHE:
            _cache.clear()
        _cache[cache_key] = layout
    elif lengths is not None and lengths.is_cpu and lengths.numel():  # their values are no part of the key
        check_range(lengths, layout.problem.S, "S")
    return layout


_cache: dict[tuple[Any, ...], Layout] = {}


def _key_of(tensor: Tensor) -> tuple[Any, ...]:
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device


def _lay_out(call: Call) -> Layout:
    p = make_problem(call)
    mask, slopes = call.attn_mask, call.alibi_slopes
    slope_strides = (0, 0) if slopes is None else _broadcast_strides(slopes, (p.B, p.H))
    mask_kind = 0 if mask is None else 1 if mask.dtype is torch.bool else 2
    return Layout(
        p,
        is_empty=not (p.B and p.H and p.T and p.S),
        sizes=NativeSizes(
            DTYPES[p.dtype],
            *(p.B, p.H, p.K, p.T, p.S, p.D, p.V),
            causal=int(p.is_causal),
            window_left=p.window_left,
            window_right=p.window_right,
            query_start=p.query_start,
            mask_kind=mask_kind,
            weights_kind=WEIGHTS_KINDS.index(p.return_weights),
            scale=p.scale,
            softcap=p.softcap,
            dropout=p.dropout_p,
            slope_batch=slope_strides[0],
            slope_head=slope_strides[1],
        ),
        inputs=tuple(t.stride()[:3] for t in call[:3]) if all(map(has_rows, call[:3])) else None,
        extents=tuple(0 if t is None else extent_of(t) for t in call[:4]),
        output=empty_in_order(call.query.to("meta"), p.output_shape).stride(),
        output_shape=p.output_shape,
        weights_shape=p.weights_shape,
        statistics_shape=p.statistics_shape,
        statistics_dtype=accumulation_dtype(p.dtype),
        mask=() if mask is None else _broadcast_strides(mask, p.scores_shape),
        weights=_weights_strides(p),
    )


def _broadcast_strides(tensor: Tensor, shape: tuple[int, ...]) -> Strides:
    """Those of `tensor.expand(shape)`, which torch refuses to make of a tensor with too little memory."""
    sizes = zip(tensor.shape, shape, tensor.stride(), strict=True)
    return tuple(0 if size == 1 != full else stride for size, full, stride in sizes)


def _weights_strides(p: Problem) -> Strides:
    """Strides over [B, H, T, S] of contiguous weights; of their mean, 0 over the heads."""
    if p.return_weights == "full":
        return (p.H * p.T * p.S, p.T * p.S, p.S, 1)
    return (p.T * p.S, 0, p.S, 1)
