"""What a trained translator writes.

Dimension key: S source tokens, L tokens of an output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyrnn
from pyrnn.search.config import LengthNorm, SearchConfig
from pyrnn.tasks.pairs import encode_source, start_id
from pyrnn.tasks.translation import TranslationRun

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.search import Hypothesis


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
        score: by which it is ranked, see `pyrnn.search.SearchConfig`.
        log_probability: in nats, of all its tokens and its end.
        source: the S tokens that were read, in their order, the end among them.
        target: the L tokens that were written.
        attention: [L, S] weights by which each was chosen; None of models without.
    """

    text: str
    score: float
    log_probability: float
    source: list[str]
    target: list[str]
    attention: Tensor | None


def translate(
    run: TranslationRun,
    texts: Sequence[str],
    config: SearchConfig | None = None,
    *,
    batch_size: int = 32,
    replace_unknown: bool = False,
) -> list[list[Translated]]:
    """Translate sentences, those of like length together.

    Args:
        run: a trained translator.
        texts: sentences without line breaks; one of white space alone is translated by the empty text.
        config: how to search; `TranslateConfig` unless given.
        batch_size: sentences that are searched side by side; it does not change a translation, but for
            rounding.
        replace_unknown: let the model write its token for unknown words, and put there the source's token
            that got most of the attention; else it is never written.

    Returns:
        For each sentence at most `config.n_best` translations, the best first.

    Raises:
        ValueError: a sentence that the tokenizer cannot encode, or with a line break; unknown words are to be
            replaced and the model gives no attention, or the tokenizer knows no unknown words; or as
            `pyrnn.search.beam_search`.
    """
    config = TranslateConfig() if config is None else config
    for text in texts:
        if "\n" in text:
            raise ValueError(f"a sentence must be one line, got {text[:40]!r}")
    data = run.job.data
    ids = [encode_source(text.strip(), run.source_tokenizer, data) for text in texts]
    found: dict[int, list[Translated]] = {}
    places = sorted((n for n in range(len(texts)) if texts[n].strip()), key=lambda n: len(ids[n]))
    for begin in range(0, len(places), batch_size):
        part = places[begin : begin + batch_size]
        outputs = _search(run, [ids[n] for n in part], config, may_be_unknown=replace_unknown)
        for n, hypotheses in zip(part, outputs, strict=True):
            found[n] = [_readable(run, texts[n], each, replace_unknown) for each in hypotheses]
    return [found.get(n, [_NOTHING]) for n in range(len(texts))]


_NOTHING = Translated("", 0.0, 0.0, [], [], None)


def _search(
    run: TranslationRun, ids: Sequence[Tensor], config: SearchConfig, *, may_be_unknown: bool
) -> list[list[Hypothesis]]:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    end, unk = start_id(run.tokenizer), run.tokenizer.unk_id
    device = next(run.model.parameters()).device
    lengths = torch.tensor([len(each) for each in ids], device=device)
    source = pyrnn.models.Source(pad_sequence(list(ids)).to(device), lengths)
    with pyrnn.search.evaluating(run.model):
        state = run.model.start(source)
    return pyrnn.search.beam_search(
        run.model,
        [torch.tensor([end])] * len(ids),
        config,
        eos_id=end,
        state=state,
        source_lengths=lengths,
        suppress_ids=() if unk is None or may_be_unknown else (unk,),
    )


def _readable(run: TranslationRun, text: str, found: Hypothesis, replace_unknown: bool) -> Translated:
    tokenizer, attention = run.tokenizer, found.attention
    end = run.source_tokenizer.token(start_id(run.source_tokenizer))
    source = [*run.source_tokenizer.tokenize(text.strip()), end]
    if attention is not None:
        attention = attention[:, : len(source)]
        if run.job.data.reverse_source:  # back in the order of the text, the end behind it
            attention = attention[:, [*range(len(source) - 2, -1, -1), len(source) - 1]]
    target = [tokenizer.token(id) for id in found.tokens]
    text = tokenizer.decode(found.content)
    if replace_unknown:
        if tokenizer.unk_id is None:
            raise ValueError("the tokenizer knows no unknown words: there is nothing to replace")
        if attention is None:
            raise ValueError("unknown words are replaced through the attention, and this model gives none")
        words = pyrnn.search.replace_unknown(  # by a word, which the end of the source is not
            target, attention[:, :-1], source[:-1], unknown=tokenizer.token(tokenizer.unk_id)
        )
        written = words[: len(found.content)]
        text = "".join(written) if tokenizer.level == "character" else " ".join(written)
    return Translated(text, found.score, found.log_probability, source, target, attention)
