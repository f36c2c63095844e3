"""Scores are sums: parts add up to the whole."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.losses import IGNORE
from pyrnn.metrics import F1, Accuracy, Combined, ErrorRate, ExactMatch, Metrics, Perplexity, edit_distance

LABELS = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2, 3, IGNORE])), max_size=30)


def columns(pairs: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    table = torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
    return table[:, 0], table[:, 1]


@given(pairs=LABELS, cut=st.integers(0, 30))
@pytest.mark.parametrize("kind", [Accuracy, F1])
def test_parts_add_up_to_the_whole(kind: type[Accuracy], pairs: list[tuple[int, int]], cut: int) -> None:
    whole, first, second = kind(), kind(), kind()
    whole.update(*columns(pairs))
    first.update(*columns(pairs[:cut]))
    second.update(*columns(pairs[cut:]))
    scores = first.add(second).compute()
    assert scores == pytest.approx(whole.compute(), nan_ok=True)


@given(pairs=LABELS)
def test_accuracy_is_the_share_of_what_is_counted(pairs: list[tuple[int, int]]) -> None:
    scores = Accuracy()
    scores.update(*columns(pairs))
    counted = [(a, b) for a, b in pairs if b != IGNORE]
    expected = sum(a == b for a, b in counted) / len(counted) if counted else math.nan
    assert scores.compute() == pytest.approx({"accuracy": expected, "tokens": len(counted)}, nan_ok=True)


@given(pairs=LABELS)
def test_f1_is_the_harmonic_mean(pairs: list[tuple[int, int]]) -> None:
    scores = F1(positive=2)
    scores.update(*columns(pairs))
    precision, recall, f1 = scores.compute().values()
    found = [b for a, b in pairs if a == 2 and b != IGNORE]
    there = [a for a, b in pairs if b == 2]
    assert precision == pytest.approx(found.count(2) / len(found) if found else math.nan, nan_ok=True)
    assert recall == pytest.approx(there.count(2) / len(there) if there else math.nan, nan_ok=True)
    if precision > 0 and recall > 0:
        assert f1 == pytest.approx(2 * precision * recall / (precision + recall))


def test_perplexity_follows_from_the_sum() -> None:
    scores = Perplexity()
    scores.update(torch.tensor(3.0), 2)
    scores.update(torch.tensor(5.0), 2)
    assert scores.compute() == pytest.approx(
        {"loss": 2.0, "perplexity": math.exp(2), "bits": 2 / math.log(2), "tokens": 4}
    )


def test_a_loss_beyond_the_exponential_is_infinite_perplexity() -> None:
    scores = Perplexity()
    scores.update(torch.tensor(1e4), 1)
    assert scores.compute()["perplexity"] == math.inf


@pytest.mark.parametrize("scores", [Perplexity(), Accuracy(), F1(), ErrorRate(), ExactMatch()])
def test_nothing_counted_is_no_score(scores: Metrics) -> None:
    assert any(math.isnan(value) for value in scores.compute().values())


@given(
    first=st.lists(st.integers(0, 2), max_size=8),
    second=st.lists(st.integers(0, 2), max_size=8),
    third=st.lists(st.integers(0, 2), max_size=8),
)
def test_edit_distance_is_a_distance(first: list[int], second: list[int], third: list[int]) -> None:
    distance = edit_distance(first, second)
    assert (distance == 0) == (first == second)
    assert distance == edit_distance(second, first)
    assert distance <= edit_distance(first, third) + edit_distance(third, second)
    assert abs(len(first) - len(second)) <= distance <= max(len(first), len(second))


def test_error_rates_weigh_long_references_more() -> None:
    scores = ErrorRate("wer")
    scores.update(["a", "b", "c", "d"], ["a", "b", "c", "d"])
    scores.update([], ["e"])
    assert scores.compute() == {"wer": 0.2}


def test_an_exact_match_is_of_the_whole_sequence() -> None:
    scores = ExactMatch()
    scores.update([1, 2], [1, 2])
    scores.update([1, 2, 3], [1, 2])
    scores.update("a b", "a b")
    assert scores.compute() == pytest.approx({"exact_match": 2 / 3, "sequences": 3})


def test_combined_scores_are_those_of_the_parts() -> None:
    def made() -> Combined:
        loss, hits = Perplexity(), Accuracy()
        loss.update(torch.tensor(2.0), 1)
        hits.update(torch.tensor([1]), torch.tensor([1]))
        return Combined(loss, hits)

    scores = made()
    assert scores.compute()["loss"] == 2
    assert scores.compute()["accuracy"] == 1
    twice = made()
    twice.load_state(scores.state() * 2)
    assert twice.state().equal(scores.add(made()).state())


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[2\] and \[3\]"):
        Accuracy().update(torch.zeros(2), torch.zeros(3))
