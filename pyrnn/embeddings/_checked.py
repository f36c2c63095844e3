"""Rows of a matrix of vectors: checked, named in errors, and of length one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def named(row: int, words: Sequence[str] | None) -> str:
    """A row as errors name it: by its word where words are known."""
    return f"row {row}" if words is None else f"{words[row]!r}"


def check_rows(vectors: Tensor, rows: Sequence[int] | Tensor, words: Sequence[str] | None = None) -> None:
    """Refuse what is no matrix of numbers, rows that it lacks, and words that do not fit it.

    Raises:
        ValueError: one of these.
    """
    if vectors.dim() != 2 or not vectors.is_floating_point():
        raise ValueError(
            f"vectors: expected a floating-point matrix [V, D], got {vectors.dtype} {tuple(vectors.shape)}"
        )
    if words is not None and len(words) != len(vectors):
        raise ValueError(f"expected a word for each of {len(vectors)} rows, got {len(words)} words")
    numbers = torch.as_tensor(rows, dtype=torch.int64)
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < len(vectors):
        raise ValueError(
            f"expected rows from 0 to {len(vectors) - 1}, got {int(numbers.min())} to {int(numbers.max())}"
        )


def unit_rows(vectors: Tensor, rows: Sequence[int], words: Sequence[str] | None = None) -> Tensor:
    """The rows [N, D] in float64, each of length one.

    Raises:
        ValueError: as `check_rows`; a vector of zeros, or one that is not finite.
    """
    check_rows(vectors, rows, words)
    found = vectors[list(rows)].double()
    lengths = found.norm(dim=1, keepdim=True)
    for row, length in zip(rows, lengths[:, 0].tolist(), strict=True):
        if not 0 < length < float("inf"):
            raise ValueError(f"the vector of {named(row, words)} has length {length}: it has no direction")
    return found / lengths
