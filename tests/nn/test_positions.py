"""Encodings of positions against their formulas."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.nn import (
    LearnedPositionalEncoding,
    RotaryEmbedding,
    SinusoidalPositionalEncoding,
    alibi_slopes,
    sinusoidal_positions,
)


def sinusoid(p: int, n: int, E: int, base: float = 10000.0) -> float:
    angle = p / base ** ((n - n % 2) / E)
    return math.cos(angle) if n % 2 else math.sin(angle)


@pytest.mark.parametrize("E", [1, 2, 7, 8])
def test_sinusoids(E: int) -> None:
    expected = [[sinusoid(p, n, E) for n in range(E)] for p in range(3, 103)]
    found = sinusoidal_positions(100, E, start=3, dtype=torch.float64)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-13)


def test_far_sinusoids_in_float32_are_rounded_once() -> None:
    found = sinusoidal_positions(1, 8, start=1_000_003)
    expected = torch.tensor([[sinusoid(1_000_003, n, 8) for n in range(8)]])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_sinusoidal_encoding_is_added(dtype: torch.dtype) -> None:
    table = sinusoidal_positions(9, 8, dtype=dtype)
    layer, batch_first = SinusoidalPositionalEncoding(8), SinusoidalPositionalEncoding(8, batch_first=True)
    x = torch.randn(5, 2, 8).to(dtype)
    assert torch.equal(layer(x), x + table[:5, None])
    assert torch.equal(layer(x, 4), x + table[4:, None])
    assert torch.equal(layer(x[:, 0]), x[:, 0] + table[:5])
    assert torch.equal(batch_first(x.transpose(0, 1)), x.transpose(0, 1) + table[:5])
    assert torch.equal(batch_first(x[:, 0], 2), x[:, 0] + table[2:7])
    assert not layer.state_dict()


def test_a_table_made_in_inference_mode_serves_training() -> None:
    layer = SinusoidalPositionalEncoding(8)
    rotary = RotaryEmbedding(8)
    x = torch.randn(5, 8)
    with torch.inference_mode():
        layer(x)
        rotary(x)
    rotary(layer(x.requires_grad_())).sum().backward()


def test_learned_encoding_is_added_and_learned() -> None:
    torch.manual_seed(0)
    layer = LearnedPositionalEncoding(2000, 8, dtype=torch.float64)
    assert abs(layer.weight.std().item() - 0.02) < 0.001
    x = torch.randn(5, 2, 8, dtype=torch.float64)
    assert torch.equal(layer(x, 3), x + layer.weight[3:8, None])
    layer(x, 3).sum().backward()
    grad: Any = layer.weight.grad
    assert (grad[3:8] == 2).all()
    assert grad.sum() == 2 * 5 * 8
    before = layer.weight.detach().clone()
    layer.reset_parameters()
    assert not torch.equal(layer.weight, before)


def rotated(x: Tensor, dim: int, start: int, base: float) -> Tensor:
    """Pairs turned one by one; [T, D]."""
    out = x.clone()
    for t in range(x.shape[0]):
        for i in range(dim // 2):
            angle = (start + t) * base ** (-2 * i / dim)
            a, b = x[t, 2 * i].item(), x[t, 2 * i + 1].item()
            out[t, 2 * i] = a * math.cos(angle) - b * math.sin(angle)
            out[t, 2 * i + 1] = a * math.sin(angle) + b * math.cos(angle)
    return out


@pytest.mark.parametrize(("D", "dim"), [(8, 8), (2, 2), (8, 4), (7, 6)])
@pytest.mark.parametrize("start", [0, 5])
def test_rotation(D: int, dim: int, start: int) -> None:
    rotary = RotaryEmbedding(dim, base=100.0)
    x = torch.randn(6, D, dtype=torch.float64)
    expected = rotated(x, dim, start, 100.0)
    torch.testing.assert_close(rotary(x, start), expected, rtol=0, atol=1e-13)
    torch.testing.assert_close(rotary(x.T.contiguous().T, start), expected, rtol=0, atol=1e-13)
    heads = torch.stack((x, 2 * x), dim=1)
    found = rotary(heads, start, sequence_dim=0)
    torch.testing.assert_close(found, torch.stack((expected, 2 * expected), dim=1), rtol=0, atol=1e-13)
    odd = torch.cat((x[:, :1], x), dim=1)[:, 1:]  # starts at an odd place of memory
    torch.testing.assert_close(rotary(odd, start), expected, rtol=0, atol=1e-13)
    assert torch.autograd.gradcheck(lambda x: rotary(x, start), x.requires_grad_())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rotation_in_other_types(dtype: torch.dtype) -> None:
    x = torch.randn(300, 2, 16).to(dtype)
    expected = RotaryEmbedding(16)(x.double(), sequence_dim=0)
    found = RotaryEmbedding(16)(x, sequence_dim=0)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), expected, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_rotation_survives_conversion_and_copies() -> None:
    rotary, x = RotaryEmbedding(8), torch.randn(700, 8)
    expected = rotary(x)
    assert torch.equal(rotary.bfloat16()(x), expected)
    assert torch.equal(copy.deepcopy(rotary)(x), expected)


@pytest.mark.parametrize("make", [SinusoidalPositionalEncoding, RotaryEmbedding])
def test_compile(make: Any) -> None:
    torch.compiler.reset()
    layer, x = make(8), torch.randn(5, 2, 8)
    function = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(function(x), layer(x))
    torch.testing.assert_close(function(x, 700), layer(x, 700))


def test_slopes() -> None:
    """The values that the paper gives for 8 and 16 heads, and those of its code for 12."""
    torch.testing.assert_close(alibi_slopes(8), 2.0 ** -torch.arange(1.0, 9.0))
    torch.testing.assert_close(alibi_slopes(16), 2.0 ** -torch.arange(0.5, 8.5, 0.5))
    expected = torch.cat((alibi_slopes(8), alibi_slopes(16)[0::2][:4]))
    torch.testing.assert_close(alibi_slopes(12), expected)
    torch.testing.assert_close(alibi_slopes(1), torch.tensor([2.0**-8]))


@pytest.mark.parametrize("T", [0, 5])
def test_rotary_takes_numbers_that_begin_at_an_odd_place(T: int) -> None:
    rotary, x = RotaryEmbedding(4), torch.randn(1 + T * 4)
    for start in (0, 1):
        rows = x[start : start + T * 4].view(T, 4)
        torch.testing.assert_close(rotary(rows), rotary(rows.clone()))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: alibi_slopes(0), "at least one head"),
        (lambda: SinusoidalPositionalEncoding(0), "embed_dim >= 1"),
        (lambda: LearnedPositionalEncoding(0, 3), "num_positions >= 1"),
        (lambda: SinusoidalPositionalEncoding(8)(torch.zeros(5, 2, 7)), r"expected embeddings \[T, B, 8\]"),
        (lambda: LearnedPositionalEncoding(3, 8)(torch.zeros(8)), r"expected embeddings \[T, B, 8\]"),
        (lambda: LearnedPositionalEncoding(3, 8)(torch.zeros(2, 1, 8), 2), "positions 2 to 3 were asked for"),
        (lambda: SinusoidalPositionalEncoding(8)(torch.zeros(2, 8), -1), "start=-1"),
        (lambda: RotaryEmbedding(3), "even dim"),
        (lambda: RotaryEmbedding(0), "even dim"),
        (lambda: RotaryEmbedding(8)(torch.zeros(5, 6)), "at least 8 features"),
        (lambda: RotaryEmbedding(8)(torch.zeros(5, 8), -1), "start=-1"),
    ],
)
def test_misuse(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
