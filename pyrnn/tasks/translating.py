"""What a trained translator writes.

Dimension key: S source tokens, L tokens of an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import pyrnn
from pyrnn.search.config import LengthNorm, SearchConfig
from pyrnn.tasks.pairs import encode, encode_source, start_id
from pyrnn.tasks.translation import TranslationRun

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.models import Source
    from pyrnn.search import Hypothesis
    from pyrnn.text import Tokenizer

#: What becomes of the token for unknown words.
Unknown = Literal["avoid", "write", "replace"]


@dataclass(frozen=True, kw_only=True)
class TranslateConfig(SearchConfig):
    """How translations are searched: beam search with other defaults.

    Args:
        beam_width: hypotheses of a sentence that are kept side by side; 1 is greedy.
        length_norm: what the log-probability is divided by.
        max_tokens: end after so many tokens,
        max_tokens_per_source: and so many more for each token of the source.

    Example:
        >>> TranslateConfig().limit(source_length=10)
        40
    """

    beam_width: int = 5
    length_norm: LengthNorm = "power"
    max_tokens: int = 20
    max_tokens_per_source: float = 2.0


@dataclass(frozen=True)
class Translated:
    """One translation of a sentence.

    Args:
        text: as people write it.
        hypothesis: what the search found: its ids, score and log-probability.
        source: the S tokens that were read, in their order, the end among them.
        target: the L tokens that were written.
        attention: [L, S] weights by which each was chosen; None unless asked for, and of models without.

    Example:
        >>> from pyrnn.search import Hypothesis
        >>> found = Hypothesis((4, 0), score=-0.5, log_probability=-1.0, finished=True)
        >>> Translated("sí", found, ["yes", "<eos>"], ["sí", "<eos>"], None).score
        -0.5
    """

    text: str
    hypothesis: Hypothesis
    source: list[str]
    target: list[str]
    attention: Tensor | None

    @property
    def score(self) -> float:
        """By which it is ranked, see `pyrnn.search.SearchConfig`."""
        return self.hypothesis.score

    @property
    def log_probability(self) -> float:
        """In nats, of all its tokens and its end."""
        return self.hypothesis.log_probability


@dataclass(frozen=True)
class Untranslated:
    """Why a sentence could not be translated.

    Args:
        problem: what is wrong, and what to do.

    Example:
        >>> Untranslated("a sentence must be one line").problem
        'a sentence must be one line'
    """

    problem: str


def translate(
    run: TranslationRun,
    texts: Sequence[str],
    config: SearchConfig | None = None,
    *,
    batch_size: int = 32,
    unknown: Unknown = "avoid",
    return_attention: bool = False,
    required: Sequence[Sequence[str]] | None = None,
    forbidden: Sequence[str] = (),
) -> list[list[Translated]]:
    r"""Translate sentences, those of like length together.

    Args:
        run: a trained translator.
        texts: sentences without line breaks; one of white space alone is translated by the empty text.
        config: how to search; `TranslateConfig` unless given.
        batch_size: sentences that are searched side by side; it does not change a translation, but for
            rounding.
        unknown: what becomes of the token for unknown words: "avoid" never writes it, "write" lets the model,
            "replace" puts the source's token there that got most of the attention.
        return_attention: whether translations have attention, of a model that has some.
        required: for each sentence the phrases that its translation must contain, perhaps none; subwords are
            those of the phrase inside a sentence.
        forbidden: phrases that no translation may contain, as the tokenizer cuts them at the beginning of a
            sentence or inside one.

    Returns:
        For each sentence at most `config.n_best` translations, the best first.

    Raises:
        ValueError: a sentence or phrase that the tokenizer cannot encode, or with a line break; an empty
            phrase, or one with an unknown word; a batch size below one; unknown words are to be replaced and
            the model gives no attention, or its tokens are no words or characters; or as
            `pyrnn.search.beam_search`.
        TypeError: one string instead of a list of them, be it sentences or phrases.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> [[found], [nothing]] = translate(tiny_translator(), ["two", ""])
        >>> found.source, nothing.text
        (['t', 'w', 'o', '\n'], '')
    """
    found = try_translate(
        run,
        texts,
        config,
        batch_size=batch_size,
        unknown=unknown,
        return_attention=return_attention,
        required=required,
        forbidden=forbidden,
    )
    for number, each in enumerate(found, 1):
        if isinstance(each, Untranslated):
            raise ValueError(f"sentence {number}: {each.problem}")
    return [each for each in found if not isinstance(each, Untranslated)]


def try_translate(
    run: TranslationRun,
    texts: Sequence[str],
    config: SearchConfig | None = None,
    *,
    batch_size: int = 32,
    unknown: Unknown = "avoid",
    return_attention: bool = False,
    required: Sequence[Sequence[str]] | None = None,
    forbidden: Sequence[str] = (),
) -> list[list[Translated] | Untranslated]:
    r"""`translate`, and of a sentence that cannot be translated why: the others go on without it.

    Args:
        run: as of `translate`, as all others.
        texts: sentences.
        config: how to search.
        batch_size: sentences side by side.
        unknown: what becomes of unknown words.
        return_attention: whether translations have attention.
        required: phrases of each sentence.
        forbidden: phrases that no translation may contain.

    Raises:
        ValueError: as of `translate`, of what concerns all sentences.
        TypeError: one string instead of a list of them.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> _, problem = try_translate(tiny_translator(), ["two", "a\nb"])
        >>> problem
        Untranslated(problem="a sentence must be one line, got 'a\\nb'")
    """
    _check_lists(texts, required, forbidden)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if unknown == "replace" and not isinstance(run.tokenizer, pyrnn.text.VocabularyTokenizer):
        raise ValueError("unknown words are replaced where tokens are words or characters; these are not")
    config = TranslateConfig() if config is None else config
    never = [ids for phrase in forbidden for ids in _phrase_ids(run.tokenizer, phrase)]
    config = replace(config, forbidden=(*config.forbidden, *never))
    asked = [_request(run, text, () if required is None else required[n]) for n, text in enumerate(texts)]
    nothing = Translated("", pyrnn.search.Hypothesis((), 0.0, 0.0, finished=True), [], [], None)
    found = [each if isinstance(each, Untranslated) else [nothing] for each in asked]
    sentences = {n: each for n, each in enumerate(asked) if isinstance(each, _Request) and each.text}
    places = sorted(sentences, key=lambda n: len(sentences[n].ids))
    for begin in range(0, len(places), batch_size):
        part = {n: sentences[n] for n in places[begin : begin + batch_size]}
        outputs = _search(
            run,
            list(part.values()),
            config,
            may_be_unknown=unknown != "avoid",
            return_attention=return_attention or unknown == "replace",
        )
        for (n, request), each in zip(part.items(), outputs, strict=True):
            found[n] = each if isinstance(each, Untranslated) else _all_readable(run, request, each, unknown)
    return found


def _check_lists(texts: object, required: Sequence[Sequence[str]] | None, forbidden: object) -> None:
    """Refuse a string where a list of them is due, for its characters would pass for it."""
    lists = [("sentences", texts), ("phrases", forbidden), *(("phrases", row) for row in required or ())]
    for what, given in lists:
        if isinstance(given, str):
            raise TypeError(f"expected a list of {what}, got one string, {given[:40]!r}; put it in a list")
    assert isinstance(texts, Sequence)
    if required is not None and len(required) != len(texts):
        raise ValueError(f"expected required phrases for each of {len(texts)} sentences, got {len(required)}")


def _all_readable(
    run: TranslationRun, request: _Request, found: Sequence[Hypothesis], unknown: Unknown
) -> list[Translated]:
    replaces = unknown == "replace"
    return [_readable(run, request.text, each, replace_unknown=replaces) for each in found]


class _Request(NamedTuple):
    """A sentence, its ids, and the ids of the phrases that its translation must contain."""

    text: str
    ids: Tensor
    required: list[tuple[int, ...]]


def _request(run: TranslationRun, text: str, required: Sequence[str]) -> _Request | Untranslated:
    try:
        text = _one_line(text)
        if required and not text:
            raise ValueError(
                f"an empty sentence is translated by nothing, without {required[0]!r}: leave it out"
            )
        phrases = [_phrase_ids(run.tokenizer, phrase)[0] for phrase in required]
        return _Request(text, encode_source(text, run.source_tokenizer, run.job.data), phrases)
    except ValueError as error:
        return Untranslated(str(error))


def _phrase_ids(tokenizer: Tokenizer, phrase: str) -> list[tuple[int, ...]]:
    """The ids of a phrase inside a sentence and, where subwords differ there, at the beginning of one."""
    text = _one_line(phrase)
    if not text:
        raise ValueError("a phrase must have some text, got an empty one: leave it out")
    texts = [f" {text}", text] if tokenizer.level == "subword" else [text]
    found = [tuple(tokenizer.encode(each).tolist()) for each in texts]
    if any(tokenizer.unk_id in ids for ids in found):
        raise ValueError(
            f"the model does not know all of the phrase {text!r}, and cannot write it: leave it out"
        )
    return list(dict.fromkeys(found))


def _one_line(text: str) -> str:
    """A sentence without white space at its ends, as training reads it."""
    if "\n" in text.strip():
        raise ValueError(f"a sentence must be one line, got {text[:40]!r}")
    return text.strip()


def encoded_source(run: TranslationRun, ids: Sequence[Tensor]) -> tuple[Source, Any]:
    """Sources on the model's device, padded, and the model's state after it read them."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    device = next(run.model.parameters()).device
    lengths = torch.tensor([len(each) for each in ids], device=device)
    source = pyrnn.models.Source(pad_sequence(list(ids)).to(device), lengths)
    with pyrnn.search.evaluating(run.model):
        return source, run.model.start(source)


def _search(
    run: TranslationRun,
    asked: Sequence[_Request],
    config: SearchConfig,
    *,
    may_be_unknown: bool,
    return_attention: bool,
) -> list[list[Hypothesis] | Untranslated]:
    """What is found for each; those for which nothing can be found are taken out, and the others go on."""
    import torch

    end, unk = start_id(run.tokenizer), run.tokenizer.unk_id
    problems: dict[int, Untranslated] = {}
    while left := [n for n in range(len(asked)) if n not in problems]:
        source, state = encoded_source(run, [asked[n].ids for n in left])
        try:
            found = pyrnn.search.beam_search(
                run.model,
                [torch.tensor([end])] * len(left),
                config,
                eos_id=end,
                state=state,
                source_lengths=source.lengths,
                required=[asked[n].required for n in left],
                suppress_ids=() if unk is None or may_be_unknown else (unk,),
                return_attention=return_attention,
            )
        except pyrnn.search.PromptError as error:
            problems |= {left[place]: Untranslated(error.reason) for place in error.prompts}
        else:
            return [problems[n] if n in problems else found[left.index(n)] for n in range(len(asked))]
    return [problems[n] for n in range(len(asked))]


def _readable(run: TranslationRun, text: str, found: Hypothesis, *, replace_unknown: bool) -> Translated:
    tokenizer, attention = run.tokenizer, found.attention
    end = run.source_tokenizer.token(start_id(run.source_tokenizer))
    source = [*run.source_tokenizer.tokenize(text), end]
    if attention is not None:
        attention = attention[:, : len(source)]
        if run.job.data.reverse_source:  # back in the order of the text, the end behind it
            attention = attention[:, [*range(len(source) - 2, -1, -1), len(source) - 1]]
    target = [tokenizer.token(id) for id in found.tokens]
    text = tokenizer.decode(found.content).strip()  # subwords inside a sentence may begin with a space
    if replace_unknown and tokenizer.unk_id in found.content:
        assert isinstance(tokenizer, pyrnn.text.VocabularyTokenizer)
        assert tokenizer.unk_id is not None
        if attention is None:
            raise ValueError("unknown words are replaced through the attention, and this model gives none")
        words = pyrnn.search.replace_unknown(  # by a word, which the end of the source is not
            target, attention[:, :-1], source[:-1], unknown=tokenizer.token(tokenizer.unk_id)
        )
        text = tokenizer.join(words[: len(found.content)])
    return Translated(text, found, source, target, attention)


def attention_of(run: TranslationRun, source: str, target: str | None = None) -> Translated:
    r"""The best translation of a sentence, or a given one, with the attention by which it is written.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> attention_of(tiny_translator(), "two", "2").attention.shape
        torch.Size([2, 4])
    """
    if target is None:
        found = translate(run, [source], return_attention=True)[0][0]
        if not found.target:
            raise ValueError("the sentence is empty: give some words to translate")
        return found
    import torch

    source, target = _one_line(source), _one_line(target)
    fields = encode(
        [pyrnn.text.SentencePair(source, target)], run.source_tokenizer, run.tokenizer, run.job.data
    )
    read, state = encoded_source(run, fields["source"])
    first = [torch.tensor([start_id(run.tokenizer)])]
    (hypothesis,) = pyrnn.search.score_references(
        run.model,
        first,
        fields["output"],
        TranslateConfig(),
        eos_id=start_id(run.tokenizer),
        state=state,
        source_lengths=read.lengths,
        return_attention=True,
    )
    return _readable(run, source, hypothesis, replace_unknown=False)
