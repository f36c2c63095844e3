"""What a trained translator writes.

Dimension key: S source tokens, L tokens of an output.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import starmap
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

_AT_ONCE = 1024  # pairs that `pyrnn score` reads before it answers
_SCORED_TOGETHER = 32


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
        attention: [L, S] weights by which each was chosen; None of models without.

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


def translate(
    run: TranslationRun,
    texts: Sequence[str],
    config: SearchConfig | None = None,
    *,
    batch_size: int = 32,
    unknown: Unknown = "avoid",
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
        required: for each sentence the phrases that its translation must contain, perhaps none; subwords are
            those of the phrase inside a sentence.
        forbidden: phrases that no translation may contain, as the tokenizer cuts them at the beginning of a
            sentence or inside one.

    Returns:
        For each sentence at most `config.n_best` translations, the best first.

    Raises:
        ValueError: a sentence or phrase that the tokenizer cannot encode, or with a line break; an empty
            phrase, or one with an unknown word; a batch size below one;
            unknown words are to be replaced and the model gives no attention, or its tokens are no words or
            characters; or as `pyrnn.search.beam_search`.
        TypeError: one string instead of a list of them.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> settings = {"level": "character", "hidden_size": 8, "max_steps": 1, "validation_size": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "pairs.tsv")
        ...     _ = file.write_text("one\t1\ntwo\t2\nsix\t6\n")
        ...     run = train(make_job("translation", {"pairs": str(file), **settings}), Path(folder, "run"))
        >>> [[found], [nothing]] = translate(run, ["two", ""])
        >>> found.source, nothing.text
        (['t', 'w', 'o', '\n'], '')
    """
    config = TranslateConfig() if config is None else config
    if isinstance(texts, str):
        raise TypeError(f"expected a list of sentences, got one string, {texts[:40]!r}; put it in a list")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    if required is not None and len(required) != len(texts):
        raise ValueError(f"expected required phrases for each of {len(texts)} sentences, got {len(required)}")
    if unknown == "replace" and not isinstance(run.tokenizer, pyrnn.text.VocabularyTokenizer):
        raise ValueError("unknown words are replaced where tokens are words or characters; these are not")
    never = [ids for phrase in forbidden for ids in _phrase_ids(run.tokenizer, phrase)]
    config = replace(config, forbidden=(*config.forbidden, *never))
    asked = [_request(run, text, () if required is None else required[n]) for n, text in enumerate(texts)]
    found: dict[int, list[Translated]] = {}
    places = sorted((n for n in range(len(texts)) if asked[n].text), key=lambda n: len(asked[n].ids))
    for begin in range(0, len(places), batch_size):
        part = places[begin : begin + batch_size]
        outputs = _search(run, [asked[n] for n in part], config, may_be_unknown=unknown != "avoid")
        for n, hypotheses in zip(part, outputs, strict=True):
            found[n] = [
                _readable(run, asked[n].text, each, replace_unknown=unknown == "replace")
                for each in hypotheses
            ]
    nothing = Translated("", pyrnn.search.Hypothesis((), 0.0, 0.0, finished=True), [], [], None)
    return [found.get(n, [nothing]) for n in range(len(texts))]


class _Request(NamedTuple):
    """A sentence, its ids, and the ids of the phrases that its translation must contain."""

    text: str
    ids: Tensor
    required: list[tuple[int, ...]]


def _request(run: TranslationRun, text: str, required: Sequence[str]) -> _Request:
    text = _one_line(text)
    if required and not text:
        raise ValueError(f"an empty sentence has an empty translation, without {required[0]!r}: leave it out")
    phrases = [_phrase_ids(run.tokenizer, phrase)[0] for phrase in required]
    return _Request(text, encode_source(text, run.source_tokenizer, run.job.data), phrases)


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
    run: TranslationRun, asked: Sequence[_Request], config: SearchConfig, *, may_be_unknown: bool
) -> list[list[Hypothesis]]:
    import torch

    end, unk = start_id(run.tokenizer), run.tokenizer.unk_id
    source, state = encoded_source(run, [each.ids for each in asked])
    return pyrnn.search.beam_search(
        run.model,
        [torch.tensor([end])] * len(asked),
        config,
        eos_id=end,
        state=state,
        source_lengths=source.lengths,
        required=[each.required for each in asked],
        suppress_ids=() if unk is None or may_be_unknown else (unk,),
    )


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
        >>> import tempfile
        >>> from pathlib import Path
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.train import train
        >>> settings = {"level": "character", "hidden_size": 8, "max_steps": 1, "validation_size": 1}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "pairs.tsv")
        ...     _ = file.write_text("one\t1\ntwo\t2\nsix\t6\n")
        ...     run = train(make_job("translation", {"pairs": str(file), **settings}), Path(folder, "run"))
        >>> attention_of(run, "two", "2").attention.shape
        torch.Size([2, 4])
    """
    if target is None:
        found = translate(run, [source])[0][0]
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
    )
    return _readable(run, source, hypothesis, replace_unknown=False)


def score_pairs(run: TranslationRun, lines: Iterable[str]) -> Iterator[str]:
    r"""Read pairs from standard input, source TAB target, and print each target's log-probability.

      printf 'so be it\tasí sea\n' | pyrnn score runs/en-es

    The columns, separated by tabs: log-probability in nats, nats per token, perplexity, tokens scored,
    unknown tokens, source, target. Empty lines are left out. A line of other than two columns has "-" for
    numbers and, behind it, why; the exit code then is 2.
    """
    reader = pyrnn.text.as_lines(lines)
    failed = count = 0
    for part in pyrnn.text.gathered((line for line in reader if line), lambda: reader.ready, most=_AT_ONCE):
        sides = [[side.strip() for side in line.split("\t")] for line in part]
        scores = iter(_scores(run, [(side[0], side[1]) for side in sides if len(side) == 2]))
        for line, side in zip(part, sides, strict=True):
            count += 1
            if len(side) != 2:
                failed += 1
                yield f"-\t-\t-\t-\t-\t{line}\tnot scored: {len(side)} columns, expected source and target"
                continue
            total, tokens, unknown = next(scores)
            perplexity = math.exp(min(-total / tokens, 700))
            numbers = f"{total:.4f}\t{-total / tokens:.4f}\t{perplexity:.2f}\t{tokens}\t{unknown}"
            yield f"{numbers}\t{side[0]}\t{side[1]}"
    if not count:
        raise ValueError("standard input has no pairs: give one a line, a tab between source and target")
    if failed:
        raise ValueError(f"{failed} of {count} pairs could not be scored; their lines say why")


def _scores(run: TranslationRun, pairs: Sequence[tuple[str, str]]) -> Iterator[tuple[float, int, int]]:
    """Log-probability, tokens and unknown tokens of each target."""
    import torch
    from torch.nn.utils.rnn import pad_sequence

    fields = encode(
        starmap(pyrnn.text.SentencePair, pairs), run.source_tokenizer, run.tokenizer, run.job.data
    )
    for begin in range(0, len(pairs), _SCORED_TOGETHER):
        part = slice(begin, begin + _SCORED_TOGETHER)
        _, state = encoded_source(run, fields["source"][part])
        first, outputs = torch.tensor([start_id(run.tokenizer)]), fields["output"][part]
        targets = [torch.cat([first, output]) for output in outputs]
        lengths = torch.tensor([len(target) for target in targets])
        totals = pyrnn.search.score_targets(run.model, state, pad_sequence(targets).T, lengths)
        unk = run.tokenizer.unk_id
        for total, output in zip(totals.tolist(), outputs, strict=True):
            yield total, len(output), 0 if unk is None else int((output == unk).sum())
