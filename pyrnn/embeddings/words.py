"""The words of a set of vectors: one block of UTF-8, of which each word is a piece, found by binary search.

A million words are three arrays and no million objects of Python, so that they are read from a file as fast
as their bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from operator import index as as_index
from typing import overload

import numpy as np
from numpy.typing import NDArray

_LONGEST_WORD = 1 << 16  # bytes


class WordList(Sequence[str]):
    """Distinct words in their order, most frequent first where that is known.

    A word is found by about log2(N) comparisons; the words are Python strings only when they are asked for.

    Args:
        text: the words one after another, bytes of UTF-8.
        ends: [N] int64, where in it each word ends.
        order: [N] int32, the numbers of the words sorted by their bytes.

    Raises:
        ValueError: the arrays do not fit one another: they come from a damaged file.

    Example:
        >>> words = WordList.of(["the", "of", "été"])
        >>> len(words), words[2], words.find("of"), words.find("and"), "the" in words
        (3, 'été', 1, None, True)
    """

    def __init__(self, text: bytes, ends: NDArray[np.int64], order: NDArray[np.int32]) -> None:
        self._text, self.ends, self.order = text, ends, order
        self._check()

    @classmethod
    def of(cls, words: Iterable[str]) -> WordList:
        """From strings.

        Raises:
            ValueError: an empty word, one that UTF-8 cannot hold, or one that comes twice.
        """
        return words if isinstance(words, WordList) else cls.of_bytes([_encoded(word) for word in words])

    @classmethod
    def of_bytes(cls, words: Sequence[bytes]) -> WordList:
        """From the words' bytes.

        Raises:
            ValueError: an empty word, one that is not UTF-8, or one that comes twice.
        """
        order = np.array(sorted(range(len(words)), key=words.__getitem__), dtype=np.int32)
        for first, second in pairwise(order.tolist()):
            if words[first] == words[second]:
                raise ValueError(
                    f"words must be distinct, got {words[first].decode(errors='replace')!r} as number "
                    f"{first + 1} and number {second + 1}"
                )
        ends = np.cumsum(np.fromiter(map(len, words), dtype=np.int64, count=len(words)), dtype=np.int64)
        return cls(b"".join(words), ends, order)

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self._bytes(i).decode() for i in range(*place.indices(len(self)))]
        i = as_index(place)
        if not -len(self) <= i < len(self):
            raise IndexError(f"word {i} of {len(self)}")
        return self._bytes(i % len(self)).decode()

    def __iter__(self) -> Iterator[str]:
        begin = 0
        for end in self.ends.tolist():
            yield self._text[begin:end].decode()
            begin = end

    def __contains__(self, word: object) -> bool:
        return isinstance(word, str) and self.find(word) is not None

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, WordList)
            and self._text == other._text
            and bool(np.array_equal(self.ends, other.ends))
        )

    __hash__ = None  # pyright: ignore[reportAssignmentType]  as of a list

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:5]))
        return f"WordList([{shown}{', ...' if len(self) > 5 else ''}], {len(self):,} words)"

    @property
    def text(self) -> bytes:
        """As of the class."""
        return self._text

    def find(self, word: str) -> int | None:
        """The number of a word, or None where it is not among the words."""
        sought = word.encode("utf-8", errors="surrogatepass")  # half a pair is in no list
        place = self._place(sought)
        if place < len(self) and self._bytes(found := int(self.order[place])) == sought:
            return found
        return None

    def starting_with(self, prefix: str, most: int) -> list[int]:
        """The numbers of words that begin with `prefix`, in the order of their bytes, `most` at the most."""
        sought = prefix.encode("utf-8", errors="surrogatepass")
        found: list[int] = []
        for place in range(self._place(sought), len(self)):
            number = int(self.order[place])
            if len(found) == most or not self._bytes(number).startswith(sought):
                break
            found.append(number)
        return found

    def _place(self, sought: bytes) -> int:
        """Where in `order` the first word stands that is not before `sought`."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes(int(self.order[middle])) < sought:
                low = middle + 1
            else:
                high = middle
        return low

    def _bytes(self, number: int) -> bytes:
        return self._text[int(self.ends[number - 1]) if number else 0 : int(self.ends[number])]

    def _check(self) -> None:
        text = np.frombuffer(self._text, dtype=np.uint8)
        begins = np.concatenate([np.zeros(1, np.int64), self.ends])
        lengths = np.diff(begins)
        if begins[-1] != len(text) or not (lengths > 0).all():
            raise ValueError("a word must not be empty, and the last must end with the text of all")
        if len(lengths) and lengths.max() > _LONGEST_WORD:
            raise ValueError(
                f"a word has {lengths.max():,} bytes, more than the {_LONGEST_WORD:,} that it may"
            )
        try:
            self._text.decode()
        except UnicodeDecodeError as error:
            number = int(np.searchsorted(self.ends, error.start, side="right"))
            raise ValueError(f"word number {number + 1} is not UTF-8 ({error.reason})") from None
        # Each word by itself, too: none begins with what continues a character.
        if len(text) and ((inside := (text[begins[:-1]] & 0xC0) == 0x80).any()):
            raise ValueError(f"word number {int(inside.argmax()) + 1} begins inside a character")
        if len(self.order) != len(self) or not _is_permutation(self.order):
            raise ValueError("the sorted numbers of the words must be each number once")


def _is_permutation(order: NDArray[np.int32]) -> bool:
    if len(order) and (order.min() < 0 or order.max() >= len(order)):
        return False
    return bool((np.bincount(order, minlength=len(order)) == 1).all())


def _encoded(word: str) -> bytes:
    if not isinstance(word, str):
        raise TypeError(f"words must be strings, got {type(word).__name__}: {word!r}")
    try:
        return word.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a word must be valid Unicode, got {word!r}") from None
