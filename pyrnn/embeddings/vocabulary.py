"""The words of a corpus with their counts, most frequent first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyrnn._configuration import from_mapping
from pyrnn._files import read_json, to_json, write_text


@dataclass(frozen=True)
class _Listed:
    """As a file holds it."""

    words: list[str]
    counts: list[int]


@dataclass(frozen=True)
class CountedVocabulary:
    """Words and how often each occurs: `words[i]` has id i.

    Words are sorted by falling count, equal ones by code points, so that ids depend on the corpus alone.

    Args:
        words: distinct.
        counts: of each, at least 1, none larger than the one before it.

    Raises:
        ValueError: no words, one twice, empty or no text, or counts that do not fit them.

    Example:
        >>> vocabulary = CountedVocabulary.of({"be": 2, "to": 2, "or": 1, "not": 1}, min_count=2)
        >>> vocabulary.words, vocabulary.counts.tolist(), vocabulary.find("to")
        (('be', 'to'), [2, 2], 1)
    """

    words: tuple[str, ...]
    counts: Tensor
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __init__(self, words: Iterable[str], counts: Tensor | Sequence[int]) -> None:
        object.__setattr__(self, "words", tuple(words))
        object.__setattr__(self, "counts", torch.as_tensor(counts, dtype=torch.int64))
        object.__setattr__(self, "_ids", {word: id for id, word in enumerate(self.words)})
        if not self.words:
            raise ValueError("a vocabulary needs at least one word, got none")
        _require_text(self.words)
        if "" in self._ids or len(self._ids) != len(self.words):
            raise ValueError("the words of a vocabulary must be distinct, and none of them empty")
        if self.counts.shape != (len(self.words),):
            raise ValueError(f"expected a count of each of {len(self.words)} words, got {len(self.counts)}")
        if int(self.counts[-1]) < 1 or bool((self.counts.diff() > 0).any()):
            raise ValueError("counts must be at least 1, and none larger than the one before it")

    @classmethod
    def of(
        cls, counts: dict[str, int], *, min_count: int = 1, max_size: int | None = None
    ) -> CountedVocabulary:
        """The most frequent words.

        Args:
            counts: how often each word occurs.
            min_count: words that occur less often are left out.
            max_size: words to keep; None keeps all.

        Raises:
            ValueError: a bound below one, a word that is no text, or no word is left.
        """
        for name, bound in (("min_count", min_count), ("max_size", max_size)):
            if bound is not None and bound < 1:
                raise ValueError(f"{name} must be at least 1, got {bound}")
        if not counts:
            raise ValueError("the corpus has no words: give a text with some")
        _require_text(counts)
        kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)[:max_size]
        if not kept:
            raise ValueError(
                f"none of the {len(counts):,} distinct words occurs {min_count} times, the most frequent "
                f"{max(counts.values()):,}: lower min_count, or give a longer text"
            )
        return cls((word for _, word in kept), [-count for count, _ in kept])

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    def find(self, word: str) -> int | None:
        """The id of a word, None where there is none."""
        return self._ids.get(word)

    def ids_of(self, words: Sequence[str]) -> np.ndarray:
        """Ids [N] int32 of N words, -1 for those outside the vocabulary."""
        return np.fromiter((self._ids.get(word, -1) for word in words), np.int32, len(words))

    @property
    def total(self) -> int:
        """Running words."""
        return int(self.counts.sum())

    def save(self, path: str | Path) -> None:
        """Write it as JSON: {"words": [...], "counts": [...]}.

        Raises:
            OSError: the folder cannot be written.
        """
        listed = {"words": list(self.words), "counts": self.counts.tolist()}
        write_text(Path(path), to_json(listed) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> CountedVocabulary:
        """What `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is damaged.
        """
        listed = from_mapping(_Listed, read_json(Path(path)), where=str(path))
        try:
            return cls(listed.words, listed.counts)
        except (ValueError, OverflowError, RuntimeError) as error:
            raise ValueError(f"{path}: {error}") from error


def _require_text(words: Iterable[object]) -> None:
    for word in words:
        if not isinstance(word, str):
            raise ValueError(f"words must be strings, got {word!r}: convert them first")
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ValueError(
                f"words must be text that UTF-8 can hold, got {word!r}: leave out lone surrogates"
            ) from error
