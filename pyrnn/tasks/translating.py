"""What a trained translator writes.

Dimension key: S source tokens, L tokens of an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import pyrnn
from pyrnn.search.config import LengthNorm, Phrase, SearchConfig
from pyrnn.tasks.pairs import encode, start_id
from pyrnn.tasks.translation import TranslationRun
from pyrnn.tasks.translation_requests import Request, check_lists, make_request, one_line, phrase_ids

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
        attention: [L, S] weights by which each was chosen; None unless asked for.

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
        return_attention: whether translations have attention.
        required: for each sentence the phrases that its translation must contain, perhaps none; subwords are
            those of the phrase inside a sentence.
        forbidden: phrases that no translation may contain, as the tokenizer cuts them at the beginning of a
            sentence or inside one. A token for unknown words stays where the source's would complete one.

    Returns:
        For each sentence at most `config.n_best` translations, the best first: fewer where some have the same
        text, by other tokens, of which the best is kept.

    Raises:
        ValueError: a sentence or phrase that the tokenizer cannot encode, or with a line break; an empty
            phrase, one with an unknown word, or a required one that has a forbidden one; a batch size below
            one; attention or unknown words replaced by it, of a model without attention; unknown words
            replaced where tokens are no words or characters; or as `pyrnn.search.beam_search`.
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
    check_lists(texts, required, forbidden)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    check_options(run, unknown=unknown, return_attention=return_attention)
    config = TranslateConfig() if config is None else config
    replaces = unknown == "replace"
    never = {
        ids: phrase
        for phrase in forbidden
        for ids in phrase_ids(run.tokenizer, phrase, replaces_unknown=replaces)
    }
    config = replace(config, forbidden=(*config.forbidden, *never))
    asked = [
        _asked(run, text, () if required is None else required[n], never, replaces_unknown=replaces)
        for n, text in enumerate(texts)
    ]
    nothing = Translated("", pyrnn.search.Hypothesis((), 0.0, 0.0, finished=True), [], [], None)
    found = [each if isinstance(each, Untranslated) else [nothing] for each in asked]
    sentences = {n: each for n, each in enumerate(asked) if isinstance(each, Request) and each.text}
    copying = _Copying(run.tokenizer, config.forbidden) if replaces else None
    places = sorted(sentences, key=lambda n: len(sentences[n].ids))
    for begin in range(0, len(places), batch_size):
        part = {n: sentences[n] for n in places[begin : begin + batch_size]}
        outputs = _search(
            run,
            list(part.values()),
            config,
            may_be_unknown=unknown != "avoid",
            return_attention=return_attention or replaces,
        )
        for (n, request), each in zip(part.items(), outputs, strict=True):
            found[n] = each if isinstance(each, Untranslated) else _distinct(run, request.text, each, copying)
    return found


def check_options(run: TranslationRun, *, unknown: Unknown, return_attention: bool) -> None:
    """Refuse what `translate` cannot do with a model, whatever the sentences.

    Raises:
        ValueError: as of `translate`, of attention and of unknown words.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> check_options(tiny_translator(), unknown="replace", return_attention=True)
    """
    if unknown == "replace" and not isinstance(run.tokenizer, pyrnn.text.VocabularyTokenizer):
        raise ValueError("unknown words are replaced where tokens are words or characters; these are not")
    config = run.model.config
    if config.architecture == "transformer" or config.attention != "none":
        return
    if unknown == "replace":
        raise ValueError("unknown words are replaced through the attention, and this model has none")
    if return_attention:
        raise ValueError("this model has no attention: there is none to return or to draw")


def _distinct(
    run: TranslationRun, text: str, found: Sequence[Hypothesis], copying: _Copying | None
) -> list[Translated]:
    """The best translation of each text: subwords may spell one in several ways."""
    best: dict[str, Translated] = {}
    for hypothesis in found:
        each = _readable(run, text, hypothesis, copying)
        best.setdefault(each.text, each)
    return list(best.values())


def _asked(run: TranslationRun, *request: Any, **options: Any) -> Request | Untranslated:
    """`make_request`, or why it cannot be."""
    try:
        return make_request(run, *request, **options)
    except ValueError as error:
        return Untranslated(str(error))


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
    asked: Sequence[Request],
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


class _Copying:
    """Puts tokens of the source where the token for unknown words is, unless they complete what is forbidden.

    Args:
        tokenizer: of the target.
        forbidden: ids and phrases of ids.
    """

    def __init__(self, tokenizer: Tokenizer, forbidden: Sequence[Phrase]) -> None:
        from pyrnn.search.phrases import as_phrases

        assert isinstance(tokenizer, pyrnn.text.VocabularyTokenizer)
        self._tokenizer = tokenizer
        phrases = as_phrases(forbidden, len(tokenizer), what="suppressed ids")
        self._never = [tuple(map(tokenizer.token, phrase)) for phrase in phrases]

    def text(self, target: Sequence[str], attention: Tensor, source: Sequence[str]) -> str:
        """The text of the tokens `target`, of which `attention` [L, S] tells what they were written for."""
        from pyrnn.search.phrases import contains

        assert self._tokenizer.unk_id is not None
        unknown = self._tokenizer.token(self._tokenizer.unk_id)
        copied = pyrnn.search.replace_unknown(target, attention, source, unknown=unknown)
        words = list(target)
        for place, word in enumerate(copied):
            before, words[place] = words[place], word
            if before != word and any(contains(words, phrase) for phrase in self._never):
                words[place] = before
        return self._tokenizer.join(words)


def _readable(run: TranslationRun, text: str, found: Hypothesis, copying: _Copying | None) -> Translated:
    tokenizer, attention = run.tokenizer, found.attention
    end = run.source_tokenizer.token(start_id(run.source_tokenizer))
    source = [*run.source_tokenizer.tokenize(text), end]
    if attention is not None:
        attention = attention[:, : len(source)]
        if run.job.data.reverse_source:  # back in the order of the text, the end behind it
            attention = attention[:, [*range(len(source) - 2, -1, -1), len(source) - 1]]
    target = [tokenizer.token(id) for id in found.tokens]
    text = tokenizer.decode(found.content).strip()  # subwords inside a sentence may begin with a space
    if copying is not None and tokenizer.unk_id in found.content:
        assert attention is not None
        # By a word, which the end of the source is not.
        text = copying.text(target[: len(found.content)], attention[:, :-1], source[:-1])
    return Translated(text, found, source, target, attention)


def attention_of(run: TranslationRun, source: str, target: str | None = None) -> Translated:
    r"""The best translation of a sentence, or a given one, with the attention by which it is written.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> attention_of(tiny_translator(), "two", "2").attention.shape
        torch.Size([2, 4])
    """
    check_options(run, unknown="avoid", return_attention=True)
    source = one_line(source)
    if not source:
        raise ValueError("the sentence is empty: give some words to translate")
    if target is None:
        return translate(run, [source], return_attention=True)[0][0]
    import torch

    target = one_line(target)
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
    return _readable(run, source, hypothesis, None)
