"""What a translator is asked for: a sentence, and phrases that its translation must contain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyrnn.tasks.pairs import encode_source
from pyrnn.tasks.translation import TranslationRun

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.text import Tokenizer


class Request(NamedTuple):
    """A sentence, its ids, and the ids of the phrases that its translation must contain.

    Example:
        >>> import torch
        >>> Request("so be it", torch.tensor([5, 6, 7, 0]), [(8, 9)]).required
        [(8, 9)]
    """

    text: str
    ids: Tensor
    required: list[tuple[int, ...]]


def check_lists(texts: object, required: Sequence[Sequence[str]] | None, forbidden: object) -> None:
    """Refuse a string where a list of them is due, for its characters would pass for it.

    Raises:
        TypeError: so it is.
        ValueError: not a list of required phrases for each sentence.

    Example:
        >>> check_lists(["so be it"], [["sea"]], [])
    """
    lists = [("sentences", texts), ("phrases", forbidden), *(("phrases", row) for row in required or ())]
    for what, given in lists:
        if isinstance(given, str):
            raise TypeError(f"expected a list of {what}, got one string, {given[:40]!r}; put it in a list")
    assert isinstance(texts, Sequence)
    if required is not None and len(required) != len(texts):
        raise ValueError(f"expected required phrases for each of {len(texts)} sentences, got {len(required)}")


def make_request(
    run: TranslationRun,
    text: str,
    required: Sequence[str],
    forbidden: Mapping[tuple[int, ...], str],
    *,
    replaces_unknown: bool,
) -> Request:
    """A request, checked.

    Args:
        run: a trained translator.
        text: the sentence.
        required: phrases that its translation must contain.
        forbidden: those that it may not contain, by their ids.
        replaces_unknown: as of `phrase_ids`.

    Raises:
        ValueError: a sentence or phrase that cannot be encoded, phrases of an empty sentence, or a required
            phrase that has a forbidden one.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> make_request(tiny_translator(), " two ", ["6"], {}, replaces_unknown=False).text
        'two'
    """
    from pyrnn.search.phrases import contains

    text = one_line(text)
    if required and not text:
        raise ValueError(f"an empty sentence is translated by nothing, without {required[0]!r}: leave it out")
    phrases = []
    for phrase in required:
        ids = phrase_ids(run.tokenizer, phrase, replaces_unknown=replaces_unknown)[0]
        if wrong := [other for never, other in forbidden.items() if contains(ids, never)]:
            raise ValueError(
                f"the phrase {phrase!r} is required and has {wrong[0]!r}, which is forbidden: leave one of "
                "them out"
            )
        phrases.append(ids)
    return Request(text, encode_source(text, run.source_tokenizer, run.job.data), phrases)


def phrase_ids(tokenizer: Tokenizer, phrase: str, *, replaces_unknown: bool) -> list[tuple[int, ...]]:
    """The ids of a phrase inside a sentence and, where subwords differ there, at the beginning of one.

    Args:
        tokenizer: of the target.
        phrase: its text.
        replaces_unknown: whether words of the source replace unknown ones: which, is known only afterwards.

    Raises:
        ValueError: an empty phrase, one of several lines, or one with an unknown word.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> [ids] = phrase_ids(tiny_translator().tokenizer, "161", replaces_unknown=False)
        >>> len(ids)
        3
    """
    text = one_line(phrase)
    if not text:
        raise ValueError("a phrase must have some text, got an empty one: leave it out")
    texts = [f" {text}", text] if tokenizer.level == "subword" else [text]
    found = [tuple(tokenizer.encode(each).tolist()) for each in texts]
    if any(tokenizer.unk_id in ids for ids in found):
        if replaces_unknown:
            raise ValueError(
                f"the model does not know all of the phrase {text!r}: where words of the source replace "
                "unknown ones, it can be neither required nor forbidden; leave it out"
            )
        raise ValueError(
            f"the model does not know all of the phrase {text!r}, and cannot write it: leave it out"
        )
    return list(dict.fromkeys(found))


def one_line(text: str) -> str:
    """A sentence without white space at its ends, as training reads it.

    Raises:
        ValueError: it has several lines.

    Example:
        >>> one_line(" so be it ")
        'so be it'
    """
    if "\n" in text.strip():
        raise ValueError(f"a sentence must be one line, got {text[:40]!r}")
    return text.strip()
