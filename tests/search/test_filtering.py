import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.search import SamplingConfig, filter_logits

INF = math.inf


def _kept(filtered: Tensor) -> list[int]:
    return filtered.isfinite().nonzero().flatten().tolist()


def _likeliest_first(logits: list[float]) -> list[int]:
    return sorted((i for i, x in enumerate(logits) if x > -INF), key=lambda i: (-logits[i], i))


@given(
    quarters=st.lists(st.integers(-12, 12) | st.just(-INF), min_size=1, max_size=12),
    temperature=st.sampled_from([0.25, 1.0, 2.5]),
    top_k=st.integers(0, 14),
    top_p=st.floats(0, 1),
    suppressed=st.sets(st.integers(0, 11)),
)
def test_what_is_left_is_what_the_definition_says(
    quarters: list[float], temperature: float, top_k: int, top_p: float, suppressed: set[int]
) -> None:
    logits = [x / 4 for x in quarters]
    suppressed = {i for i in suppressed if i < len(logits)}
    order = [i for i in _likeliest_first(logits) if i not in suppressed][: top_k or None]
    config = SamplingConfig(temperature=temperature, top_k=top_k, top_p=top_p)
    given_ids = torch.tensor(sorted(suppressed), dtype=torch.int64)
    if not order:
        with pytest.raises(ValueError, match="no token is left to draw"):
            filter_logits(torch.tensor(logits), config, suppressed=given_ids)
        return
    filtered = filter_logits(torch.tensor(logits), config, suppressed=given_ids)
    weights = [math.exp((logits[i] - logits[order[0]]) / temperature) for i in order]
    probabilities = [weight / sum(weights) for weight in weights]
    kept = _kept(filtered)
    assert kept == sorted(order[: len(kept)])
    if top_p == 1:
        assert len(kept) == len(order)
    elif len(kept) < len(order):
        assert sum(probabilities[: len(kept)]) >= top_p - 1e-6
    if len(kept) > 1:
        assert sum(probabilities[: len(kept) - 1]) < top_p + 1e-6
    for i in kept:
        assert filtered[i].item() == pytest.approx((logits[i] - logits[order[0]]) / temperature, rel=1e-6)


@pytest.mark.parametrize("top_p", [0.01, 0.3, 0.9, 0.999])
def test_a_nucleus_larger_than_the_part_that_is_sorted_first(top_p: float) -> None:
    logits = torch.randn(3, 5000, dtype=torch.float64)
    filtered = filter_logits(logits, SamplingConfig(top_p=top_p))
    for row, given_row in zip(filtered, logits, strict=True):
        ordered, ids = given_row.softmax(0).sort(descending=True)
        count = int((ordered.cumsum(0) < top_p).sum()) + 1
        assert _kept(row) == sorted(ids[:count].tolist())


@pytest.mark.parametrize(("top_p", "count"), [(0.0, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.76, 4)])
def test_a_nucleus_ends_where_its_probability_is_reached(top_p: float, count: int) -> None:
    assert _kept(filter_logits(torch.full((4,), 1.5), SamplingConfig(top_p=top_p))) == [0, 1, 2, 3][:count]


def test_every_row_has_a_nucleus_of_its_own() -> None:
    logits = torch.tensor(
        [[[0.97, 0.02, 0.01], [0.1, 0.3, 0.6]], [[0.34, 0.33, 0.33], [0.0, 1.0, 0.0]]]
    ).log()
    filtered = filter_logits(logits, SamplingConfig(top_p=0.8))
    assert filtered.shape == logits.shape
    assert [_kept(row) for row in filtered.flatten(0, 1)] == [[0], [1, 2], [0, 1, 2], [1]]


@pytest.mark.parametrize(
    "config", [SamplingConfig(temperature=0), SamplingConfig(top_k=1), SamplingConfig(top_p=0)]
)
def test_the_lower_id_wins_among_equal_logits(config: SamplingConfig) -> None:
    for V in (3, 70, 1000):  # a library's top-k picks any of them
        logits = torch.zeros(2, V)
        logits[1, 0] = -1
        assert [_kept(row) for row in filter_logits(logits, config)] == [[0], [1]]


def test_without_filters_the_distribution_stays() -> None:
    logits = torch.randn(4, 9)
    for config in (SamplingConfig(), SamplingConfig(top_k=9), SamplingConfig(top_k=1 << 40)):
        filtered = filter_logits(logits, config)
        torch.testing.assert_close(filtered.softmax(-1), logits.softmax(-1))
        assert (filtered.amax(-1) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_filtered_in_float32(dtype: torch.dtype) -> None:
    logits = (torch.randn(5, 300) * 4).to(dtype)
    config = SamplingConfig(temperature=0.7, top_k=200, top_p=0.95)
    filtered = filter_logits(logits, config)
    assert filtered.dtype == torch.float32
    assert torch.equal(filtered, filter_logits(logits.float(), config))


def test_double_precision_stays() -> None:
    assert filter_logits(torch.zeros(2, dtype=torch.float64), SamplingConfig()).dtype == torch.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_temperatures_give_their_limits(dtype: torch.dtype) -> None:
    logits = torch.tensor([1.0, 0.5, 1.0, -INF], dtype=dtype)
    for temperature in (5e-324, 1e-45, 1e-30):
        cold = filter_logits(logits, SamplingConfig(temperature=temperature))
        assert cold.softmax(-1).tolist() == [0.5, 0, 0.5, 0]
    for temperature in (1e30, 1e308):
        hot = filter_logits(logits, SamplingConfig(temperature=temperature))
        assert hot.softmax(-1).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


@pytest.mark.parametrize("temperature", [1e-30, 0.5, 1.0])
def test_logits_whose_differences_overflow(temperature: float) -> None:
    logits = torch.tensor([3e38, -3e38, 3e38])
    filtered = filter_logits(logits, SamplingConfig(temperature=temperature, top_p=0.9))
    assert filtered.softmax(-1).tolist() == [0.5, 0, 0.5]


def test_impossible_tokens_fill_no_place_of_top_k() -> None:
    logits = torch.tensor([-INF, 1.0, -INF, 0.0])
    assert _kept(filter_logits(logits, SamplingConfig(top_k=3))) == [1, 3]


def test_suppressed_tokens_make_room_in_top_k_and_may_be_nan() -> None:
    logits = torch.tensor([math.nan, 3.0, 2.0, 1.0])
    filtered = filter_logits(
        logits, SamplingConfig(top_k=2), suppressed=torch.tensor([0, 1], dtype=torch.int32)
    )
    assert _kept(filtered) == [2, 3]


def test_the_given_logits_are_left_alone() -> None:
    logits = torch.randn(8, 3).T  # not contiguous either
    before = logits.clone()
    config = SamplingConfig(temperature=0.5, top_k=4, top_p=0.5)
    filtered = filter_logits(logits, config, suppressed=torch.tensor([2]))
    assert torch.equal(logits, before)
    assert torch.equal(filtered, filter_logits(before.contiguous(), config, suppressed=torch.tensor([2])))


@pytest.mark.parametrize(
    ("logits", "words"),
    [
        (torch.tensor([[0.0, 1.0], [0.0, math.nan]]), "logits are NaN.*did training diverge"),
        (torch.tensor([0.0, INF]), r"logits are \+inf"),
        (torch.tensor([[0.0, 1.0], [-INF, -INF]]), "no token is left to draw"),
        (torch.tensor([1, 2]), "floating point.*int64"),
        (torch.tensor(1.0), r"floating point \[..., V\].*shape \[\]"),
        (torch.zeros(2, 0), r"shape \[2, 0\]"),
    ],
)
def test_logits_without_a_distribution_are_refused(logits: Tensor, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        filter_logits(logits, SamplingConfig())


@pytest.mark.parametrize("suppressed", [[2], [-1], [[0]], [0.0], [True]])
def test_bad_suppressed_ids_are_refused(suppressed: list[Any]) -> None:
    with pytest.raises(ValueError, match="suppressed ids must"):
        filter_logits(torch.zeros(2), SamplingConfig(), suppressed=torch.tensor(suppressed))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": -0.1}, "temperature must be finite and not negative, got -0.1"),
        ({"temperature": math.nan}, "got nan"),
        ({"temperature": INF}, "got inf"),
        ({"top_k": -1}, "top_k must not be negative, got -1"),
        ({"max_tokens": -1}, "max_tokens must not be negative, got -1"),
        ({"top_p": 1.01}, r"top_p must lie in \[0, 1\], got 1.01"),
        ({"top_p": math.nan}, "got nan"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SamplingConfig(**changes)
