"""Vectors of sentences from those of their words, and the nearest among them.

Dimension key: N sentences, D dimensions, Q queries.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.embeddings.neighbours import inverse_lengths, ranked, unit
from pyrnn.embeddings.vectors import WordVectors

_ROUNDING = 1e-6  # of a vector's length


class NearSentence(NamedTuple):
    """A sentence by its number and how near it is.

    Example:
        >>> NearSentence(3, 0.75).number
        3
    """

    number: int
    score: float


class SentenceVectors:
    r"""Sentences as weighted means of their words' vectors.

    mean:  v_s = 1/|s| sum_{w in s} v_w
    sif:   v_s = 1/|s| sum_{w in s} a / (a + p(w)) v_w, then v_s - u u^T v_s

    p(w) is how frequent a word is among all, and u the first principal component of the sentences' vectors,
    which are not centred: what all have in common. Words without a vector are left out, and are no part of
    |s|; a sentence without any has the vector 0. Other sentences are read with the same p and u.

    Source: Arora, Liang and Ma, "A simple but tough-to-beat baseline for sentence embeddings", 2017,
    algorithm 1.

    Args:
        vectors: of the words.
        sentences: N sentences, each the list of its words.
        a: of the weights of SIF; from 1e-4 to 1e-3 in the paper. None: plain means.
        counts: how often each word occurs, for instance in a large text; None counts those of the sentences.
        lowercase: read a word that has no vector in small letters.

    Attributes:
        matrix: [N, D] float32, a row for each sentence.
        common: [D] float32, u; None of plain means.

    Raises:
        ValueError: no sentences, `a` not above zero, or no word has a vector.

    Example:
        >>> words = WordVectors.from_arrays(["red", "blue", "the", "cat"], [[2, 0], [2, 1], [1, 1], [-1, 2]])
        >>> found = SentenceVectors(words, [["the", "red"], ["the", "cat"], ["the", "blue"]], a=None)
        >>> found.nearest([["red"]], 2)
        [[NearSentence(number=0, score=0.948...), NearSentence(number=2, score=0.832...)]]
    """

    def __init__(
        self,
        vectors: WordVectors,
        sentences: Sequence[Sequence[str]],
        *,
        a: float | None = 1e-3,
        counts: Mapping[str, int] | None = None,
        lowercase: bool = True,
    ) -> None:
        if not sentences:
            raise ValueError("there are no sentences: give at least one")
        if a is not None and not 0 < a < float("inf"):
            raise ValueError(f"a must be above zero and finite, got {a}")
        self._words, self._a, self._lowercase = vectors, a, lowercase
        self._counts: Mapping[str, int] = {} if counts is None else counts
        if counts is None:
            self._counts = Counter(self._spelled(word) or word for own in sentences for word in own)
        self._total = max(sum(self._counts.values()), 1)
        self.common: Tensor | None = None
        matrix = self._means(sentences)
        if not bool(matrix.any()):
            raise ValueError("no word of the sentences has a vector: are they of another language?")
        if a is not None:
            # The sign does not matter: u u^T is the same.
            self.common = torch.linalg.svd(matrix, full_matrices=False)[2][0].float()
        self.matrix = self._without_common(matrix)
        self._inverse = inverse_lengths(self.matrix)

    def vectors_of(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """The vectors of other sentences, [Q, D] float32.

        Example:
            >>> words = WordVectors.from_arrays(["red", "blue"], [[2, 0], [2, 1]])
            >>> SentenceVectors(words, [["red"]], a=None).vectors_of([["red", "blue"], ["unknown"]]).tolist()
            [[2.0, 0.5], [0.0, 0.0]]
        """
        return self._without_common(self._means(sentences))

    def nearest(self, sentences: Sequence[Sequence[str]], k: int = 10) -> list[list[NearSentence]]:
        """Of each of Q sentences the k of the N whose vectors are most similar by the cosine, best first.

        Args:
            sentences: lists of words.
            k: how many.

        Raises:
            ValueError: `k` below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        queries = unit(self.vectors_of(sentences))
        excluded: list[tuple[int, ...]] = [()] * len(sentences)
        found = ranked(queries, self.matrix, self._inverse, k, excluded=excluded)
        return [[NearSentence(number, score) for number, score in row] for row in found]

    def _means(self, sentences: Sequence[Sequence[str]]) -> Tensor:
        """Weighted means [N, D] float64."""
        means = torch.zeros(len(sentences), self._words.dimension, dtype=torch.float64)
        known: dict[str, Tensor | None] = {}
        for row, sentence in zip(means, sentences, strict=True):
            count = 0
            for word in sentence:
                if word not in known:
                    known[word] = self._weighted(word)
                if (vector := known[word]) is not None:
                    row += vector
                    count += 1
            row /= max(count, 1)
        return means

    def _weighted(self, word: str) -> Tensor | None:
        """The vector of a word times its weight, [D] float64; None where it has none."""
        spelled = self._spelled(word)
        if spelled is None:
            return None
        vector = self._words.vector(spelled).double()
        if self._a is None:
            return vector
        return vector * (self._a / (self._a + self._counts.get(spelled, 0) / self._total))

    def _spelled(self, word: str) -> str | None:
        """The word as it has a vector, and is counted."""
        spellings = (word, word.lower()) if self._lowercase else (word,)
        return next((each for each in spellings if each in self._words), None)

    def _without_common(self, matrix: Tensor) -> Tensor:
        if self.common is None:
            return matrix.float()
        common = self.common.double()
        rest = matrix - torch.outer(matrix @ common, common)
        # Of a sentence that is nothing but the common part rounding is left, which points anywhere.
        lengths, before = rest.norm(dim=1, keepdim=True), matrix.norm(dim=1, keepdim=True)
        return rest.where(lengths > _ROUNDING * before, 0).float()
