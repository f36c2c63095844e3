"""A vocabulary: the distinct tokens of a corpus, numbered."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from operator import index

import numpy as np
import torch
from torch import Tensor


class _IdsWithUnknown(dict[str, int]):
    """Ids of tokens; every other token has the id of the unknown one."""

    def __init__(self, ids: Mapping[str, int], unk_id: int) -> None:
        super().__init__(ids)
        self._unk_id = unk_id

    def __missing__(self, token: str) -> int:
        return self._unk_id


class Vocabulary:
    """Tokens and their ids: `tokens[i]` has id i.

    A token is any non-empty string; a Python string given where tokens are expected is its characters.

    Args:
        tokens: distinct, in the order of their ids.
        unk: the one that stands for all tokens outside the vocabulary.
        eos: the one that ends a line or sentence.

    Attributes:
        tokens: as given.
        unk_id, eos_id: the ids of `unk` and `eos`, or None.

    Raises:
        ValueError: no tokens, a token twice, an empty one, one that UTF-8 cannot hold (half a surrogate
            pair), or `unk` or `eos` not among them, or the same.
        TypeError: a token that is not a string.

    Example:
        >>> vocabulary = Vocabulary(["<unk>", "to", "be"], unk="<unk>")
        >>> vocabulary.encode(["to", "see"]).tolist()
        [1, 0]
        >>> vocabulary.tokens_of([1, 2])
        ['to', 'be']
    """

    def __init__(self, tokens: Iterable[str], *, unk: str | None = None, eos: str | None = None) -> None:
        self.tokens = tuple(tokens)
        for token in self.tokens:
            if not isinstance(token, str):
                raise TypeError(f"tokens must be strings, got {type(token).__name__}: {token!r}")
        if not self.tokens:
            raise ValueError("a vocabulary needs at least one token, got none")
        if "" in self.tokens:
            raise ValueError("a token must not be the empty string")
        try:
            "\0".join(self.tokens).encode("utf-8")
        except UnicodeEncodeError as error:
            raise ValueError(f"a token must be valid Unicode, got {error.object[error.start]!r}") from None
        ids = {token: i for i, token in enumerate(self.tokens)}
        if len(ids) != len(self.tokens):
            twice = next(s for i, s in enumerate(self.tokens) if ids[s] != i)
            raise ValueError(f"tokens must be distinct, got {twice!r} more than once")
        for name, special in (("unk", unk), ("eos", eos)):
            if special is not None and special not in ids:
                raise ValueError(f"{name} must be one of the tokens, got {special!r}")
        if unk is not None and unk == eos:
            raise ValueError(f"unk and eos must differ, got {unk!r} for both")
        self.unk = unk
        self.eos = eos
        self.unk_id = None if unk is None else ids[unk]
        self.eos_id = None if eos is None else ids[eos]
        self._ids = ids if self.unk_id is None else _IdsWithUnknown(ids, self.unk_id)

    @classmethod
    def build(
        cls,
        tokens: Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        unk: str | None = None,
        eos: str | None = None,
    ) -> Vocabulary:
        """The most frequent of `tokens`: `from_counts` of how often each occurs.

        Example:
            >>> Vocabulary.build("to be or not to be".split(), max_size=3, unk="<unk>").tokens
            ('<unk>', 'be', 'to')
        """
        return cls.from_counts(Counter(tokens), max_size=max_size, min_count=min_count, unk=unk, eos=eos)

    @classmethod
    def from_counts(
        cls,
        counts: Mapping[str, int],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        unk: str | None = None,
        eos: str | None = None,
    ) -> Vocabulary:
        """The most frequent tokens: `unk` and `eos` first, then by falling count, equal ones by code point.

        Args:
            counts: how often each token occurs.
            max_size: tokens to keep, `unk` and `eos` included; None keeps all.
            min_count: tokens that occur less often are left out.
            unk: as of the class; in the vocabulary whether it occurs or not.
            eos: likewise.

        Raises:
            ValueError: `min_count` below one, a `max_size` with no room beside `unk` and `eos`, or no token
                is left.
        """
        specials = [special for special in (unk, eos) if special is not None]
        if min_count < 1:
            raise ValueError(f"min_count must be at least 1, got {min_count}")
        if max_size is not None and max_size <= len(specials):
            raise ValueError(
                f"max_size must be at least {len(specials) + 1}"
                + (f" ({' and '.join(map(repr, specials))} take a place each)" if specials else "")
                + f", got {max_size}"
            )
        kept = [s for s, count in counts.items() if count >= min_count and s not in specials]
        kept.sort(key=lambda token: (-counts[token], token))
        return cls([*specials, *kept][:max_size], unk=unk, eos=eos)

    @classmethod
    def from_text(cls, text: str) -> Vocabulary:
        """The distinct characters of `text`, sorted by code point.

        Raises:
            ValueError: the text is empty, or repeats a single character, which leaves nothing to predict.

        Example:
            >>> len(Vocabulary.from_text("to be or not to be"))
            7
        """
        characters = sorted(set(text))
        refuse_uniform(characters, "character")
        return cls(characters)

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._content == other._content

    def __hash__(self) -> int:
        return hash(self._content)

    @property
    def _content(self) -> tuple[object, ...]:
        return self.tokens, self.unk, self.eos

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"

    def encode(self, tokens: Sequence[str]) -> Tensor:
        """Ids [N] int64 of N tokens; those outside the vocabulary become `unk` where there is one.

        Raises:
            ValueError: there is no `unk`, and some tokens are not in the vocabulary; the message names them.
        """
        ids = self._ids
        try:
            return torch.from_numpy(np.fromiter(map(ids.__getitem__, tokens), np.int64, len(tokens)))
        except KeyError:
            unknown = sorted({token for token in tokens if token not in ids})
            shown = ", ".join(map(repr, unknown[:10])) + (", ..." if len(unknown) > 10 else "")
            raise ValueError(
                f"{len(unknown)} tokens are not in the vocabulary: {shown}; remove them, or build a "
                "vocabulary that has them or an unk: that of a model trained anew has <unk>"
            ) from None

    def tokens_of(self, ids: Tensor | Iterable[int]) -> list[str]:
        """The tokens of `ids` [N].

        Raises:
            ValueError: an id outside [0, len(self)).
            TypeError: an id that is not an integer.
        """
        numbers = [index(i) for i in (ids.tolist() if isinstance(ids, Tensor) else ids)]
        for i in numbers:
            if not 0 <= i < len(self.tokens):
                raise ValueError(f"ids must lie in [0, {len(self.tokens)}), got {i}")
        return [self.tokens[i] for i in numbers]

    def one_hot(self, ids: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows of the unit matrix: [..., V] with a one at each id, on the device of `ids` [...].

        Raises:
            ValueError: `ids` are not integers, or outside [0, V).

        Example:
            >>> Vocabulary("abc").one_hot(torch.tensor([2, 0])).tolist()
            [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
        """
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise ValueError(f"ids must be integers, got {ids.dtype}")
        if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= len(self)):
            raise ValueError(f"ids must lie in [0, {len(self)}), got {int(ids.min())} to {int(ids.max())}")
        rows = torch.zeros(*ids.shape, len(self), dtype=dtype, device=ids.device)
        return rows.scatter_(-1, ids.long().unsqueeze(-1), 1)


def refuse_uniform(tokens: Collection[str], kind: str) -> None:
    """Refuse a text whose distinct `tokens` are fewer than two: it leaves nothing to predict."""
    if not tokens:
        raise ValueError(f"the text is empty: there are no {kind}s to build a vocabulary from")
    if len(tokens) == 1:
        raise ValueError(
            f"the text has only one distinct {kind}, {next(iter(tokens))!r}: there is nothing to predict; "
            "give a text with at least two"
        )
