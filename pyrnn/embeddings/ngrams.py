"""Vectors of words that were never seen, from the characters that they are made of.

Source: Bojanowski et al., "Enriching word vectors with subword information", 2017, section 3.2; the hash, and
which n-grams a word has, are those of the program fastText.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_FIRST, _FACTOR, _32_BITS = 2166136261, 16777619, 0xFFFFFFFF  # of FNV-1a
_LONGEST_NGRAM = 1000


def hash_of(ngram: bytes) -> int:
    """FNV-1a of 32 bits, whose bytes above 127 are extended with their sign, as the program fastText does.

    Example:
        >>> hash_of(b""), hash_of(b"a")
        (2166136261, 3826002220)
    """
    value = _FIRST
    for byte in ngram:
        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * _FACTOR) & _32_BITS
    return value


def ngrams_of(word: str, shortest: int, longest: int) -> list[str]:
    """The character n-grams of <word>, from left to right; a bracket alone is none.

    Example:
        >>> ngrams_of("be", 2, 3)
        ['<b', '<be', 'be', 'be>', 'e>']
    """
    text = f"<{word}>"
    return [
        text[begin : begin + length]
        for begin in range(len(text))
        for length in range(shortest, longest + 1)
        if begin + length <= len(text) and not (length == 1 and begin in (0, len(text) - 1))
    ]


@dataclass(frozen=True)
class CharacterNgrams:
    """The vectors of n-grams, each at the row that its hash points to.

    A word's vector is the mean of the rows of its n-grams, which may share rows.

    Args:
        matrix: [B, D] float32.
        shortest: characters of the shortest n-grams.
        longest: those of the longest ones.

    Raises:
        ValueError: no rows, or bounds that are none.

    Example:
        >>> ngrams = CharacterNgrams(torch.ones(7, 2), shortest=3, longest=6)
        >>> ngrams.vector("unseen")
        tensor([1., 1.])
    """

    matrix: Tensor
    shortest: int
    longest: int

    def __post_init__(self) -> None:
        if self.matrix.dim() != 2 or 0 in self.matrix.shape or self.matrix.dtype != torch.float32:
            raise ValueError(
                f"n-grams need a matrix [B, D] of float32, got {list(self.matrix.shape)} {self.matrix.dtype}"
            )
        if not 1 <= self.shortest <= self.longest <= _LONGEST_NGRAM:
            raise ValueError(
                f"n-grams need 1 <= shortest <= longest <= {_LONGEST_NGRAM}, got {self.shortest} "
                f"and {self.longest}"
            )

    def rows(self, word: str) -> list[int]:
        """The rows of a word's n-grams; none where it is shorter than any."""
        found = ngrams_of(word, self.shortest, self.longest)
        return [hash_of(ngram.encode(errors="surrogatepass")) % self.matrix.shape[0] for ngram in found]

    def vector(self, word: str) -> Tensor | None:
        """The mean of the rows of its n-grams, [D]; None where it has none."""
        rows = self.rows(word)
        return self.matrix[rows].mean(0) if rows else None
