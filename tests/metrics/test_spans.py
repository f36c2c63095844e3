"""Spans of tags: their ends, schemes, constraints, scores."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.metrics import Span, SpanF1, allowed_tags, scheme_of, spans_of

BIO = ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"]
BIOES = [*BIO, "E-PER", "S-PER", "E-LOC", "S-LOC"]


@st.composite
def marked(draw: st.DrawFn) -> tuple[int, list[Span]]:
    """A length and spans that do not overlap."""
    spans, place = [], 0
    for _ in range(draw(st.integers(0, 5))):
        begin = place + draw(st.integers(0, 3))
        place = begin + draw(st.integers(1, 4))
        spans.append(Span(draw(st.sampled_from(["PER", "LOC"])), begin, place))
    return place + draw(st.integers(0, 3)), spans


def tags_of(length: int, spans: list[Span], scheme: str) -> list[str]:
    tags = ["O"] * length
    for kind, begin, end in spans:
        letters = ["B", *"I" * (end - begin - 1)]
        if scheme == "bioes":
            letters = ["S"] if end - begin == 1 else [*letters[:-1], "E"]
        tags[begin:end] = [f"{letter}-{kind}" for letter in letters]
    return tags


@given(marked(), st.sampled_from(["bio", "bioes"]))
def test_spans_are_those_that_were_marked(case: tuple[int, list[Span]], scheme: str) -> None:
    length, spans = case
    tags = tags_of(length, spans, scheme)
    assert spans_of(tags) == spans
    pairs, first, last = allowed_tags(BIOES, "bioes" if scheme == "bioes" else "bio")
    ids = [BIOES.index(tag) for tag in tags]
    assert all(pairs[a, b] for a, b in itertools.pairwise(ids))
    assert not ids or (first[ids[0]] and last[ids[-1]])


@pytest.mark.parametrize(
    ("tags", "spans"),
    [
        ("I-A I-A", [("A", 0, 2)]),  # without a beginning
        ("O I-A", [("A", 1, 2)]),
        ("B-A I-B", [("A", 0, 1), ("B", 1, 2)]),  # another kind
        ("B-A B-A I-A", [("A", 0, 1), ("A", 1, 3)]),
        ("I-A E-A E-A", [("A", 0, 2), ("A", 2, 3)]),
        ("E-A I-A", [("A", 0, 1), ("A", 1, 2)]),
        ("S-A S-A I-A", [("A", 0, 1), ("A", 1, 2), ("A", 2, 3)]),
        ("B-A S-A", [("A", 0, 1), ("A", 1, 2)]),
        ("B-A L-A U-A", [("A", 0, 2), ("A", 2, 3)]),  # as BILOU calls them
        ("B-A-b I-A-b", [("A-b", 0, 2)]),
        ("NOUN B I-A", [("A", 2, 3)]),
        ("", []),
    ],
)
def test_tags_that_no_scheme_allows_are_read_as_conlleval_does(
    tags: str, spans: list[tuple[str, int, int]]
) -> None:
    assert spans_of(tags.split()) == [Span(*span) for span in spans]


def test_schemes() -> None:
    assert scheme_of(BIO) == "bio"
    assert scheme_of(BIOES) == "bioes"
    assert scheme_of(["O", "B-A", "L-A", "U-A"]) == "bioes"
    for others in (["NOUN", "VERB"], ["O"], [], ["O", "B-A", "VERB"]):
        assert scheme_of(others) is None


def test_what_a_scheme_forbids() -> None:
    pairs, first, last = allowed_tags(BIOES, "bioes")
    may = {
        (a, b)
        for a, row in zip(BIOES, pairs.tolist(), strict=True)
        for b, yes in zip(BIOES, row, strict=True)
        if yes
    }
    assert ("B-PER", "I-PER") in may
    assert not may & {
        ("B-PER", "O"),
        ("B-PER", "I-LOC"),
        ("O", "E-LOC"),
        ("S-PER", "I-PER"),
        ("I-PER", "S-PER"),
    }
    assert [tag for tag, yes in zip(BIOES, first.tolist(), strict=True) if yes] == [
        "O",
        "B-PER",
        "B-LOC",
        "S-PER",
        "S-LOC",
    ]
    assert [tag for tag, yes in zip(BIOES, last.tolist(), strict=True) if yes] == [
        "O",
        "E-PER",
        "S-PER",
        "E-LOC",
        "S-LOC",
    ]


def test_scores_add_up() -> None:
    whole, parts = SpanF1(), [SpanF1(), SpanF1()]
    found = [["B-PER", "I-PER", "O", "B-LOC"], ["O", "B-LOC", "O"]]
    right = [["B-PER", "I-PER", "O", "B-PER"], ["B-LOC", "B-LOC", "O"]]
    whole.update(found, right)
    for part, ours, theirs in zip(parts, found, right, strict=True):
        part.update([ours], [theirs])
    assert whole.compute() == parts[0].add(parts[1]).compute()
    assert whole.compute() == {"precision": 2 / 3, "recall": 0.5, "f1": pytest.approx(4 / 7)}
    assert SpanF1().compute() == {"precision": 0, "recall": 0, "f1": 0}
    with pytest.raises(ValueError, match="a sequence has 3 right tags, and 2 were found"):
        whole.update([["O", "O"]], [["O", "O", "O"]])
    with pytest.raises(ValueError, match="1 sequences were found, 0 are right"):
        whole.update([["O"]], [])
