"""Where a text's words begin and end, and how they are written one after another."""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cache

UNK, EOS = "<unk>", "<eos>"

#: Characters that join two parts of a word: apostrophes and hyphens.
_JOINERS = "'’‐‑\\-"
_CLOSING, _OPENING = frozenset(".,;:!?)]}…%’”"), frozenset("([{¿¡“")


def words(text: str) -> list[str]:
    r"""The tokens of `text`: words, other characters but white space, `UNK`, and `EOS` for newlines.

    Example:
        >>> words("Don't (re-read)\n\n<unk>!")
        ["Don't", '(', 're-read', ')', '<eos>', '<unk>', '!']
    """
    found = _tokens(marks=not _marks().isdisjoint(text)).findall(text)
    return [EOS if token[0] == "\n" else token for token in found]


def last_word_cut(text: str) -> int:
    """The last place where `text` can be cut so that no token is, or 0.

    That is before a character that is not white space, after one that is in no word, joins none, and does not
    begin "<unk>": so a run of newlines stays whole too.
    """
    return last_match(_cut(), text)


def spaced(tokens: Iterable[str]) -> Iterator[str]:
    """Tokens as text, each with the space before it; `words` of the whole gives the tokens again."""
    tight = True
    for token in tokens:
        if token == EOS:
            yield "\n"
        else:
            yield token if tight or token in _CLOSING else " " + token
        tight = token == EOS or token in _OPENING


def last_match(backwards: re.Pattern[str], text: str) -> int:
    """The place in `text` where the last match of a pattern begins, which is written from right to left."""
    found = backwards.search(text[::-1])
    return len(text) - found.end() if found else 0


#: Characters of what has to be read at once.
LONGEST_PIECE = 1 << 26


def cut_safely(chunks: Iterable[str], last_cut: Callable[[str], int]) -> Iterator[str]:
    """The same text in other chunks: each begins where `last_cut` found a place, but the first.

    `last_cut` sees every place with the character before it and the one after.

    Raises:
        ValueError: a part without such a place is longer than any word of a text, which has to be in memory.
    """
    held = ""
    for chunk in chunks:
        begin = max(len(held) - 1, 0)
        held += chunk
        if len(held) > LONGEST_PIECE + len(chunk):
            raise ValueError(
                f"more than {LONGEST_PIECE:,} characters follow one another without a place between two "
                "words, which is no text: break it into lines, or read it with level character"
            )
        if place := last_cut(held[begin:]):
            yield held[: begin + place]
            held = held[begin + place :]
    if held:
        yield held


@cache
def _marks() -> frozenset[str]:
    r"""What stands on letters or joins them, and `\w` lacks: without it words of many scripts fall apart."""
    every = map(chr, range(sys.maxunicode + 1))
    return frozenset("\u200c\u200d").union(c for c in every if unicodedata.category(c)[0] == "M")


@cache
def _tokens(*, marks: bool) -> re.Pattern[str]:
    """A token of a text with or without `_marks`: the shorter class is matched several times as fast."""
    letter = _letter() if marks else r"\w"
    return re.compile(rf"{UNK}|[{letter}]+(?:[{_JOINERS}][{letter}]+)*|\n\s*|\S")


@cache
def _cut() -> re.Pattern[str]:
    """The character that follows a place to cut, written from right to left."""
    return re.compile(rf"\S(?=[^{_letter()}{_JOINERS}<])")


def _letter() -> str:
    return r"\w" + re.escape("".join(sorted(_marks())))
