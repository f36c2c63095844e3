"""What torch's MultiheadAttention refuses, ours refuses with the same type of error."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrnn.nn import KeyValueCache, MultiheadAttention
from tests.nn.test_misuse import assert_same_refusal

X = torch.zeros(5, 2, 8)
LONE = torch.zeros(5, 8)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((), {}),
        ((8,), {}),
        ((0, 2), {}),
        ((8, 0), {}),
        ((8, -2), {}),
        ((8, 3), {}),
        ((8, 2), {"window": 1}),
        ((8, 2), {"sliding": 1}),
        ((8, 2), {"dtype": torch.int64}),
    ],
)
def test_construction(args: tuple[Any, ...], options: dict[str, Any]) -> None:
    assert_same_refusal(
        lambda: MultiheadAttention(*args, **options), lambda: nn.MultiheadAttention(*args, **options)
    )


CALLS: dict[str, tuple[tuple[Tensor, ...], dict[str, Any]]] = {
    "query 4-D": ((X[None],) * 3, {}),
    "query 1-D": ((torch.zeros(8),) * 3, {}),
    "key 2-D": ((X, LONE, LONE), {}),
    "key 3-D beside a single query": ((LONE, X, X), {}),
    "features": ((torch.zeros(5, 2, 7),) * 3, {}),
    "features of the key": ((X, torch.zeros(5, 2, 7), torch.zeros(5, 2, 7)), {}),
    "lengths of key and value": ((X, X, torch.zeros(4, 2, 8)), {}),
    "batch of the key": ((X, torch.zeros(5, 3, 8), torch.zeros(5, 3, 8)), {}),
    "dtype": ((X.double(),) * 3, {}),
    "int query": ((X.long(),) * 3, {}),
    "key_padding_mask 1-D": ((X,) * 3, {"key_padding_mask": torch.zeros(5).bool()}),
    "key_padding_mask 3-D": ((X,) * 3, {"key_padding_mask": torch.zeros(2, 5, 5).bool()}),
    "key_padding_mask 2-D beside a single query": (
        (LONE,) * 3,
        {"key_padding_mask": torch.zeros(1, 5).bool()},
    ),
    "key_padding_mask of another batch": ((X,) * 3, {"key_padding_mask": torch.zeros(3, 5).bool()}),
    "key_padding_mask of another length": ((X,) * 3, {"key_padding_mask": torch.zeros(2, 4).bool()}),
    "int key_padding_mask": ((X,) * 3, {"key_padding_mask": torch.zeros(2, 5).long()}),
    "attn_mask 1-D": ((X,) * 3, {"attn_mask": torch.zeros(5)}),
    "attn_mask 4-D": ((X,) * 3, {"attn_mask": torch.zeros(2, 2, 5, 5)}),
    "attn_mask of another length": ((X,) * 3, {"attn_mask": torch.zeros(5, 4)}),
    "attn_mask for another batch": ((X,) * 3, {"attn_mask": torch.zeros(2, 5, 5)}),
    "attn_mask 3-D beside a single query": ((LONE,) * 3, {"attn_mask": torch.zeros(3, 5, 5)}),
    "int attn_mask": ((X,) * 3, {"attn_mask": torch.zeros(5, 5).int()}),
    "hint without a mask": ((X,) * 3, {"is_causal": True, "need_weights": False}),
    "unknown argument": ((X,) * 3, {"mask": None}),
    "no value": ((X, X), {}),
}


@pytest.mark.parametrize("name", CALLS)
def test_call(name: str) -> None:
    args, options = CALLS[name]
    assert_same_refusal(
        lambda: MultiheadAttention(8, 2)(*args, **options),
        lambda: nn.MultiheadAttention(8, 2)(*args, **options),
    )


@pytest.mark.parametrize(
    ("key", "value"),
    [((5, 2, 4), (5, 2, 3)), ((5, 2, 5), (4, 2, 3)), ((5, 2, 5), (5, 3, 3)), ((5, 2, 5), (5, 2, 4))],
)
def test_call_with_other_widths(key: tuple[int, ...], value: tuple[int, ...]) -> None:
    def call(cls: Any) -> Callable[[], object]:
        return lambda: cls(8, 2, kdim=5, vdim=3)(X, torch.zeros(key), torch.zeros(value))

    assert_same_refusal(call(MultiheadAttention), call(nn.MultiheadAttention))


def test_masks_of_different_types_are_no_misuse() -> None:
    """torch warns that it will refuse them."""
    layer = MultiheadAttention(8, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(X, X, X, torch.zeros(2, 5).bool(), attn_mask=torch.zeros(5, 5))


@pytest.mark.parametrize("p", [-0.5, 1.5])
def test_dropout_that_is_no_probability(p: float) -> None:
    with pytest.raises(ValueError, match="probability"):
        MultiheadAttention(8, 2, dropout=p)(X, X, X)


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({"add_bias_kv": True}, {}, "cannot be combined with add_bias_kv"),
        ({"add_zero_attn": True}, {}, "cannot be combined with add_bias_kv"),
        ({}, {"key_padding_mask": torch.zeros(2, 5)}, "key_padding_mask must be bool"),
        ({"causal": True}, {"cache": KeyValueCache(fixed=True)}, "are for self-attention"),
        ({}, {"key": X[:3], "value": X[:3]}, "as many keys as queries, got 3 keys and 5 queries"),
        ({}, {"attn_mask": torch.zeros(5, 4)}, r"should be \(5, 5\)"),
    ],
)
def test_cache_that_does_not_fit(options: dict[str, Any], call: dict[str, Any], words: str) -> None:
    layer, cache = MultiheadAttention(8, 2, **options), KeyValueCache()
    with pytest.raises((ValueError, RuntimeError), match=words):
        layer(**{"query": X, "key": X, "value": X, "cache": cache, **call})
    assert cache.length == 0


def test_cache_of_another_type() -> None:
    with pytest.raises(
        TypeError, match=r"expected cache to be a KeyValueCache \(layer.new_cache\(\)\), got dict"
    ):
        MultiheadAttention(8, 2)(X, X, X, cache={})  # type: ignore[arg-type]
