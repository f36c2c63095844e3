"""The rows of a matrix that a query is nearest to by the cosine: all rows are looked at, block by block.

Dimension key: N rows (words), D features, Q queries, k results, R rows of a block.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.embeddings.configs import AnalogyMethod

_EPSILON = 0.001  # of the multiplied scores, as in their paper
#: Bytes of a block of the matrix: its scores stay in cache until the best of them are taken, and a product of
#: this size already runs at full speed.
_BLOCK_BYTES = 32 << 20
_SMALL = 1e-15  # lengths below it are computed again, for squares vanish in float32 long before numbers do
#: Larger numbers, of which no vector of words has any, would overflow in squares and sums.
LARGEST = 1e16


class Neighbour(NamedTuple):
    """A word and how near it is.

    Example:
        >>> Neighbour("queen", 0.75).word
        'queen'
    """

    word: str
    score: float


def blocks_of(matrix: Tensor) -> Iterator[slice]:
    """Slices of rows, each of about `_BLOCK_BYTES`."""
    rows = max(1, _BLOCK_BYTES // (matrix.shape[1] * matrix.element_size()))
    return (slice(begin, begin + rows) for begin in range(0, matrix.shape[0], rows))


def inverse_lengths(rows: Tensor, damaged: Callable[[int], Exception] | None = None) -> Tensor:
    """1 / |row| of each row, [N]; 0 of a row of zeros, so that its cosine with everything is 0.

    Args:
        rows: [N, D].
        damaged: what to raise for a row by its number; None: a ValueError that names it.

    Raises:
        ValueError: a row with a NaN, an infinity, or a length beyond `LARGEST`.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1)
    if not bool((lengths <= LARGEST).all()):
        wrong = int((~(lengths <= LARGEST)).nonzero()[0])
        told = ValueError(f"row {wrong} has a number that is not finite, or is beyond {LARGEST:g}")
        raise told if damaged is None else damaged(wrong)
    small = (lengths < _SMALL).nonzero().squeeze(1)
    if len(small):
        lengths[small] = torch.linalg.vector_norm(rows[small].double(), dim=1).to(lengths.dtype)
    inverse = 1 / lengths
    return inverse.masked_fill_(~inverse.isfinite(), 0)


def unit(rows: Tensor) -> Tensor:
    """Each row divided by its length; a row of zeros stays one."""
    return rows * inverse_lengths(rows).unsqueeze(1)


def best_rows(
    queries: Tensor,
    matrix: Tensor,
    inverse: Tensor,
    k: int,
    *,
    combine: Callable[[Tensor], Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The k rows of the matrix with the highest scores for each query, best first.

    score[q, n] = queries[q] . matrix[n] / |matrix[n]|, or what `combine` makes of several such rows.

    The matrix is read once, in blocks, and not copied. A block's scores are compared with the worst that each
    query holds already; only of those queries that the block has something for are its best taken.

    Args:
        queries: [Q, D] float32; unit rows give cosines.
        matrix: [N, D] float32.
        inverse: [N], as `inverse_lengths`.
        k: at most N are given.
        combine: from [Q, R] scores of a block to [Q', R].

    Returns:
        scores [Q', k] and numbers of rows [Q', k].

    Example:
        >>> rows = torch.eye(3)
        >>> scores, numbers = best_rows(rows[:1], rows, inverse_lengths(rows), 1)
        >>> scores.tolist(), numbers.tolist()
        ([[1.0]], [[0]])
    """
    k = min(k, matrix.shape[0])
    scores = numbers = queries.new_empty(0)
    for part in blocks_of(matrix):
        # The product with the block's transpose: queries are few, and each one's scores lie together.
        found = (queries @ matrix[part].T).mul_(inverse[part])
        if combine is not None:
            found = combine(found)
        if part.start == 0:
            scores = found.new_full((found.shape[0], k), -torch.inf)
            numbers = torch.zeros(found.shape[0], k, dtype=torch.int64)
        better = (found.amax(1) > scores[:, -1]).nonzero().squeeze(1)
        if len(better):
            new, places = found[better].topk(min(k, found.shape[1]), dim=1)
            joined = torch.cat([scores[better], new], 1)
            # Stable: of equal scores the earlier row stays before the later.
            sorted_scores, order = joined.sort(dim=1, descending=True, stable=True)
            joined_numbers = torch.cat([numbers[better], places + part.start], 1)
            scores[better] = sorted_scores[:, :k]
            numbers[better] = joined_numbers.gather(1, order[:, :k])
    return scores, numbers


def ranked(
    queries: Tensor,
    matrix: Tensor,
    inverse: Tensor,
    k: int,
    *,
    excluded: Sequence[Collection[int]],
    combine: Callable[[Tensor], Tensor] | None = None,
) -> list[list[tuple[int, float]]]:
    """As `best_rows`, the rows that a query excludes left out: pairs of a row and its score, best first.

    Args:
        queries: [Q, D]; with `combine` more, as it needs them.
        matrix: as of `best_rows`.
        inverse: likewise.
        k: results of each query.
        excluded: for each query of the results.
        combine: as of `best_rows`.
    """
    more = max(map(len, excluded), default=0)
    scores, numbers = best_rows(queries, matrix, inverse, k + more, combine=combine)
    return [
        [pair for pair in zip(row, values, strict=True) if pair[0] not in out][:k]
        for row, values, out in zip(numbers.tolist(), scores.tolist(), excluded, strict=True)
    ]


def solve(
    questions: Tensor, matrix: Tensor, inverse: Tensor, k: int, *, method: AnalogyMethod
) -> list[list[tuple[int, float]]]:
    """For questions "a is to b as c is to ?" the k rows that answer best, none of a, b and c among them.

    add:       sim(x, b - a + c), of unit vectors a, b, c (3CosAdd)
    multiply:  s(x, b) s(x, c) / (s(x, a) + 0.001) with s = (sim + 1) / 2 (3CosMul)

    Args:
        questions: [Q, 3] rows a, b, c.
        matrix: [N, D].
        inverse: [N], as `inverse_lengths`.
        k: answers of each.
        method: "add" or "multiply".

    Source: Levy and Goldberg, "Linguistic regularities in sparse and explicit word representations", 2014,
    equations 3 and 4.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 0.1], [2.0, 2.2], [-1.0, 0.0]])
        >>> [[(row, _)]] = solve(torch.tensor([[0, 1, 2]]), rows, inverse_lengths(rows), 1, method="multiply")
        >>> row
        3
    """
    a, b, c = unit(matrix[questions.flatten()]).view(*questions.shape, -1).unbind(1)
    excluded: list[list[int]] = questions.tolist()
    if method == "add":
        return ranked(unit(b - a + c), matrix, inverse, k, excluded=excluded)
    return ranked(torch.cat([a, b, c]), matrix, inverse, k, excluded=excluded, combine=_multiplied)


def _multiplied(cosines: Tensor) -> Tensor:
    """[3 Q, R] cosines with a, b and c -> [Q, R] scores of 3CosMul."""
    a, b, c = cosines.add_(1).mul_(0.5).chunk(3)
    return b.mul_(c).div_(a.add_(_EPSILON))
