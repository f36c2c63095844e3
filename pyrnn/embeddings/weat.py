"""The word embedding association test: how differently two sets of words lie to two sets of attributes.

Source: Caliskan, Bryson and Narayanan, "Semantics derived automatically from language corpora contain
human-like biases", Science 2017, "Methods".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrnn.embeddings._checked import unit_rows

#: Partitions that are all looked at.
_MOST_EXACT = 200_000
_BLOCK = 4096  # sampled ones at a time
#: Differences of cosines below it, in units of the vectors' rounding, are none.
_ROUNDING = 16


class WeatResult(NamedTuple):
    """What `association_test` measured.

    Args:
        statistic: S(X, Y, A, B), a sum over the words of X and Y.
        effect_size: d, from -2 to 2; positive where X lies nearer to A and Y nearer to B. None where all
            words associate alike within the rounding of the vectors: there is no spread to divide by.
        p_value: one-sided.
        permutations: partitions that were looked at.
        exact: whether these were all there are.

    Example:
        >>> WeatResult(0.4, 1.2, 0.05, 70, exact=True).effect_size
        1.2
    """

    statistic: float
    effect_size: float | None
    p_value: float
    permutations: int
    exact: bool


def association_test(
    vectors: Tensor,
    X: Sequence[int],
    Y: Sequence[int],
    A: Sequence[int],
    B: Sequence[int],
    *,
    samples: int = 100_000,
    seed: int = 0,
    words: Sequence[str] | None = None,
) -> WeatResult:
    """Test whether targets X and Y differ in how near they lie to the attributes A and B.

    s(w) = mean_{a in A} cos(w, a) - mean_{b in B} cos(w, b); S = sum_{x in X} s(x) - sum_{y in Y} s(y);
    d = (mean_X s - mean_Y s) / std_{X u Y} s, with the standard deviation of the whole set (divided by its
    size, not by one less). p is the share of the ways to cut X u Y into two halves whose S is at least the
    one measured: of all of them where there are at most 200,000, which is up to ten words a set, else of
    `samples` drawn ones and the one measured. The paper counts larger ones alone, which makes p 0 for the
    most extreme cut.

    Args:
        vectors: [V, D], floating point.
        X: rows of the first targets.
        Y: rows of the second ones, as many.
        A: rows of the first attributes.
        B: rows of the second ones.
        samples: partitions to draw where there are too many to look at each.
        seed: of the draws.
        words: of each row its word, for what errors say.

    Raises:
        ValueError: X and Y of different sizes, fewer than two targets a set, no attributes, a word twice in X
            and Y or in A and B, a row that is not there, zero or not finite, samples below 1.

    Source: Caliskan et al. 2017, "Methods"; the p-value of drawn partitions: Phipson and Smyth, "Permutation
    p-values should never be zero", 2010, equation 2.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0], [1.0, 0.0], [0.0, 1.0]])
        >>> result = association_test(vectors, X=[0, 1], Y=[2, 3], A=[4], B=[5])
        >>> round(result.effect_size, 3), round(result.p_value, 3), result.permutations
        (1.996, 0.167, 6)
    """
    _check(X, Y, A, B, samples)
    targets = unit_rows(vectors, [*X, *Y], words)
    near_a, near_b = (targets @ unit_rows(vectors, own, words).T for own in (A, B))
    associations = (near_a.mean(1) - near_b.mean(1)).numpy()
    n = len(X)
    statistic = float(associations[:n].sum() - associations[n:].sum())
    tolerance = _ROUNDING * torch.finfo(vectors.dtype).eps
    spread = float(associations.std())
    effect = statistic / n / spread if spread > tolerance else None
    # S is twice the sum over the first half less a constant.
    threshold = float(associations[:n].sum()) - n * tolerance
    total = math.comb(2 * n, n)
    if total <= _MOST_EXACT:
        flat = np.fromiter(
            itertools.chain(*itertools.combinations(range(2 * n), n)), np.int64, count=total * n
        )
        hits = int((associations[flat.reshape(total, n)].sum(1) >= threshold).sum())
        return WeatResult(statistic, effect, hits / total, total, exact=True)
    draws, hits = np.random.default_rng(seed), 0
    for start in range(0, samples, _BLOCK):
        order = draws.random((min(_BLOCK, samples - start), 2 * n)).argpartition(n, axis=1)[:, :n]
        hits += int((associations[order].sum(1) >= threshold).sum())
    return WeatResult(statistic, effect, (1 + hits) / (1 + samples), samples, exact=False)


def _check(X: Sequence[int], Y: Sequence[int], A: Sequence[int], B: Sequence[int], samples: int) -> None:
    if len(X) != len(Y) or len(X) < 2 or not A or not B:
        raise ValueError(
            "expected two sets of as many targets, at least 2 each, and two sets of attributes, got "
            f"{len(X)} and {len(Y)} targets, {len(A)} and {len(B)} attributes"
        )
    for one, other, first, second in ((X, Y, "X", "Y"), (A, B, "A", "B")):
        if len({*one, *other}) < len(one) + len(other):
            raise ValueError(f"a word is twice in {first} and {second}: each may stand there once")
    if samples < 1:
        raise ValueError(f"expected at least one sample, got {samples}")
