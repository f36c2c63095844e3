"""The rows of a matrix that a query is nearest to by the cosine: all rows are looked at.

Dimension key: N rows (words), D features, Q queries, k results.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import check_fields
from pyrnn.embeddings.configs import AnalogyMethod

_TOGETHER = 256  # queries of one pass over the matrix
_EPSILON = 0.001  # of the multiplied scores, as in their paper
_BLOCK_BYTES = 32 << 20  # of the matrix, that are looked at together
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


class _Problem(NamedTuple):
    """As `NearestProblem` in csrc/embedding/nearest.h."""

    N: int
    D: int
    Q: int
    k: int
    multiplied: int
    epsilon: float
    queries: int
    matrix: int
    inverse: int
    scores: int
    numbers: int


check_fields(_native.cpu, "embedding.Nearest", _Problem._fields)


def best_rows(
    queries: Tensor, matrix: Tensor, inverse: Tensor, k: int, *, multiplied: bool = False
) -> tuple[Tensor, Tensor]:
    """The k rows of the matrix with the highest scores for each query, best first; equal ones in their order.

    score[q, n] = queries[q] . matrix[n] / |matrix[n]|, or that of 3CosMul (see `solve`) of three of these.

    The matrix is read once and not copied. Rows are ranked by score and number alone, so the number of
    threads changes nothing.

    Args:
        queries: [Q, D] float32; unit rows give cosines. With `multiplied` [3 Q, D]: all a, all b, all c.
        matrix: [N, D] float32.
        inverse: [N], as `inverse_lengths`.
        k: at most N are given.
        multiplied: whether the score is that of 3CosMul.

    Returns:
        scores [Q, k] and numbers of rows [Q, k].

    Example:
        >>> rows = torch.eye(3)
        >>> scores, numbers = best_rows(rows[:1], rows, inverse_lengths(rows), 2)
        >>> scores.tolist(), numbers.tolist()
        ([[1.0, 0.0]], [[0, 1]])
    """
    N, D = matrix.shape
    Q = len(queries) // 3 if multiplied else len(queries)
    if Q > _TOGETHER:  # a thread keeps the scores of a block for every query
        parts = queries.unflatten(0, (-1, Q)).split(_TOGETHER, dim=1)
        found = [best_rows(part.flatten(0, 1), matrix, inverse, k, multiplied=multiplied) for part in parts]
        scores, numbers = zip(*found, strict=True)
        return torch.cat(scores), torch.cat(numbers)
    scores, numbers = torch.empty(Q, min(k, N)), torch.empty(Q, min(k, N), dtype=torch.int64)
    queries, matrix, inverse = queries.contiguous(), matrix.contiguous(), inverse.contiguous()
    problem = _Problem(
        N=N,
        D=D,
        Q=Q,
        k=min(k, N),
        multiplied=int(multiplied),
        epsilon=_EPSILON,
        queries=queries.data_ptr(),
        matrix=matrix.data_ptr(),
        inverse=inverse.data_ptr(),
        scores=scores.data_ptr(),
        numbers=numbers.data_ptr(),
    )
    _native.cpu.nearest(problem, _native.num_threads())
    return scores, numbers


def ranked(
    queries: Tensor,
    matrix: Tensor,
    inverse: Tensor,
    k: int,
    *,
    excluded: Sequence[Collection[int]],
    multiplied: bool = False,
) -> list[list[tuple[int, float]]]:
    """As `best_rows`, the rows that a query excludes left out: pairs of a row and its score, best first.

    Args:
        queries: as of `best_rows`.
        matrix: likewise.
        inverse: likewise.
        k: results of each query.
        excluded: for each query of the results.
        multiplied: as of `best_rows`.
    """
    more = max(map(len, excluded), default=0)
    scores, numbers = best_rows(queries, matrix, inverse, k + more, multiplied=multiplied)
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
    return ranked(torch.cat([a, b, c]), matrix, inverse, k, excluded=excluded, multiplied=True)
