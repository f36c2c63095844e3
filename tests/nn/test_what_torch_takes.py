"""Calls that torch's layers take, and ours must take too."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import pyrnn
import pyrnn.nn

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def attention(namespace: Any, **options: Any) -> Any:
    torch.manual_seed(0)
    return namespace.MultiheadAttention(8, 2, **options)


@pytest.mark.parametrize("kind", [torch.float32, torch.bool])
def test_a_causal_mask_of_more_queries_where_the_hint_says_all(kind: torch.dtype) -> None:
    mask, x = nn.Transformer.generate_square_subsequent_mask(10), torch.randn(3, 2, 8)
    mask = mask.isinf() if kind is torch.bool else mask
    theirs, ours = attention(nn), attention(pyrnn.nn)
    options: dict[str, Any] = {"attn_mask": mask, "is_causal": True, "need_weights": False}
    torch.testing.assert_close(ours(x, x, x, **options)[0], theirs(x, x, x, **options)[0])
    for needed in (
        {"need_weights": True},
        {"is_causal": False},
        {"key_padding_mask": torch.zeros(2, 3, dtype=kind)},
    ):
        for layer in (ours, theirs):
            with pytest.raises(RuntimeError, match=r"10\]?\)?, but should be \(3, 3\)"):
                layer(x, x, x, **{**options, **needed})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("need_weights", [False, True])
def test_masks_of_other_precision(dtype: torch.dtype, need_weights: bool) -> None:
    """torch takes those of float32 where no weights are asked for."""
    x = torch.randn(3, 2, 8, dtype=dtype)
    layer = attention(pyrnn.nn, dtype=dtype)
    mask = nn.Transformer.generate_square_subsequent_mask(3)
    expected = layer(x, x, x, attn_mask=mask.to(dtype), need_weights=need_weights)
    for wide in (torch.float32, torch.float64):
        found = layer(x, x, x, attn_mask=mask.to(wide), need_weights=need_weights)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True) if a is not None)


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype")
def test_nested_tensors_without_sequences_or_tokens() -> None:
    block = pyrnn.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    for layer in (block, pyrnn.nn.TransformerEncoder(block, 2).eval()):
        with pytest.raises(ValueError, match="with at least one sequence, got one with none"):
            layer(torch.nested.nested_tensor([]))
        empty = layer(torch.nested.nested_tensor([torch.randn(0, 8), torch.randn(0, 8)]))
        assert [tuple(sequence.shape) for sequence in empty.unbind()] == [(0, 8), (0, 8)]


@pytest.mark.parametrize(("I", "H"), [(10, 0), (0, 4), (0, 0)])
@pytest.mark.parametrize("name", ["RNNCell", "GRUCell", "LSTMCell"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op")
def test_cells_without_features(name: str, I: int, H: int) -> None:  # noqa: E741
    torch.manual_seed(0)
    theirs = getattr(nn, name)(I, H)
    torch.manual_seed(0)
    ours = getattr(pyrnn, name)(I, H)
    for x in (torch.randn(2, I), torch.randn(I)):
        found, expected = ours(x), theirs(x)
        again, after = ours(x, found), theirs(x, expected)
        torch.testing.assert_close((found, again), (expected, after))


def takes(layer: Any, x: Tensor) -> bool:
    try:
        layer(*(x, x, x) if isinstance(layer, nn.MultiheadAttention) else (x,))
    except (RuntimeError, ValueError, TypeError, AssertionError):
        return False
    return True


@pytest.mark.parametrize("autocast", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell", "MultiheadAttention"]
)
def test_mixed_precision(name: str, autocast: torch.dtype | None) -> None:
    """Of input, weights and biases: wherever torch computes something, ours do."""
    attends = name == "MultiheadAttention"
    for of_input, of_weights, of_biases in itertools.product(DTYPES, repeat=3):
        layers = []
        for namespace in (nn, pyrnn.nn):
            layer = getattr(namespace, name)(8, 2 if attends else 8, dtype=of_weights)
            for label, bias in list(layer.named_parameters(recurse=False)):
                if "bias" in label:
                    setattr(layer, label, nn.Parameter(bias.detach().to(of_biases)))
            layers.append(layer)
        x = torch.randn((1, 8) if "Cell" in name else (2, 1, 8)).to(of_input)
        with torch.autocast("cpu", autocast or torch.bfloat16, enabled=autocast is not None):
            theirs, ours = (takes(layer, x) for layer in layers)
        assert ours or not theirs, (of_input, of_weights, of_biases)


@pytest.mark.parametrize(
    "lengths",
    [
        (5, 2),
        range(5, 1, -3),
        np.array([5, 2]),
        (n for n in (5, 2)),
        map(int, "52"),
        [torch.tensor(5), torch.tensor(2)],
        [np.int64(5), np.int32(2)],
    ],
    ids=lambda lengths: type(lengths).__name__,
)
def test_lengths_from_any_iterable(lengths: Any) -> None:
    layer, x = pyrnn.GRU(3, 4), torch.randn(5, 2, 3)
    expected = layer(x, lengths=[5, 2])[0]
    assert torch.equal(layer(x, lengths=lengths)[0], expected)


@pytest.mark.parametrize("lengths", [{5, 2}, {5: 0, 2: 0}, "52", 5, [5.0, 2.0], [[5], [2, 3]]])
def test_what_are_no_lengths(lengths: Any) -> None:
    with pytest.raises(TypeError, match="expected lengths to be integers"):
        pyrnn.GRU(3, 4)(torch.randn(5, 2, 3), lengths=lengths)
