"""How many tokens phrases take that may be written into one another."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations, product
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn.search.constraints import RequiredPhrases, make_required
from pyrnn.search.phrases import MOST_OVERLAPPING, contains, savings

CPU = torch.device("cpu")


def phrases(last: int, *, longest: int) -> st.SearchStrategy[tuple[int, ...]]:
    """Phrases of the tokens 1 to `last`."""
    return st.lists(st.integers(1, last), min_size=1, max_size=longest).map(tuple)


def fewest(written: Sequence[int], required: Iterable[tuple[int, ...]], V: int) -> int:
    """The fewest tokens in [1, V) behind `written` that make every phrase occur, all being tried."""
    required, found, count = list(required), {tuple(written)}, 0
    while not any(all(contains(text, phrase) for phrase in required) for text in found):
        found = {(*text, token) for text in found for token in range(1, V)}
        count += 1
    return count


def _followed(required: RequiredPhrases, tokens: Sequence[int]) -> RequiredPhrases:
    for token in tokens:
        required = required.follow(torch.tensor([[0]]), torch.tensor([[token]]))
    return required


@settings(max_examples=150, deadline=None)
@given(
    required=st.lists(phrases(2, longest=4), min_size=1, max_size=4),
    written=st.lists(st.integers(1, 3), max_size=6),
)
def test_what_is_missing_is_the_least_there_is(required: Any, written: list[int]) -> None:
    made = make_required([required], 4, excluded=[0], prefixes=None, limits=[99], device=CPU)
    after = _followed(made, written)
    assert after.missing.item() == fewest(written, required, 3)
    # Before each next token the rule knows what it will be after it.
    allowed = after.restrict(torch.zeros(1, 1, 4), left=torch.tensor([int(after.missing) or 1]), eos_id=0)
    for token in range(1, 4):
        enough = _followed(after, [token]).missing.item() <= max(after.missing.item(), 1) - 1
        assert (allowed[0, 0, token] == 0) == enough
    assert (allowed[0, 0, 0] == 0) == (after.missing.item() == 0)


@settings(max_examples=100)
@given(required=st.sets(phrases(2, longest=3), min_size=1, max_size=4).map(list))
def test_the_order_that_saves_most(required: list[tuple[int, ...]]) -> None:
    required = [
        own for own in required if not any(own != other and contains(other, own) for other in required)
    ]
    bits, saved = savings(required)

    def shared(left: tuple[int, ...], right: tuple[int, ...]) -> int:
        return max(n for n in range(min(len(left), len(right))) if n == 0 or left[-n:] == right[:n])

    for first in range(len(required)):
        others = [n for n in range(len(required)) if n != first]
        best = max(
            sum(shared(required[a], required[b]) for a, b in zip((first, *order), order, strict=False))
            for order in permutations(others)
        )
        assert saved[sum(bits[n] for n in others)][first] == best


def test_all_required_phrases_are_followed_at_once() -> None:
    """1 1 2 after 1 1 1: the second 1 of the three is where it began."""
    made = make_required([[(1, 1, 2)], [(3,)]], 4, excluded=[], prefixes=None, limits=[9, 9], device=CPU)
    for token in (1, 1, 1):
        made = made.follow(torch.zeros(2, 1, dtype=torch.int64), torch.tensor([[token], [2]]))
    assert made.missing.tolist() == [[1], [1]]
    assert made.select(torch.tensor([1])).missing.tolist() == [[1]]


def test_too_many_phrases_that_overlap() -> None:
    many = list(product((1, 2), repeat=4))
    with pytest.raises(ValueError, match=f"16 required phrases .* at most {MOST_OVERLAPPING} may"):
        make_required([many], 3, excluded=[], prefixes=None, limits=[99], device=CPU)
    tokens = list(range(40))  # of tokens any number
    made = make_required([tokens], 40, excluded=[], prefixes=None, limits=[99], device=CPU)
    assert made.missing.item() == 40
