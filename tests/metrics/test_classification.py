"""Confusion, macro F1 and calibration against plain counting."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.losses import IGNORE
from pyrnn.metrics import F1, Calibration, ConfusionMatrix, ExampleLoss, Metrics

C = 4
PAIRS = st.lists(st.tuples(st.integers(0, C - 1), st.sampled_from([0, 1, 2, IGNORE])), max_size=30)
SURE = st.lists(st.tuples(st.floats(0.5, 1), st.integers(0, 1)), max_size=30)


@given(pairs=PAIRS, cut=st.integers(0, 30))
def test_counts_and_scores_are_those_of_plain_counting(pairs: list[tuple[int, int]], cut: int) -> None:
    parts = [ConfusionMatrix(C), ConfusionMatrix(C)]
    for part, own in zip(parts, (pairs[:cut], pairs[cut:]), strict=True):
        table = torch.tensor(own, dtype=torch.int64).view(-1, 2)
        part.update(table[:, 0], table[:, 1])
    found = parts[0].add(parts[1])
    there = [(a, b) for a, b in pairs if b != IGNORE]
    assert found.matrix.tolist() == [[there.count((a, b)) for a in range(C)] for b in range(C)]
    one_by_one = []
    for number in range(C):
        own = F1(positive=number)
        table = torch.tensor(there, dtype=torch.int64).view(-1, 2)
        own.update(table[:, 0], table[:, 1])
        one_by_one.append(own.compute()["f1"])
    assert found.f1().tolist() == pytest.approx(one_by_one, nan_ok=True)
    known = [value for value in one_by_one if not math.isnan(value)]
    expected = {
        "accuracy": sum(a == b for a, b in there) / len(there) if there else math.nan,
        "macro_f1": sum(known) / len(known) if known else math.nan,
        "examples": len(there),
    }
    assert found.compute() == pytest.approx(expected, nan_ok=True)


def test_macro_f1_is_that_of_scikit_learn() -> None:
    learn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the other side")
    draw = torch.Generator().manual_seed(0)
    prediction, target = torch.randint(5, (2, 200), generator=draw)
    scores = ConfusionMatrix(7)
    scores.update(prediction, target)
    assert scores.compute()["macro_f1"] == pytest.approx(learn.f1_score(target, prediction, average="macro"))
    assert scores.matrix[:5, :5].tolist() == learn.confusion_matrix(target, prediction).tolist()


@given(sure=SURE, cut=st.integers(0, 30))
def test_the_calibration_error_is_that_of_plain_counting(sure: list[tuple[float, int]], cut: int) -> None:
    M = 10
    parts = [Calibration(M), Calibration(M)]
    for part, own in zip(parts, (sure[:cut], sure[cut:]), strict=True):
        first = torch.tensor([p for p, _ in own], dtype=torch.float64)
        part.update(torch.stack([first, 1 - first], 1), torch.tensor([t for _, t in own], dtype=torch.int64))
    found = parts[0].add(parts[1])
    error = 0.0
    for m in range(M):
        own = [(p, t == 0) for p, t in sure if m / M < p <= (m + 1) / M]
        error += abs(sum(right for _, right in own) - sum(p for p, _ in own))
        assert found.bins().counts[m] == len(own)
        if own:
            assert found.bins().accuracy[m] == pytest.approx(sum(right for _, right in own) / len(own))
    expected = error / len(sure) if sure else math.nan
    assert found.compute()["calibration_error"] == pytest.approx(expected, nan_ok=True, abs=1e-12)


def test_padding_is_not_counted() -> None:
    scores = Calibration()
    scores.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, IGNORE]))
    assert scores.bins().counts.sum() == 1


@pytest.mark.parametrize("scores", [ExampleLoss(), ConfusionMatrix(3), Calibration()])
def test_nothing_counted_is_no_score(scores: Metrics) -> None:
    assert any(math.isnan(value) for value in scores.compute().values())


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \[2\] and \[3\]"):
        ConfusionMatrix(3).update(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"classes must lie in \[0, 3\), got 1 to 3"):
        ConfusionMatrix(3).update(torch.tensor([1]), torch.tensor([3]))
    with pytest.raises(ValueError, match="num_classes must be at least 1, got 0"):
        ConfusionMatrix(0)
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        Calibration(0)
