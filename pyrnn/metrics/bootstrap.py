"""How sure a BLEU score is, and a difference between two: sentences drawn again and again.

Dimension key: N sentences, S samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyrnn.metrics.bleu import BLEU, References, require_pairs

_COUNTS_AT_ONCE = 1 << 22


class Interval(NamedTuple):
    """A score, and between what 95 % of the samples lie.

    Example:
        >>> Interval(30.0, low=28.5, high=31.2).high
        31.2
    """

    score: float
    low: float
    high: float


class Comparison(NamedTuple):
    """How much more the first of two systems scores than the second.

    Args:
        difference: of the scores.
        low: 95 % of the samples' differences lie from here
        high: to here.
        p_value: how probable so large a difference, to either side, is for systems that are equally good.

    Example:
        >>> Comparison(1.2, low=0.3, high=2.1, p_value=0.01).difference
        1.2
    """

    difference: float
    low: float
    high: float
    p_value: float


def bootstrap_interval(
    hypotheses: Sequence[str],
    references: Sequence[References],
    *,
    metric: BLEU | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Interval:
    """BLEU of a system with its 95 % interval: the scores of texts of N sentences drawn with replacement.

    Args:
        hypotheses: N sentences.
        references: N items, as of `bleu`.
        metric: whose options count, `BLEU()` unless given; its sums do not.
        samples: S.
        seed: of the draw.

    Raises:
        ValueError: as of `bleu`, no sentences, or no samples.

    Source: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", section 3.

    Example:
        >>> bootstrap_interval(["so be it then"] * 9, ["so be it then"] * 9).low
        100.0
    """
    metric = BLEU() if metric is None else metric
    ours = _statistics(metric, hypotheses, references)
    (sampled,) = _sampled(metric, [ours], samples, seed)
    return Interval(metric.scores(ours.sum(0)).item(), *_limits(sampled))


def paired_bootstrap(
    first: Sequence[str],
    second: Sequence[str],
    references: Sequence[References],
    *,
    metric: BLEU | None = None,
    samples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Whether one system's BLEU is better than another's: both are scored on the same drawn sentences.

    p = (1 + number of samples with |d_s - mean d| >= |d|) / (S + 1), d the difference on all sentences: the
    samples' differences, moved to where there is none, tell how far chance goes.

    Args:
        first: N sentences of one system.
        second: N of the other.
        references: N items, as of `bleu`.
        metric: whose options count, `BLEU()` unless given; its sums do not.
        samples: S.
        seed: of the draw.

    Raises:
        ValueError: as of `bleu`, no sentences, or no samples.

    Source: Koehn 2004, "Statistical Significance Tests for Machine Translation Evaluation", section 4; the
    p-value as in Riezler and Maxwell 2005, "On Some Pitfalls in Automatic Evaluation and Significance Testing
    for MT", section 3.

    Example:
        >>> right = ["to be or not to be", "that is the question"]
        >>> paired_bootstrap(right, right, right)
        Comparison(difference=0.0, low=0.0, high=0.0, p_value=1.0)
    """
    metric = BLEU() if metric is None else metric
    both = [_statistics(metric, own, references) for own in (first, second)]
    ours, theirs = (metric.scores(own.sum(0)).item() for own in both)
    sampled = np.subtract(*_sampled(metric, both, samples, seed))
    by_chance = np.abs(sampled - sampled.mean()) >= abs(ours - theirs)
    p_value = (1 + int(by_chance.sum())) / (samples + 1)
    return Comparison(ours - theirs, *_limits(sampled), p_value)


def _statistics(
    metric: BLEU, hypotheses: Sequence[str], references: Sequence[References]
) -> NDArray[np.float64]:
    """Sums [N, metric.size] of each sentence."""
    require_pairs(hypotheses, references)
    if not hypotheses:
        raise ValueError("there are no sentences to draw from: give at least one")
    pairs = zip(hypotheses, references, strict=True)
    return np.array([metric.statistics(hypothesis, own) for hypothesis, own in pairs], np.float64)


def _sampled(
    metric: BLEU, systems: Sequence[NDArray[np.float64]], samples: int, seed: int
) -> list[NDArray[np.float64]]:
    """Scores [S] of each system, on the same sentences each time."""
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    count, random = len(systems[0]), np.random.Generator(np.random.Philox(seed))
    scores: list[list[NDArray[np.float64]]] = [[] for _ in systems]
    at_once = max(_COUNTS_AT_ONCE // count, 1)
    for begin in range(0, samples, at_once):
        rows = min(at_once, samples - begin)
        drawn = random.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        # How often each sentence was drawn: a sample's sums are then one row of a product.
        weights = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        for own, statistics in zip(scores, systems, strict=True):
            own.append(metric.scores(weights @ statistics))
    return [np.concatenate(own) for own in scores]


def _limits(sampled: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(sampled, (0.025, 0.975)).tolist()
    return low, high
