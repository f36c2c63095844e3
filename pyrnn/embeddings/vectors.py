"""Words and their vectors: kept in a folder, asked for neighbours, similarities and analogies.

Dimension key: N words, D dimensions, Q queries.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import get_args, overload

import numpy as np
import torch
from torch import Tensor

from pyrnn.embeddings.configs import VECTORS, AnalogyMethod
from pyrnn.embeddings.neighbours import (
    LARGEST,
    Neighbour,
    blocks_of,
    inverse_lengths,
    ranked,
    solve,
    unit,
)
from pyrnn.embeddings.ngrams import CharacterNgrams
from pyrnn.embeddings.spelling import UnknownWord, near_spellings
from pyrnn.embeddings.stored import open_stored, writing
from pyrnn.embeddings.words import WordList

_QUERIES = 256  # at once: their scores of a block of the matrix are in memory


class WordVectors:
    """Words and a vector for each.

    Similarity is the cosine: sim(u, v) = u . v / (|u| |v|), and 0 where one of the two is all zeros. All
    neighbours are exact: every word is looked at.

    Args:
        words: N distinct words, the most frequent first where that is known.
        matrix: [N, D] float32 on the CPU, a row for each; it is kept, not copied.
        ngrams: vectors of character n-grams, from which a word that is not among the words gets its own.

    Attributes:
        words, matrix, ngrams: as given; the words as a `WordList`.

    Raises:
        ValueError: other shapes or dtypes, no words, a word twice.

    Example:
        >>> vectors = WordVectors.from_arrays(["king", "queen", "car"], [[1, 0.5], [1, 0.75], [-1, 0.5]])
        >>> vectors["queen"], "queen" in vectors, len(vectors), vectors.dimension
        (tensor([1.0000, 0.7500]), True, 3, 2)
        >>> [neighbour.word for neighbour in vectors.nearest("king")]
        ['queen', 'car']
    """

    def __init__(
        self, words: Iterable[str], matrix: Tensor, *, ngrams: CharacterNgrams | None = None
    ) -> None:
        self.words, self.matrix, self.ngrams = WordList.of(words), matrix, ngrams
        if matrix.dtype != torch.float32 or matrix.device.type != "cpu":
            raise ValueError(f"a matrix must be float32 on the CPU, got {matrix.dtype} on {matrix.device}")
        if matrix.dim() != 2 or matrix.shape[0] != len(self.words) or 0 in matrix.shape:
            raise ValueError(
                f"{len(self.words):,} words need a matrix [{len(self.words)}, D] with D >= 1, "
                f"got {list(matrix.shape)}"
                if len(self.words)
                else "there must be at least one word, got none"
            )
        if ngrams is not None and ngrams.matrix.shape[1] != matrix.shape[1]:
            raise ValueError(
                f"n-grams must have {matrix.shape[1]} dimensions as the words, got {ngrams.matrix.shape[1]}"
            )

    @classmethod
    def from_arrays(
        cls, words: Iterable[str], matrix: object, *, ngrams: CharacterNgrams | None = None
    ) -> WordVectors:
        """From words and any array of numbers [N, D], which are copied as float32 where they are not yet.

        Args:
            words: as of the class.
            matrix: a tensor, an array, or a list of lists.
            ngrams: as of the class.

        Raises:
            ValueError: as of the class, or a number that is not finite or beyond 1e16.

        Example:
            >>> WordVectors.from_arrays(["a", "b"], np.eye(2))["b"]
            tensor([0., 1.])
        """
        rows = matrix if isinstance(matrix, Tensor) else torch.from_numpy(np.array(matrix, dtype=np.float32))
        made = cls(words, rows.detach().to("cpu", torch.float32).contiguous(), ngrams=ngrams)
        for part in blocks_of(made.matrix):
            made._require_numbers(range(part.start, min(part.stop, len(made))))
        return made

    @classmethod
    def load(cls, folder: str | Path) -> WordVectors:
        """The vectors that `save` wrote; the matrix is mapped into memory, not read.

        Raises:
            FileNotFoundError: there are none.
            ValueError: the file is damaged, or holds something else; the message names it.

        Example:
            >>> import tempfile
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     WordVectors.from_arrays(["a", "b"], np.eye(2)).save(folder)
            ...     WordVectors.load(folder)["b"]
            tensor([0., 1.])
        """
        stored = open_stored(Path(folder) / VECTORS)
        return cls(stored.words, stored.matrix, ngrams=stored.ngrams)

    def save(self, folder: str | Path) -> None:
        """Write the file `vectors.safetensors` of a folder, in its place whole or not at all.

        Raises:
            OSError: the folder cannot be written, or the disk is full; an old file stays.
        """
        with writing(Path(folder), self.dimension) as writer:
            for part in blocks_of(self.matrix):
                words = [word.encode() for word in self.words[part]]
                writer.add(words, self.matrix[part].numpy())
            writer.finish(self.ngrams)

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self.words

    @overload
    def __getitem__(self, word: str) -> Tensor: ...
    @overload
    def __getitem__(self, word: Sequence[str]) -> Tensor: ...
    def __getitem__(self, word: str | Sequence[str]) -> Tensor:
        """The vector of a word, [D], or of several, [n, D].

        Raises:
            UnknownWord: one has none; words that are spelled almost like it are named.
        """
        if isinstance(word, str):
            return self.vector(word)
        return torch.stack([self.vector(each) for each in word]) if word else self.matrix[:0].clone()

    @property
    def dimension(self) -> int:
        """D."""
        return self.matrix.shape[1]

    def index(self, word: str) -> int:
        """The row of a word.

        Raises:
            UnknownWord: it has none.
        """
        number = self.words.find(word)
        if number is None:
            raise UnknownWord(word, near_spellings(word, self.words))
        return number

    def vector(self, word: str) -> Tensor:
        """A copy of a word's vector, [D]; with `ngrams` a word that is not among the words has one, too.

        Raises:
            UnknownWord: it has none.
        """
        number = self.words.find(word)
        if number is not None:
            self._require_numbers((number,))
            return self.matrix[number].clone()
        made = None if self.ngrams is None else self.ngrams.vector(word)
        if made is None:
            raise UnknownWord(word, near_spellings(word, self.words))
        return made

    @cached_property
    def inverse_lengths(self) -> Tensor:
        """1 / |row| of each word, [N]; 0 of a row of zeros. Computed when it is first asked for."""
        inverse = torch.empty(len(self))
        for part in blocks_of(self.matrix):
            inverse[part] = inverse_lengths(
                self.matrix[part], lambda row, part=part: self._damaged(part.start + row)
            )
        return inverse

    def nearest(self, query: str | Tensor, k: int = 10) -> list[Neighbour]:
        """The k words whose vectors are most similar to a word's, which is not among them, or to a vector.

        Args:
            query: a word, or any vector [D].
            k: how many.

        Raises:
            UnknownWord: the word has no vector.
            ValueError: `k` below 1, or a vector of another shape.

        Example:
            >>> vectors = WordVectors.from_arrays(["a", "b", "c"], [[1, 0], [1, 1], [0, 2]])
            >>> vectors.nearest("a", 1), vectors.nearest(torch.tensor([0.0, 1.0]), 1)
            ([Neighbour(word='b', score=0.707...)], [Neighbour(word='c', score=1.0)])
        """
        return self.nearest_of([query] if isinstance(query, str) else query.unsqueeze(0), k)[0]

    def nearest_of(self, queries: Sequence[str] | Tensor, k: int = 10) -> list[list[Neighbour]]:
        """As `nearest`, for Q words, or vectors [Q, D], at once: the matrix is read once for 256 of them.

        Args:
            queries: words, or vectors.
            k: how many neighbours of each.

        Raises:
            UnknownWord: a word has no vector.
            ValueError: `k` below 1, or vectors of another shape.

        Example:
            >>> vectors = WordVectors.from_arrays(["a", "b", "c"], [[1, 0], [1, 1], [0, 2]])
            >>> [[best.word for best in found] for found in vectors.nearest_of(["a", "b"], 2)]
            [['b', 'c'], ['a', 'c']]
        """
        _require_count(k)
        excluded: list[Collection[int]] = [()] * len(queries)
        if isinstance(queries, Tensor):
            rows = queries.detach().to("cpu", torch.float32)
            if rows.dim() != 2 or rows.shape[1] != self.dimension:
                raise ValueError(f"expected vectors [Q, {self.dimension}], got {list(queries.shape)}")
        else:
            rows = self[queries]
            excluded = [() if (found := self.words.find(word)) is None else (found,) for word in queries]
        inverse = self.inverse_lengths
        return [
            self._named(found)
            for begin in range(0, len(queries), _QUERIES)
            for found in ranked(
                unit(rows[begin : begin + _QUERIES]),
                self.matrix,
                inverse,
                k,
                excluded=excluded[begin : begin + _QUERIES],
            )
        ]

    def similarity(self, first: str, second: str) -> float:
        """The cosine of two words' vectors, computed in float64.

        Raises:
            UnknownWord: one has no vector.
        """
        return self.similarities([(first, second)])[0]

    def similarities(self, pairs: Sequence[tuple[str, str]]) -> list[float]:
        """The similarity of each pair of words, computed in float64.

        Raises:
            UnknownWord: a word has no vector.

        Example:
            >>> vectors = WordVectors.from_arrays(["a", "b", "c"], [[1, 0], [3, 3], [0, 2]])
            >>> vectors.similarities([("a", "b"), ("a", "c")])
            [0.707..., 0.0]
        """
        first, second = (unit(self[[pair[side] for pair in pairs]].double()) for side in (0, 1))
        return (first * second).sum(1).tolist()

    def analogy(
        self, a: str, b: str, c: str, k: int = 10, *, method: AnalogyMethod = "add"
    ) -> list[Neighbour]:
        """What is to `c` as `b` is to `a`: the k best words, none of the three among them.

            add:       sim(x, b - a + c), of unit vectors (3CosAdd)
            multiply:  s(x, b) s(x, c) / (s(x, a) + 0.001) with s = (sim + 1) / 2 (3CosMul)

        Args:
            a: the first word, say "man".
            b: what is to it, say "king".
            c: what the answer is to be to, say "woman".
            k: how many answers.
            method: how they are scored.

        Raises:
            UnknownWord: one of the three is not among the words.
            ValueError: `k` below 1, or another method.

        Source: Levy and Goldberg, "Linguistic regularities in sparse and explicit word representations",
        2014, equations 3 and 4.

        Example:
            >>> words, rows = ["man", "king", "woman", "queen"], [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1]]
            >>> WordVectors.from_arrays(words, rows).analogy("man", "king", "woman")[0].word
            'queen'
        """
        return self.analogies([(a, b, c)], k, method=method)[0]

    def analogies(
        self, questions: Sequence[tuple[str, str, str]], k: int = 10, *, method: AnalogyMethod = "add"
    ) -> list[list[Neighbour]]:
        """As `analogy`, for several questions (a, b, c) at once.

        Args:
            questions: the words of each.
            k: answers of each.
            method: how they are scored.

        Raises:
            UnknownWord: a word is not among the words.
            ValueError: `k` below 1, or another method.
        """
        _require_count(k)
        if method not in get_args(AnalogyMethod):
            raise ValueError(f"method must be one of {', '.join(get_args(AnalogyMethod))}, got {method!r}")
        rows = torch.tensor([[self.index(word) for word in question] for question in questions])
        inverse = self.inverse_lengths
        return [
            self._named(found)
            for part in rows.split(_QUERIES)
            if len(part)
            for found in solve(part, self.matrix, inverse, k, method=method)
        ]

    def odd_one_out(self, words: Sequence[str]) -> str:
        """The word that is least similar to the mean of the unit vectors of all; of equal ones the first.

        Raises:
            UnknownWord: one has no vector.
            ValueError: fewer than three words.

        Example:
            >>> vectors = WordVectors.from_arrays(["a", "b", "c"], [[1, 0], [0.9, 0.1], [0, 2]])
            >>> vectors.odd_one_out(["a", "b", "c"])
            'c'
        """
        if len(words) < 3:
            raise ValueError(f"an odd one is found among at least 3 words, got {len(words)}")
        rows = unit(self[words].double())
        return words[int((rows @ rows.mean(0)).argmin())]

    def _named(self, found: list[tuple[int, float]]) -> list[Neighbour]:
        return [Neighbour(self.words[number], score) for number, score in found]

    def _require_numbers(self, rows: Sequence[int]) -> None:
        """Refuse rows that hold no vector, and name the word of the first."""
        part = self.matrix[rows.start : rows.stop] if isinstance(rows, range) else self.matrix[list(rows)]
        if not bool((part.abs() <= LARGEST).all()):
            raise self._damaged(rows[int((~(part.abs() <= LARGEST)).any(1).nonzero()[0])])

    def _damaged(self, row: int) -> ValueError:
        return ValueError(
            f"the vector of {self.words[row]!r} (row {row + 1}) has a number that is not finite or is beyond "
            f"{LARGEST:g}: the vectors are damaged, make or fetch them again"
        )


def _require_count(k: int) -> None:
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
