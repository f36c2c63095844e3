"""Resampling: intervals that hold the score, differences that chance explains or does not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.metrics import BLEU, bleu, bootstrap, bootstrap_interval, paired_bootstrap

WORDS = [
    "to",
    "be",
    "or",
    "not",
    "to",
    "be",
    "that",
    "is",
    "the",
    "question",
    "whether",
    "tis",
    "nobler",
    "in",
    "the",
    "mind",
]


def text(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(4, 12))) for _ in range(count)]


def damaged(sentences: list[str], share: float, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join("x" if draw.random() < share else word for word in line.split()) for line in sentences]


REFERENCES = text(200, seed=0)
GOOD, BAD = damaged(REFERENCES, 0.1, seed=1), damaged(REFERENCES, 0.3, seed=2)


def test_a_clear_difference_is_told_from_chance() -> None:
    found = paired_bootstrap(GOOD, BAD, REFERENCES)
    assert found.difference == pytest.approx(bleu(GOOD, REFERENCES).score - bleu(BAD, REFERENCES).score)
    assert 0 < found.low < found.difference < found.high
    assert found.p_value == 1 / 1001


def test_equally_good_systems_differ_by_chance() -> None:
    found = paired_bootstrap(GOOD, damaged(REFERENCES, 0.1, seed=3), REFERENCES)
    assert found.low < 0 < found.high
    assert found.p_value > 0.05


@given(seed=st.integers(0, 2**32), samples=st.integers(1, 30))
def test_the_order_of_the_systems_is_the_sign_and_the_seed_decides(seed: int, samples: int) -> None:
    pair = paired_bootstrap(GOOD[:9], BAD[:9], REFERENCES[:9], samples=samples, seed=seed)
    back = paired_bootstrap(BAD[:9], GOOD[:9], REFERENCES[:9], samples=samples, seed=seed)
    assert back == pytest.approx((-pair.difference, -pair.high, -pair.low, pair.p_value))
    assert pair == paired_bootstrap(GOOD[:9], BAD[:9], REFERENCES[:9], samples=samples, seed=seed)


def test_an_interval_holds_the_score_and_narrows_with_more_sentences() -> None:
    metric = BLEU(lowercase=True, smoothing="none")
    few, many = (bootstrap_interval(GOOD[:n], REFERENCES[:n], metric=metric) for n in (40, 200))
    for found in (few, many):
        assert found.low < found.score < found.high
    assert few.high - few.low > many.high - many.low
    assert many.score == pytest.approx(bleu(GOOD, REFERENCES, lowercase=True, smoothing="none").score)


def test_a_sample_is_the_score_of_its_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the number of samples that are made at once."""
    monkeypatch.setattr(bootstrap, "_COUNTS_AT_ONCE", 35)
    drawn: list[list[int]] = []

    class Noting(BLEU):
        def scores(self, sums: object) -> np.ndarray:
            found = super().scores(sums)  # pyright: ignore[reportArgumentType]
            drawn.extend(np.atleast_2d(np.asarray(sums)).astype(int).tolist())
            return found

    found = bootstrap_interval(GOOD[:10], REFERENCES[:10], metric=Noting(), samples=50)
    *sampled, whole = drawn
    assert len(sampled) == 50
    assert all(row[10] == 10 for row in drawn)  # sentences
    scores = [float(BLEU().scores(row)) for row in sampled]
    assert (found.low, found.high) == pytest.approx(np.quantile(scores, (0.025, 0.975)))
    assert found.score == float(BLEU().scores(whole))


def test_what_cannot_be_drawn_from_is_refused() -> None:
    with pytest.raises(ValueError, match="no sentences to draw from"):
        bootstrap_interval([], [])
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        paired_bootstrap(["a"], ["a"], ["a"], samples=0)
    with pytest.raises(ValueError, match="1 hypotheses need as many references, got 2"):
        paired_bootstrap(["a", "b"], ["a"], ["a", "b"])
