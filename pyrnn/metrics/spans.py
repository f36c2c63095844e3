"""Spans of tags: what a sequence of tags marks, which tags may follow each other, precision and recall.

A tag is "O", outside of all spans, or a letter, "-" and the kind of span: B begins one, I goes on, E ends it,
S is one alone (schemes BIO and BIOES; L and U are other names of E and S).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from pyrnn.metrics.base import Metrics
from pyrnn.metrics.sequence import f1_scores

Scheme = Literal["bio", "bioes"]
OUTSIDE = "O"
_LETTERS = {"B": "B", "I": "I", "E": "E", "S": "S", "L": "E", "U": "S"}


class Span(NamedTuple):
    """Steps [begin, end) of one kind.

    Example:
        >>> Span("PER", 0, 2).kind
        'PER'
    """

    kind: str
    begin: int
    end: int


class _Part(NamedTuple):
    letter: str
    kind: str


def _parse(tag: str) -> _Part:
    letter, dash, kind = tag.partition("-")
    if tag == OUTSIDE or not dash or letter not in _LETTERS:
        return _Part(OUTSIDE, "")
    return _Part(_LETTERS[letter], kind)


def spans_of(tags: Sequence[str]) -> list[Span]:
    """The spans that a sequence of tags marks, in order.

    Tags that a scheme does not allow are read as conlleval reads them: an I without a beginning begins a
    span, another kind begins another span. Any tag that is no letter with a kind is outside.

    Args:
        tags: of each step.

    Source: Tjong Kim Sang and De Meulder, Introduction to the CoNLL-2003 shared task (2003), section 2.3.

    Example:
        >>> spans_of(["B-PER", "I-PER", "O", "I-LOC", "B-LOC"])
        [Span(kind='PER', begin=0, end=2), Span(kind='LOC', begin=3, end=4), Span(kind='LOC', begin=4, end=5)]
    """
    found: list[Span] = []
    before, begin = _Part(OUTSIDE, ""), 0
    for step, part in enumerate([*map(_parse, tags), _Part(OUTSIDE, "")]):
        changes = part.kind != before.kind
        if before.letter != OUTSIDE and (changes or before.letter in "ES" or part.letter in "BSO"):
            found.append(Span(before.kind, begin, step))
        if part.letter in "BS" or (
            part.letter != OUTSIDE and (changes or before.letter in ("E", "S", OUTSIDE))
        ):
            begin = step
        before = part
    return found


def scheme_of(tags: Sequence[str]) -> Scheme | None:
    """The scheme of spans of a set of tags: None if they are not all "O" or a letter with a kind.

    Args:
        tags: the different ones.

    Example:
        >>> scheme_of(["O", "B-PER", "I-PER"]), scheme_of(["O", "S-PER"]), scheme_of(["NOUN", "O"])
        ('bio', 'bioes', None)
    """
    parts = [_parse(tag) for tag in tags if tag != OUTSIDE]
    if not parts or any(part.letter == OUTSIDE for part in parts):
        return None
    return "bioes" if any(part.letter in "ES" for part in parts) else "bio"


def obeys(tags: Sequence[str], scheme: Scheme) -> bool:
    """Whether a sequence of tags keeps to the rules of a scheme.

    IOB1, whose spans begin with an I unless another of their kind ends just before, does not keep to "bio".

    Args:
        tags: of each step.
        scheme: "bio" or "bioes".

    Example:
        >>> obeys(["B-PER", "I-PER", "O"], "bio"), obeys(["O", "I-PER"], "bio")
        (True, False)
    """
    around = [_Part(OUTSIDE, ""), *map(_parse, tags), _Part(OUTSIDE, "")]
    return all(_may_follow(before, after, scheme) for before, after in itertools.pairwise(around))


def allowed_tags(tags: Sequence[str], scheme: Scheme) -> tuple[Tensor, Tensor, Tensor]:
    """Which tags may follow each other, begin and end a sequence, in a scheme: bool [C, C], [C], [C].

    Args:
        tags: C of them, as `scheme_of` knows them.
        scheme: "bio" or "bioes".

    Example:
        >>> pairs, first, last = allowed_tags(["O", "B-PER", "I-PER"], "bio")
        >>> pairs.int()
        tensor([[1, 1, 0],
                [1, 1, 1],
                [1, 1, 1]], dtype=torch.int32)
        >>> first.tolist()
        [True, True, False]
    """
    parts, outside = list(map(_parse, tags)), _Part(OUTSIDE, "")
    pairs = [[_may_follow(before, after, scheme) for after in parts] for before in parts]
    first = [_may_follow(outside, part, scheme) for part in parts]
    last = [_may_follow(part, outside, scheme) for part in parts]
    return torch.tensor(pairs).reshape(len(parts), len(parts)), torch.tensor(first), torch.tensor(last)


def _may_follow(before: _Part, after: _Part, scheme: Scheme) -> bool:
    goes_on, opened = after.letter in "IE", before.letter in "BI"
    if goes_on and not (opened and before.kind == after.kind):
        return False
    return goes_on or not opened or scheme == "bio"


class SpanF1(Metrics):
    """Precision, recall and F1 of spans: one is found when its kind and both of its ends are right.

    Args:
        device: where the sums lie.

    Source: as `spans_of`.

    Example:
        >>> scores = SpanF1()
        >>> scores.update([["B-PER", "O", "B-LOC"]], [["B-PER", "I-PER", "B-LOC"]])
        >>> scores.compute()["f1"]
        0.5
    """

    size = 3

    def update(self, prediction: Sequence[Sequence[str]], target: Sequence[Sequence[str]]) -> None:
        """Add sequences.

        Args:
            prediction: the tags that were found, of each sequence.
            target: the right ones.

        Raises:
            ValueError: they differ in number or in length.
        """
        if len(prediction) != len(target):
            raise ValueError(f"{len(prediction)} sequences were found, {len(target)} are right")
        true = false = missed = 0
        for ours, right in zip(prediction, target, strict=True):
            if len(ours) != len(right):
                raise ValueError(f"a sequence has {len(right)} right tags, and {len(ours)} were found")
            found, there = set(spans_of(ours)), set(spans_of(right))
            true += len(found & there)
            false += len(found - there)
            missed += len(there - found)
        self.sums += torch.tensor([true, false, missed], dtype=self.sums.dtype, device=self.sums.device)

    def compute(self) -> dict[str, float]:
        """precision, recall and f1; as of conlleval 0 where there was nothing to find, or nothing found."""
        return {name: 0.0 if math.isnan(score) else score for name, score in f1_scores(self.sums).items()}
