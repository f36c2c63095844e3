"""Phrases as sequences of ids: checked, and how far one that follows another is written already.

Dimension key: C phrases of a source, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, permutations
from operator import index

import torch

from pyrnn.search.config import Phrase
from pyrnn.search.decoder import check_ids

#: Phrases of a source of which one may end as another begins: each more doubles the table of their orders.
MOST_OVERLAPPING = 10

Tokens = tuple[int, ...]


def as_phrases(phrases: Iterable[Phrase], vocabulary_size: int, *, what: str) -> list[Tokens]:
    """Distinct phrases in a fixed order, a token as a phrase of one.

    Raises:
        ValueError: an empty phrase, or ids outside [0, V).

    Example:
        >>> as_phrases([3, (1, 2), [3]], 4, what="required tokens")
        [(1, 2), (3,)]
    """
    found = {(phrase,) if isinstance(phrase, int) else tuple(map(index, phrase)) for phrase in phrases}
    if () in found:
        raise ValueError(f"{what}: a phrase must have at least one token, got one of none: leave it out")
    check_ids(torch.tensor(list(chain(*found)), dtype=torch.int64), vocabulary_size, what=what)
    return sorted(found)


def contains(whole: Sequence[object], part: tuple[object, ...]) -> bool:
    """Whether `part` stands somewhere in `whole`.

    Example:
        >>> contains((1, 2, 3), (2, 3)), contains((1, 2, 3), (1, 3))
        (True, False)
    """
    n = len(part)
    return any(tuple(whole[i : i + n]) == part for i in range(len(whole) - n + 1))


def without_parts(phrases: Sequence[Tokens]) -> list[Tokens]:
    """The phrases that are in no other one: whoever writes these has written all.

    Example:
        >>> without_parts([(1, 2), (1, 2, 3), (3,), (4,)])
        [(1, 2, 3), (4,)]
    """
    return [own for own in phrases if not any(own != other and contains(other, own) for other in phrases)]


def overlap(left: Tokens, right: Tokens) -> int:
    """The most tokens in which `left` ends and `right` begins, neither being in the other.

    Example:
        >>> overlap((1, 2, 3), (2, 3, 4))
        2
    """
    longest = min(len(left), len(right)) - 1
    return next((n for n in range(longest, 0, -1) if left[-n:] == right[:n]), 0)


def savings(phrases: Sequence[Tokens]) -> tuple[list[int], list[list[int]]]:
    """What writing phrases one into another saves, at best.

    The order that saves most is that of their shortest common superstring, found by dynamic programming over
    the sets of phrases yet to be written; those that overlap no other save nothing in any set.

    Args:
        phrases: C, none of which is in another.

    Returns:
        A bit of each phrase, 0 for one that overlaps no other; and saved[m][c], the tokens that are saved in
        writing the phrases whose bits are in m behind phrase c.

    Raises:
        ValueError: more than `MOST_OVERLAPPING` that overlap.

    Example:
        >>> bits, saved = savings([(1, 2), (2, 3), (4,)])
        >>> bits, saved[0b10]
        ([1, 2, 0], [1, 0, 0])
    """
    shared = [[overlap(a, b) if a != b else 0 for b in phrases] for a in phrases]
    pairs = permutations(range(len(phrases)), 2)
    linked = {place for left, right in pairs if shared[left][right] for place in (left, right)}
    if len(linked) > MOST_OVERLAPPING:
        raise ValueError(
            f"{len(linked)} required phrases end as another one begins, and at most {MOST_OVERLAPPING} may: "
            "require fewer"
        )
    bits = [0] * len(phrases)
    for number, place in enumerate(sorted(linked)):
        bits[place] = 1 << number
    saved = [[0] * len(phrases)]
    for m in range(1, 1 << len(linked)):
        members = [d for d, bit in enumerate(bits) if m & bit]
        saved.append([max(row[d] + saved[m ^ bits[d]][d] for d in members) for row in shared])
    return bits, saved
