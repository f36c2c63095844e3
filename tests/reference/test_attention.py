"""The reference of attention against torch, and what torch lacks against the definition, pair by pair."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pyrnn.reference import scaled_dot_product_attention
from pyrnn.reference.philox import attention_keep, philox

B, H, T, S, D, V = 2, 4, 5, 7, 3, 2


def operands(K: int = H) -> tuple[Tensor, Tensor, Tensor]:
    q, k, v = ((B, H, T, D), (B, K, S, D), (B, K, S, V))
    return tuple(torch.randn(shape, dtype=torch.float64) for shape in (q, k, v))  # type: ignore[return-value]


@pytest.mark.parametrize("K", [1, 2, 4])
@pytest.mark.parametrize("mask", [None, "bool", "float"])
@pytest.mark.parametrize("scale", [None, -0.7])
def test_equals_torch(scale: float | None, mask: str | None, K: int) -> None:
    q, k, v = operands(K)
    chosen = {"bool": torch.rand(T, S) < 0.8, "float": torch.randn(B, 1, T, S, dtype=torch.float64)}.get(
        str(mask)
    )
    ours = scaled_dot_product_attention(q, k, v, chosen, scale=scale).output
    exact = F.scaled_dot_product_attention(q, k, v, chosen, scale=scale, enable_gqa=True)
    torch.testing.assert_close(ours, exact)


def test_causal_is_torchs() -> None:
    q, k, v = operands()
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True)
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v, is_causal=True).output, exact)


def by_pairs(
    q: Tensor,
    k: Tensor,
    *,
    lengths: Tensor,
    key_padding_mask: Tensor,
    alibi_slopes: Tensor,
    query_start: int,
    window_left: int,
    window_right: int,
    is_causal: bool,
    softcap: float,
) -> Tensor:
    """The weights from the definition, in plain Python."""
    weights = torch.zeros(B, H, T, S, dtype=torch.float64)
    for b in range(B):
        for h in range(H):
            for i in range(T):
                place, found = query_start + i, {}
                for j in range(S):
                    if j >= lengths[b] or key_padding_mask[b, j] or (is_causal and j > place):
                        continue
                    if 0 <= window_left < place - j or 0 <= window_right < j - place:
                        continue
                    score = float(q[b, h, i] @ k[b, h, j]) / math.sqrt(D)
                    score = softcap * math.tanh(score / softcap)
                    found[j] = math.exp(score - float(alibi_slopes[h]) * abs(place - j))
                for j, each in found.items():
                    weights[b, h, i, j] = each / sum(found.values())
    return weights


@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("window", [(-1, -1), (2, -1), (-1, 1), (1, 0)], ids=str)
@pytest.mark.parametrize("query_start", [-2, 0, 3])
def test_equals_the_definition(query_start: int, window: tuple[int, int], is_causal: bool) -> None:
    q, k, v = operands()
    options: dict[str, Any] = {
        "lengths": torch.tensor([5, 7]),
        "key_padding_mask": torch.rand(B, S) < 0.3,
        "alibi_slopes": torch.rand(H),
        "query_start": query_start,
        "window_left": window[0],
        "window_right": window[1],
        "is_causal": is_causal,
        "softcap": 0.8,
    }
    exact = by_pairs(q, k, **options)
    output, weights = scaled_dot_product_attention(q, k, v, **options, return_weights="full")
    torch.testing.assert_close(weights, exact, rtol=1e-6, atol=1e-7)  # slopes are float32
    torch.testing.assert_close(output, weights @ v)
    mean = scaled_dot_product_attention(q, k, v, **options, return_weights="mean").weights
    torch.testing.assert_close(mean, weights.mean(1))


def test_dropout_scales_what_it_keeps() -> None:
    q, k, v = operands()
    whole = scaled_dot_product_attention(q, k, v, return_weights="full").weights
    seed = torch.tensor(7)
    output, weights = scaled_dot_product_attention(q, k, v, seed=seed, dropout_p=0.25, return_weights="full")
    kept = attention_keep(seed, 0.25, (B, H, T, S), q.device)
    torch.testing.assert_close(weights, whole * kept / 0.75)
    torch.testing.assert_close(output, weights @ v)
    everything = scaled_dot_product_attention(q, k, v, seed=seed, dropout_p=1.0)
    assert not everything.output.any()


@pytest.mark.parametrize(
    ("seed", "counter", "words"),
    [  # known answers of the authors' library, Random123
        (0, (0, 0, 0, 0), (0x5F6FB709, 0x0D893F64, 0x4F121F81, 0x4F730A48)),
        (-1, (0xFFFFFFFF,) * 4, (0x5207DDC2, 0x45165E59, 0x4D8EE751, 0x8C52F662)),
        (
            0x299F31D0_A4093822,
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0x4DFCCABA, 0x190A87F0, 0xC47362BA, 0xB6B5242A),
        ),
    ],
)
def test_philox_gives_the_known_words(
    seed: int, counter: tuple[int, int, int, int], words: tuple[int, ...]
) -> None:
    c0, c1, c2, c3 = (torch.tensor(word) for word in counter)
    assert tuple(int(word) for word in philox(torch.tensor(seed), (c0, c1, c2, c3))) == words


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9, 1.0])
def test_the_share_of_dropped_weights(p: float) -> None:
    kept = attention_keep(torch.tensor(3), p, (2, 3, 64, 129), torch.device("cpu"))
    assert kept.float().mean().item() == pytest.approx(1 - p, abs=0.01)


def test_a_weights_place_alone_decides() -> None:
    cpu, seed = torch.device("cpu"), torch.tensor(3)
    whole = attention_keep(seed, 0.5, (2, 3, 8, 9), cpu)
    assert torch.equal(attention_keep(seed, 0.5, (1, 2, 5, 6), cpu), whole[:1, :2, :5, :6])
    assert not torch.equal(attention_keep(torch.tensor(4), 0.5, (2, 3, 8, 9), cpu), whole)


@pytest.mark.parametrize("name", ["B", "H", "T", "S"])
def test_sizes_of_zero(name: str) -> None:
    sizes = {"B": B, "H": H, "T": T, "S": S, name: 0}
    q = torch.zeros(sizes["B"], sizes["H"], sizes["T"], D)
    k = torch.zeros(sizes["B"], sizes["H"], sizes["S"], D)
    output, weights = scaled_dot_product_attention(
        q, k, k, seed=torch.tensor(1), dropout_p=0.5, return_weights="mean"
    )
    assert not output.any()
    assert weights.shape == (sizes["B"], sizes["T"], sizes["S"])
    assert not weights.any()


HIDING: dict[str, dict[str, Any]] = {
    "causal": {"is_causal": True},
    "bool mask": {"attn_mask": torch.arange(T * S).view(T, S) % 3 > 0},
    "float mask": {
        "attn_mask": torch.zeros(T, S).masked_fill(torch.arange(T * S).view(T, S) % 3 == 0, -torch.inf)
    },
    "nothing seen": {"is_causal": True, "query_start": -2},
}


@pytest.mark.parametrize("garbage", [torch.nan, 1e308])
@pytest.mark.parametrize("which", ["query", "key", "value"])
@pytest.mark.parametrize("name", HIDING)
def test_garbage_reaches_no_pair_that_is_hidden(name: str, which: str, garbage: float) -> None:
    """Forward, and in derivatives of the first and second order with respect to everything."""
    query, key, value = operands()
    tensors = {"query": query, "key": key, "value": value}
    options = {"softcap": 1.0, **HIDING[name]}
    clean = derivatives(tensors, options)
    row = 1 if which == "query" else 3
    tensors[which] = tensors[which].clone()
    tensors[which][:, :, row, 0] = garbage
    dirty = derivatives(tensors, options)
    ones = scaled_dot_product_attention(
        *(torch.zeros_like(t) for t in tensors.values()), **HIDING[name], return_weights="full"
    )
    seen = ones.weights[0, 0] > 0  # [T, S]
    touched = torch.zeros(T, dtype=torch.bool)
    touched[row if which == "query" else seen[:, row]] = True
    keys = seen[touched].any(0)  # what queries that met garbage see
    assert not touched.all()
    for ours, exact in zip(dirty, clean, strict=True):
        safe = ~touched if ours.shape[2] == T else ~keys
        torch.testing.assert_close(ours[:, :, safe], exact[:, :, safe])


def derivatives(tensors: dict[str, Tensor], options: dict[str, Any]) -> tuple[Tensor, ...]:
    """Output, first derivatives, and those of a first derivative."""
    leaves = [t.clone().requires_grad_() for t in tensors.values()]
    output = scaled_dot_product_attention(*leaves, **options).output
    first = torch.autograd.grad(output, leaves, torch.ones_like(output), create_graph=True)
    second = torch.autograd.grad(first, leaves, [torch.ones_like(t) for t in first])
    return (output, *first, *second)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_small_types_are_rounded_once(dtype: torch.dtype) -> None:
    tensors = tuple(t.to(dtype) for t in operands())
    exact = scaled_dot_product_attention(*(t.double() for t in tensors), return_weights="mean")
    for ours, each in zip(scaled_dot_product_attention(*tensors, return_weights="mean"), exact, strict=True):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), each, rtol=torch.finfo(dtype).eps, atol=1e-5)


def test_first_and_second_derivatives() -> None:
    mask = torch.randn(3, dtype=torch.float64, requires_grad=True)
    sizes = ((1, 1, 2, 2), (1, 1, 3, 2), (1, 1, 3, 1))
    leaves = tuple(torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes)

    def run(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        options: dict[str, Any] = {"is_causal": True, "softcap": 1.0, "return_weights": "mean"}
        return scaled_dot_product_attention(q, k, v, mask, **options)

    assert torch.autograd.gradcheck(run, (*leaves, mask))
    assert torch.autograd.gradgradcheck(run, (*leaves, mask))
