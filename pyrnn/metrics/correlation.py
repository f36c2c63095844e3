"""How far two lists of numbers go together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's coefficient of correlation.

    r = sum (x - mean x)(y - mean y) / (|x - mean x| |y - mean y|), computed in float64

    Args:
        x: at least two numbers that are not all the same.
        y: as many others.

    Raises:
        ValueError: there is no coefficient: lists of unequal length, of fewer than two numbers, or of numbers
            that are all the same or not finite.

    Source: Pearson, "Notes on regression and inheritance in the case of two parents", 1895.

    Example:
        >>> round(pearson([1, 2, 3], [2, 4, 7]), 4)
        0.9934
    """
    first, second = _deviations(x), _deviations(y)
    if first.shape != second.shape:
        raise ValueError(f"a correlation is of two lists of one length, got {len(first)} and {len(second)}")
    product = float((first / np.linalg.norm(first)) @ (second / np.linalg.norm(second)))
    return max(-1.0, min(1.0, product))  # rounding may lead beyond


def spearman(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's coefficient of rank correlation: Pearson's of the ranks; equal numbers share the mean one.

    Args:
        x: as of `pearson`.
        y: likewise.

    Raises:
        ValueError: as `pearson`.

    Source: Spearman, "The proof and measurement of association between two things", 1904.

    Example:
        >>> round(spearman([1, 10, 100], [3, 5, 4]), 4)
        0.5
    """
    return pearson(*(mean_ranks(_checked(values)).tolist() for values in (x, y)))


def mean_ranks(values: ArrayLike) -> NDArray[np.float64]:
    """The rank of each number from 1 on; equal numbers share the mean of theirs.

    Example:
        >>> mean_ranks([7, 5, 7, 9]).tolist()
        [2.5, 1.0, 2.5, 4.0]
    """
    _, which, counts = np.unique(np.asarray(values, np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[which]


def _deviations(values: Sequence[float]) -> NDArray[np.float64]:
    numbers = _checked(values)
    return numbers - numbers.mean()


def _checked(values: Sequence[float]) -> NDArray[np.float64]:
    numbers = np.asarray(values, np.float64)
    if len(numbers) < 2 or not np.isfinite(numbers).all():
        raise ValueError(f"a correlation needs at least two numbers, all finite, got {len(numbers)}")
    if (numbers == numbers[0]).all():
        raise ValueError(f"numbers that are all the same ({numbers[0]:g}) correlate with nothing")
    return numbers
