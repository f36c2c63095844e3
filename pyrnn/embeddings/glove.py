"""GloVe: word vectors from counts of pairs of words.

Dimension key: V vocabulary, D dimensions, P pairs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._configuration import require_range
from pyrnn._native_args import check_fields
from pyrnn.embeddings.cooccurrence import PAIR, Cooccurrences
from pyrnn.models.glove import Combination, combined

_UNIT: int = _native.cpu.word2vec_row_unit
_AT_ONCE = 1 << 18  # pairs


class _Problem(NamedTuple):
    """As `GloveProblem` in csrc/embedding/glove.h."""

    V: int
    S: int
    count: int
    updates: int
    shuffle: int
    learning_rate: float
    x_max: float
    alpha: float
    rows: int
    pairs: int


check_fields(_native.cpu, "embedding.Glove", _Problem._fields)


@dataclass(frozen=True)
class GloveConfig:
    """The loss and its steps.

    Args:
        x_max: a pair that is counted so often, or more, has weight 1.
        alpha: of other pairs x / x_max is raised to this power.
        learning_rate: of AdaGrad.

    Raises:
        ValueError: x_max not above zero, alpha outside [0, 10], or a learning rate outside (0, 10].

    Example:
        >>> GloveConfig(x_max=0.0)
        Traceback (most recent call last):
        ValueError: x_max must be above 0 and finite, got 0.0
    """

    x_max: float = 100.0
    alpha: float = 0.75
    learning_rate: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.x_max < math.inf:
            raise ValueError(f"x_max must be above 0 and finite, got {self.x_max}")
        require_range(self, ("alpha",), least=0, most=10)
        if not 0 < self.learning_rate <= 10:
            raise ValueError(f"learning_rate must lie in (0, 10], got {self.learning_rate}")


class Glove:
    """Word and context vectors and their biases, trained pair by pair.

    J = sum_ij f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 over the pairs that occur,
    f(x) = min(1, (x / x_max)^alpha).

    Every pair is a step of AdaGrad on half of its part of J: G += g^2, then p -= learning_rate g / sqrt(G),
    where G begins at 1. Threads work on the same vectors without locks, so an update may get lost; one thread
    gives the same bits again.
    Sources: Pennington, Socher and Manning, "GloVe: Global vectors for word representation", 2014, (8) and
    (9); Duchi, Hazan and Singer, "Adaptive subgradient methods", 2011; Recht et al., "Hogwild", 2011.

    Args:
        vocabulary_size: V.
        dimension: D.
        seed: of the first vectors and biases, uniform in (-0.5, 0.5) / D.

    Attributes:
        rows: [2, V, 2, S] float32, all there is: of words and of contexts, the numbers and their G. Of S, a
            multiple of 16 above D, the vector takes the first D, the bias the last one, others are zero.

    Raises:
        ValueError: a size below one.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.embeddings import PairBatches, count_cooccurrences
        >>> glove, config = Glove(4, 8), GloveConfig(learning_rate=0.5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = [torch.tensor([0, 1, 2, 3, 1, 2, 0])]
        ...     pairs = count_cooccurrences(text, Path(folder, "pairs.bin"), vocabulary_size=4, window=2)
        ...     batches, before = PairBatches(pairs, seed=1), glove.loss(pairs, config)
        ...     for epoch in range(50):
        ...         _ = glove.train(batches[epoch], config)
        ...     glove.loss(pairs, config) < 0.1 * before, glove.vectors().shape
        (True, torch.Size([4, 8]))
    """

    def __init__(self, vocabulary_size: int, dimension: int, *, seed: int = 0) -> None:
        if min(vocabulary_size, dimension) < 1:
            raise ValueError(f"sizes must be at least 1, got V {vocabulary_size} and D {dimension}")
        S = -(-(dimension + 1) // _UNIT) * _UNIT
        self.dimension = dimension
        self.rows = torch.zeros(2, vocabulary_size, 2, S)
        self.rows[:, :, 1] = 1
        generator = torch.Generator().manual_seed(seed)
        first = torch.rand(2, vocabulary_size, dimension + 1, generator=generator)
        first.sub_(0.5).div_(dimension)
        self.rows[:, :, 0, :dimension] = first[..., :dimension]
        self.rows[:, :, 0, -1] = first[..., -1]

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.rows.shape[1]

    @property
    def word_vectors(self) -> Tensor:
        """w [V, D], a view."""
        return self.rows[0, :, 0, : self.dimension]

    @property
    def context_vectors(self) -> Tensor:
        """c [V, D], a view."""
        return self.rows[1, :, 0, : self.dimension]

    @property
    def word_biases(self) -> Tensor:
        """b [V], a view."""
        return self.rows[0, :, 0, -1]

    @property
    def context_biases(self) -> Tensor:
        """d [V], a view."""
        return self.rows[1, :, 0, -1]

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """w, c, b and d, views."""
        return self.word_vectors, self.context_vectors, self.word_biases, self.context_biases

    def vectors(self, combination: Combination = "sum") -> Tensor:
        """What is kept of word and context vectors [V, D]: their sum, their mean, or the former.

        Raises:
            ValueError: another combination.
        """
        return combined(self.word_vectors, self.context_vectors, combination)

    def train(self, batch: Mapping[str, Tensor], config: GloveConfig) -> float:
        """A step for each pair of a block, in its shuffled order; the mean of f e^2, each before its step.

        Args:
            batch: as `PairBatches` gives it.
            config: the loss and the learning rate.

        Raises:
            ValueError: a pair that is none; nothing was changed.
            FloatingPointError: the vectors have left the range of numbers.
        """
        pairs = batch["pairs"].clone()
        loss = self._run(pairs, config, order=int(batch["order"])) / len(pairs)
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"the loss of {len(pairs):,} pairs is {loss}: the vectors have grown beyond all numbers; "
                f"lower learning_rate, which is {config.learning_rate}"
            )
        return loss

    def loss(self, pairs: Cooccurrences, config: GloveConfig) -> float:
        """J / P at the vectors as they are, summed up in float64.

        Raises:
            ValueError: a pair that is none.
        """
        total = 0.0
        for begin in range(0, len(pairs), _AT_ONCE):
            block = torch.from_numpy(pairs.read(begin, _AT_ONCE).view("u1").reshape(-1, PAIR.itemsize))
            total += self._run(block, config, order=None)
        return total / len(pairs)

    def _run(self, pairs: Tensor, config: GloveConfig, *, order: int | None) -> float:
        """The native call; `pairs` [P, 16] is used up."""
        if pairs.dtype != torch.uint8 or pairs.shape[1:] != (PAIR.itemsize,) or not pairs.is_contiguous():
            raise ValueError(
                f"pairs must be contiguous bytes [P, {PAIR.itemsize}] of uint8, as `PairBatches` gives them, "
                f"got {list(pairs.shape)} of {pairs.dtype}"
            )
        problem = _Problem(
            V=self.vocabulary_size,
            S=self.rows.shape[-1],
            count=len(pairs),
            updates=int(order is not None),
            shuffle=order or 0,
            learning_rate=config.learning_rate,
            x_max=config.x_max,
            alpha=config.alpha,
            rows=self.rows.data_ptr(),
            pairs=pairs.data_ptr(),
        )
        return _native.cpu.glove(problem, _native.num_threads())
