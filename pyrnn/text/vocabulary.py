"""A vocabulary: the distinct symbols of a corpus, numbered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


class Vocabulary:
    """Symbols and their ids: `symbols[i]` has id i.

    A symbol is any non-empty string; a Python string given where symbols are expected is its characters.

    Args:
        symbols: distinct, in the order of their ids.

    Raises:
        ValueError: no symbols, a symbol twice, or an empty one.
        TypeError: a symbol that is not a string.

    Example:
        >>> vocabulary = Vocabulary.from_text("to be or not to be")
        >>> len(vocabulary)
        7
        >>> vocabulary.decode(vocabulary.encode("root"))
        'root'
    """

    def __init__(self, symbols: Iterable[str]) -> None:
        self.symbols = tuple(symbols)
        for symbol in self.symbols:
            if not isinstance(symbol, str):
                raise TypeError(f"symbols must be strings, got {type(symbol).__name__}: {symbol!r}")
        if not self.symbols:
            raise ValueError("a vocabulary needs at least one symbol, got none")
        if "" in self.symbols:
            raise ValueError("a symbol must not be the empty string")
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        if len(self._ids) != len(self.symbols):
            twice = next(s for i, s in enumerate(self.symbols) if self._ids[s] != i)
            raise ValueError(f"symbols must be distinct, got {twice!r} more than once")

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The distinct characters of `text`, sorted by code point.

        Raises:
            ValueError: the text is empty, or repeats a single character, which leaves nothing to predict.
        """
        characters = sorted(set(text))
        if not characters:
            raise ValueError("the text is empty: there are no characters to build a vocabulary from")
        if len(characters) == 1:
            raise ValueError(
                f"the text has only one distinct character, {characters[0]!r}: there is nothing to predict; "
                "give a text with at least two"
            )
        return cls(characters)

    def __len__(self) -> int:
        return len(self.symbols)

    def __contains__(self, symbol: object) -> bool:
        return symbol in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def __hash__(self) -> int:
        return hash(self.symbols)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} symbols)"

    def encode(self, symbols: Sequence[str]) -> Tensor:
        """Ids [N] int64 of N symbols.

        Raises:
            ValueError: some symbols are not in the vocabulary; the message names them.
        """
        ids = self._ids
        try:
            return torch.tensor([ids[symbol] for symbol in symbols], dtype=torch.int64)
        except KeyError:
            unknown = sorted({symbol for symbol in symbols if symbol not in ids})
            shown = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            raise ValueError(
                f"{len(unknown)} symbols are not in the vocabulary: {shown}; remove them, or build the "
                "vocabulary from a text that has them"
            ) from None

    def decode(self, ids: Tensor | Iterable[int]) -> str:
        """The symbols of `ids` [N], joined.

        Raises:
            ValueError: an id outside [0, len(self)).
        """
        numbers = [int(i) for i in ids]
        for i in numbers:
            if not 0 <= i < len(self.symbols):
                raise ValueError(f"ids must lie in [0, {len(self.symbols)}), got {i}")
        return "".join(self.symbols[i] for i in numbers)
