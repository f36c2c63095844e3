"""A call of attention: its arguments, its sizes, checked once for every route, and its results.

The kernels read raw memory, so nothing reaches them that has not passed `make_problem`.

Dimension key: B batch, H heads of the queries, K heads of keys and values (H a multiple of K), T queries, S
keys, D features of queries and keys, V features of values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn._checks import (
    FARTHEST,
    as_integer,
    bad_shape,
    check_device,
    check_lengths,
    check_like,
    check_probability,
    check_seed,
    private_integers,
    show,
    wrong_type,
)

WEIGHTS_KINDS = ("none", "mean", "full")

# A window of this size reaches every key from every position, and their sum is still an int64.
_NO_LIMIT = 2**62


class Call(NamedTuple):
    """The arguments of `pyrnn::scaled_dot_product_attention`."""

    query: Tensor  # [B, H, T, D]
    key: Tensor  # [B, K, S, D]
    value: Tensor  # [B, K, S, V]
    attn_mask: Tensor | None  # each size that of [B, H, T, S], or 1
    key_padding_mask: Tensor | None  # bool [B, S]
    lengths: Tensor | None  # [B]
    alibi_slopes: Tensor | None  # [B, H] or [1, H]
    seed: Tensor | None  # []
    dropout_p: float
    is_causal: bool
    scale: float | None
    query_start: int
    window_left: int
    window_right: int
    softcap: float
    return_weights: str

    @classmethod
    def for_kernels(cls, *args: Any) -> Call:
        """From the flat arguments of the schema, with lengths that nobody changes once they are checked."""
        call = cls._make(args)
        return call if call.lengths is None else call._replace(lengths=private_integers(call.lengths))


class Problem(NamedTuple):
    """Sizes and options of one checked call."""

    B: int
    H: int
    K: int
    T: int
    S: int
    D: int
    V: int
    dtype: torch.dtype
    is_causal: bool
    scale: float
    query_start: int
    window_left: int  # negative: no limit
    window_right: int
    softcap: float
    dropout_p: float
    return_weights: str

    @property
    def scores_shape(self) -> tuple[int, int, int, int]:
        """Of a number for each pair of a query and a key."""
        return (self.B, self.H, self.T, self.S)

    @property
    def output_shape(self) -> tuple[int, int, int, int]:
        """Of the result."""
        return (self.B, self.H, self.T, self.V)

    @property
    def statistics_shape(self) -> tuple[int, int, int, int]:
        """Of the softmax: what it took off each query's scores, and the sum."""
        return (self.B, self.H, 2, self.T)

    @property
    def weights_shape(self) -> tuple[int, ...]:
        """Of the weights as they are returned; [0] where nobody asks."""
        if self.return_weights == "none":
            return (0,)
        return self.scores_shape if self.return_weights == "full" else (self.B, self.T, self.S)


def make_problem(call: Call) -> Problem:
    """Check one call and return its sizes, those of a traced call symbolic.

    Raises:
        TypeError: query is not floating point; a mask, lengths or the seed have the wrong kind of numbers.
        ValueError: anything else that does not fit. The values of lengths are read only where they can be
            (`is_readable`); shapes, dtypes and devices are checked everywhere.
    """
    B, H, K, T, S, D, V = _check_operands(call)
    _check_options(call)
    problem = Problem(
        B=B,
        H=H,
        K=K,
        T=T,
        S=S,
        D=D,
        V=V,
        dtype=call.query.dtype,
        is_causal=call.is_causal,
        scale=D**-0.5 if call.scale is None else call.scale,
        query_start=call.query_start,
        window_left=clamp_window(call.window_left),
        window_right=clamp_window(call.window_right),
        softcap=call.softcap,
        dropout_p=call.dropout_p,
        return_weights=call.return_weights,
    )
    _check_masks(call, problem)
    return problem


def _check_operands(call: Call) -> tuple[int, ...]:
    query, key, value = call.query, call.key, call.value
    if not query.is_floating_point():
        raise TypeError(
            f"query must be a floating point tensor, got {query.dtype}; convert it with query.to(...)"
        )
    for name, tensor, meaning in (
        ("query", query, "[B, H, T, D]"),
        ("key", key, "[B, K, S, D]"),
        ("value", value, "[B, K, S, V]"),
    ):
        if tensor.dim() != 4:
            bad_shape(name, tensor, meaning)
    B, H, T, D = query.shape
    K, S, V = key.shape[1], key.shape[2], value.shape[3]
    if D == 0 or V == 0:
        raise ValueError(f"query, key and value need at least one feature, got D = {D} and V = {V}")
    check_like("key", key, (B, K, S, D), query.dtype, query)
    check_like("value", value, (B, K, S, V), query.dtype, query)
    if (H % K if K else H) != 0:
        raise ValueError(
            f"the heads of the query must be a multiple of those of key and value, got H = {H} and K = {K}"
        )
    return B, H, K, T, S, D, V


def _check_options(call: Call) -> None:
    check_probability("dropout_p", call.dropout_p)
    as_position("query_start", call.query_start)
    if call.softcap != 0 and not 1e-30 <= call.softcap <= 1e30:  # scores are divided by it in float32
        raise ValueError(
            f"softcap must be 0 (none) or the bound of the scores, in [1e-30, 1e30]; got {call.softcap}"
        )
    if call.scale is not None and not abs(call.scale) <= 1e30:
        raise ValueError(f"scale must lie in [-1e30, 1e30], or be None for D ** -0.5; got {call.scale}")
    if call.return_weights not in WEIGHTS_KINDS:
        raise ValueError(f"return_weights must be one of {WEIGHTS_KINDS}, got {call.return_weights!r}")
    check_seed(call.seed, call.dropout_p, call.query, of="query")


def _check_masks(call: Call, problem: Problem) -> None:
    query, mask, padding, lengths, slopes = call.query, *call[3:7]
    if mask is not None:
        if mask.dtype is not torch.bool and mask.dtype is not query.dtype:
            raise TypeError(
                f"attn_mask must be bool (True takes part) or of the query's dtype {query.dtype} (added to "
                f"the scores), got {mask.dtype}; convert it with attn_mask.to(...)"
            )
        sizes = zip(mask.shape, problem.scores_shape, strict=False)
        if mask.dim() != 4 or any(ours != 1 and ours != full for ours, full in sizes):
            bad_shape("attn_mask", mask, f"[B, H, T, S] = {show(problem.scores_shape)} or 1 in any place")
        check_device("attn_mask", mask, query)
    if padding is not None:
        if padding.dtype is not torch.bool:
            raise TypeError(
                f"key_padding_mask must be bool (True where a key is padding), got {padding.dtype}; convert "
                "it with key_padding_mask.bool()"
            )
        check_like("key_padding_mask", padding, (problem.B, problem.S), torch.bool, query)
    if lengths is not None:
        check_lengths(lengths, problem.B, problem.S, query, of="query", end="S")
    if slopes is not None:
        shared = slopes.dim() == 2 and slopes.shape[0] == 1
        shape = (1 if shared else problem.B, problem.H)
        check_like("alibi_slopes", slopes, shape, torch.float32, query)


def empty_in_order(like: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An uninitialised [B, heads, rows, features], its dimensions in the order in which those of `like` lie.

    What was cut out of [T, B, heads * features] or any other layout is so merged again without a copy.
    """
    strides = like.stride()
    if strides[0] >= strides[1] >= strides[2] > 0:
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    # An expanded dimension has no place in memory; it is put outside.
    outside = [n for n in range(3) if strides[n] == 0]
    inside = sorted((n for n in range(3) if strides[n] != 0), key=lambda n: -strides[n])
    return torch.empty_permuted(shape, (*outside, *inside, 3), dtype=like.dtype, device=like.device)


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


def options_by_name(call: Call) -> dict[str, Any]:
    """The arguments that are no tensors, by name, windows without what no key reaches."""
    named = {name: getattr(call, name) for name in Call._fields[8:]}
    for side in ("window_left", "window_right"):
        named[side] = clamp_window(named[side])
    return named


# ------------------------------------------------------------------------------------------- options


def as_window(window: Any) -> tuple[int, int]:
    """(left, right), how far a query sees either way, in the range of `clamp_window`.

    Raises:
        TypeError: the window is no pair of integers.
        ValueError: it has another number of entries.
    """
    try:
        left, right = window
    except TypeError as error:
        raise wrong_type("window", "(left, right), two numbers of keys", window) from error
    except ValueError as error:
        raise ValueError(
            f"window must be (left, right), how far a query sees either way, got {window}"
        ) from error
    if not (type(left) is type(right) is int):
        left, right = as_integer("window[0]", left), as_integer("window[1]", right)
    return clamp_window(left), clamp_window(right)


def clamp_window(keys: int) -> int:
    """How far a window reaches one way, in a range that no sum with a position leaves; -1 for no limit."""
    if type(keys) is not int or -1 <= keys <= _NO_LIMIT:
        return keys
    return -1 if keys < 0 else _NO_LIMIT


def as_position(name: str, value: Any) -> int:
    """Where a query stands among the keys.

    Raises:
        TypeError: the value is no integer.
        ValueError: it is farther than `FARTHEST`.
    """
    if type(value) is not int:
        value = as_integer(name, value)
    if type(value) is int and not -FARTHEST <= value <= FARTHEST:
        raise ValueError(f"{name} must lie in [-2**53, 2**53], got {value}")
    return value
