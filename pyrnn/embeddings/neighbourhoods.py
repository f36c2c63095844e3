"""What debiasing leaves: whether words of one side still lie together.

Source: Gonen and Goldberg, "Lipstick on a pig: debiasing methods cover up systematic gender biases in word
embeddings but do not remove them", 2019, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.embeddings._checked import unit_rows
from pyrnn.embeddings.debias import bias_components

_ROUNDS = 100  # of two-means; it ends long before


class Sides(NamedTuple):
    """The most biased words of each side.

    Args:
        first: rows, the most biased first, whose cosines with the direction are positive.
        second: as many rows whose cosines are negative.

    Example:
        >>> Sides([3, 5], [1, 2]).first
        [3, 5]
    """

    first: list[int]
    second: list[int]


class Neighbourhoods(NamedTuple):
    """What `measure_neighbourhoods` measured.

    Args:
        same_side: mean share of a word's neighbours that are of its side.
        by_chance: what it is if sides have nothing to do with places.
        clustered: share of words that a division into two clusters puts with their side, from 1/2 to 1.

    Example:
        >>> Neighbourhoods(0.9, 0.49, 0.95).same_side
        0.9
    """

    same_side: float
    by_chance: float
    clustered: float


def most_biased(
    vectors: Tensor, rows: Sequence[int] | Tensor, direction: Tensor, *, count: int = 500
) -> Sides:
    """The `count` words that lie farthest to each side, or fewer of each, so that the sides are equal.

    Args:
        vectors: [V, D], floating point, before debiasing.
        rows: words to choose from, for instance those that are made neutral.
        direction: [D], of length one.
        count: of each side, at most.

    Example:
        >>> vectors = torch.tensor([[1.0, 1.0], [2.0, 1.0], [-1.0, 3.0], [0.0, 1.0]])
        >>> most_biased(vectors, range(4), torch.tensor([1.0, 0.0]))
        Sides(first=[1], second=[2])
    """
    rows = torch.as_tensor(rows, dtype=torch.int64)
    cosines = bias_components(vectors, rows, direction[None])[:, 0]
    order = cosines.sort(descending=True, stable=True).indices
    count = min(count, int((cosines > 0).sum()), int((cosines < 0).sum()))
    return Sides(rows[order[:count]].tolist(), rows[order.flip(0)[:count]].tolist())


def measure_neighbourhoods(
    vectors: Tensor, sides: Sides, *, neighbours: int = 100, words: Sequence[str] | None = None
) -> Neighbourhoods:
    """Whether words of a side lie together: among their nearest neighbours, and in two clusters.

    Only the words of the two sides are looked at, those of each vectors by cosine. The clusters are those of
    2-means of the unit vectors, begun at the sides of their first principal component. To ask what debiasing
    left, find the sides before it and measure before and after it.

    Args:
        vectors: [V, D], floating point, before or after debiasing.
        sides: of `most_biased`, at least two words each.
        neighbours: of each word, at most; half of the other words where they are fewer than twice as many.
        words: of each row its word, for what errors say.

    Raises:
        ValueError: fewer than two words a side, no neighbours, a vector of zeros.

    Source: Gonen and Goldberg 2019, sections 4 ("clustering") and 5 (neighbours).

    Example:
        >>> vectors = torch.tensor([[1.0, 0.1], [1.0, 0.2], [0.1, 1.0], [0.2, 1.0]])
        >>> measure_neighbourhoods(vectors, Sides([0, 1], [2, 3]))
        Neighbourhoods(same_side=1.0, by_chance=0.3333333333333333, clustered=1.0)
    """
    n = len(sides.first)
    if n < 2 or len(sides.second) != n or neighbours < 1:
        raise ValueError(
            f"expected sides of as many words, at least 2, and neighbours, got {n} and {len(sides.second)} "
            f"words and {neighbours} neighbours"
        )
    unit = unit_rows(vectors, [*sides.first, *sides.second], words)
    is_first = torch.arange(2 * n) < n
    cosines = (unit @ unit.T).fill_diagonal_(-2)
    nearest = cosines.topk(min(neighbours, max((2 * n - 1) // 2, 1))).indices
    same = float((is_first[nearest] == is_first[:, None]).double().mean())
    agreeing = float((_two_means(unit) == is_first).double().mean())
    return Neighbourhoods(same, (n - 1) / (2 * n - 1), max(agreeing, 1 - agreeing))


def _two_means(points: Tensor) -> Tensor:
    """Which of two clusters each of the points [N, D] is in, as booleans."""
    centred = points - points.mean(0)
    component = torch.linalg.svd(centred, full_matrices=False).Vh[0]
    chosen = centred @ component > 0
    for _ in range(_ROUNDS):
        if chosen.all() or not chosen.any():
            break
        centres = points[chosen].mean(0), points[~chosen].mean(0)
        before, chosen = chosen, torch.cdist(points, torch.stack(centres)).argmin(1) == 0
        if torch.equal(before, chosen):
            break
    return chosen
