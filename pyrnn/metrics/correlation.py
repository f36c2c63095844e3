"""How far two lists of numbers go together."""

from __future__ import annotations

import math
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


def correlation_p(r: float, count: int) -> float | None:
    """How probable a correlation is that lies at least as far from 0, of lists that have nothing in common.

    p = I_{1 - r^2}((n - 2) / 2, 1 / 2), the two-sided p of t = r sqrt((n - 2) / (1 - r^2)) with n - 2 degrees
    of freedom: exact for Pearson's r of normal numbers, close for ranks of more than about ten.

    Args:
        r: the coefficient.
        count: n; None comes of fewer than three numbers.

    Raises:
        ValueError: r outside [-1, 1].

    Source: Student, "Probable error of a correlation coefficient", 1908; the incomplete beta function I by
    its continued fraction, Press et al., "Numerical recipes", section 6.4.

    Example:
        >>> round(correlation_p(0.5, 4), 12), correlation_p(-1.0, 9), correlation_p(0.5, 2)
        (0.5, 0.0, None)
    """
    if not -1 <= r <= 1:
        raise ValueError(f"a coefficient of correlation lies in [-1, 1], got {r}")
    if count < 3:
        return None
    if abs(r) == 1:
        return 0.0
    a, x = count / 2 - 1, (1 - r) * (1 + r)  # no digits are lost near 1
    # x^a (1 - x)^b / B(a, b) with b = 1 / 2
    front = math.exp(a * (math.log1p(r) + math.log1p(-r))) * abs(r) * _gamma_ratio(a) / math.sqrt(math.pi)
    if x < (a + 1) / (a + 2.5):
        return front * _beta_fraction(x, a, 0.5) / a
    return 1 - front * _beta_fraction(r * r, 0.5, a) / 0.5


def _gamma_ratio(a: float) -> float:
    """Gamma(a + 1/2) / Gamma(a)."""
    if a <= 100:
        return math.gamma(a + 0.5) / math.gamma(a)
    # Its asymptotic series, whose next term is below 1e-12 of a^-2 here.
    return math.sqrt(a) * (1 + (-1 + (1 / 16 + (5 / 128 - 21 / (4096 * a)) / a) / a) / (8 * a))


def _beta_fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of I_x(a, b), by the modified method of Lentz."""
    tiny = 1e-300
    c, d = 1.0, 1 / ((1 - (a + b) * x / (a + 1)) or tiny)
    value = d
    for m in range(1, 10_000):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / ((1 + numerator * d) or tiny)
            c = (1 + numerator / c) or tiny
            value *= c * d
        if abs(c * d - 1) < 1e-16:
            break
    return value


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
