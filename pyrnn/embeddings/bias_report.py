"""How biased vectors are, by every measure of the package at once: asked before debiasing and after it."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pyrnn.embeddings.bias_words import BiasRows
from pyrnn.embeddings.debias import BiasSubspace, direct_bias
from pyrnn.embeddings.neighbourhoods import Neighbourhoods, Sides, measure_neighbourhoods, most_biased
from pyrnn.embeddings.weat import WeatResult, association_test
from pyrnn.embeddings.words import WordList

_MOST_OF_A_SIDE = 500  # as in Gonen and Goldberg 2019


class BiasReport(NamedTuple):
    """What `measure_bias` found.

    Args:
        direct_bias: of the neutral words; None where there are none.
        tests: of each association test its result.
        neighbourhoods: of the most biased words; None where a side has fewer than two.

    Example:
        >>> BiasReport(0.1, {}, None).direct_bias
        0.1
    """

    direct_bias: float | None
    tests: dict[str, WeatResult]
    neighbourhoods: Neighbourhoods | None

    def as_json(self) -> dict[str, Any]:
        """Its numbers by their names."""
        return {
            "direct_bias": self.direct_bias,
            "tests": {name: result._asdict() for name, result in self.tests.items()},
            "neighbourhoods": None if self.neighbourhoods is None else self.neighbourhoods._asdict(),
        }


def sides_of(matrix: Tensor, rows: BiasRows, subspace: BiasSubspace, *, count: int | None = None) -> Sides:
    """The most biased neutral words of each side of the first direction.

    Args:
        matrix: [V, D], before debiasing.
        rows: of the lists.
        subspace: the bias.
        count: of each side; by default 500, or a tenth of the neutral words where that is fewer, but 10.

    Example:
        >>> import torch
        >>> matrix = torch.tensor([[1.0, 1], [-1.0, 1], [1.0, 2], [-1.0, 2], [0.1, 1], [-0.1, 1]])
        >>> rows = BiasRows([(0, 1), (2, 3)], [], torch.tensor([4, 5]), {}, [])
        >>> sides_of(matrix, rows, BiasSubspace(torch.tensor([[1.0, 0]]), (1.0,)))
        Sides(first=[4], second=[5])
    """
    count = max(min(_MOST_OF_A_SIDE, len(rows.neutral) // 10), 10) if count is None else count
    return most_biased(matrix, rows.neutral, subspace.directions[0], count=count)


def measure_bias(
    matrix: Tensor,
    rows: BiasRows,
    subspace: BiasSubspace,
    sides: Sides,
    *,
    seed: int = 0,
    words: WordList | None = None,
) -> BiasReport:
    """Direct bias, association tests, and whether the words of each side lie together.

    Args:
        matrix: [V, D], before or after debiasing.
        rows: of the lists.
        subspace: the bias that the vectors had before.
        sides: the most biased words before, of `sides_of`.
        seed: of tests whose partitions are drawn.
        words: of each row its word, for what errors say.

    Raises:
        ValueError: as `association_test`, with the name of the test.

    Example:
        >>> import torch
        >>> matrix = torch.tensor([[1.0, 1], [-1.0, 1], [1.0, 2], [-1.0, 2], [0.75, 1], [-0.75, 1]])
        >>> rows = BiasRows([(0, 1), (2, 3)], [], torch.tensor([4, 5]), {}, [])
        >>> subspace = BiasSubspace(torch.tensor([[1.0, 0]]), (1.0,))
        >>> measure_bias(matrix, rows, subspace, Sides([4], [5])).direct_bias
        0.6
    """
    tests = {name: _tested(matrix, name, *sets, seed=seed, words=words) for name, sets in rows.tests.items()}
    return BiasReport(
        direct_bias(matrix, rows.neutral, subspace.directions) if len(rows.neutral) else None,
        tests,
        measure_neighbourhoods(matrix, sides, words=words) if len(sides.first) > 1 else None,
    )


def _tested(matrix: Tensor, name: str, *sets: list[int], seed: int, words: WordList | None) -> WeatResult:
    try:
        return association_test(matrix, *sets, seed=seed, words=words)
    except ValueError as error:
        raise ValueError(f"test {name!r}: {error}") from error
