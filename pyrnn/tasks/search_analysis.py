"""Whose fault wrong translations are, the search's or the model's, for beams of several widths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pyrnn
from pyrnn.search.config import SearchConfig
from pyrnn.tasks.pairs import encode, start_id
from pyrnn.tasks.translating import Translated, encoded_source, translate

if TYPE_CHECKING:
    from pyrnn.search import Hypothesis, SearchErrors
    from pyrnn.tasks.translation import TranslationRun
    from pyrnn.text import SentencePair

_AT_ONCE = 32


@dataclass(frozen=True)
class WidthAnalysis:
    """What beams of one width find for pairs whose right translations are known.

    Args:
        width: of the beam.
        bleu: of the best translations.
        oracle_bleu: of those in each sentence's n-best list that are nearest to the reference: what a better
            ranking of the same list could reach.
        errors: how many are right, missed by the search, or preferred by the model.
        best: the best translation of each pair.
        references: the right one of each pair, as the model scores it.

    Example:
        >>> from pyrnn.search import Hypothesis, SearchErrors
        >>> right = Hypothesis((4, 0), score=-0.5, log_probability=-1.0, finished=True)
        >>> found = Translated("sí", right, ["yes", "<eos>"], ["sí", "<eos>"], None)
        >>> analysis = WidthAnalysis(1, 100.0, 100.0, SearchErrors(1, 0, 0), [found], [right])
        >>> list(analysis.faults())
        ['none']
    """

    width: int
    bleu: float
    oracle_bleu: float
    errors: SearchErrors
    best: list[Translated]
    references: list[Hypothesis]

    @property
    def score(self) -> float:
        """Mean score of the best translations."""
        return sum(each.score for each in self.best) / len(self.best)

    def faults(self) -> Iterator[str]:
        """For each pair: "none", "search" or "model"."""
        for found, reference in zip(self.best, self.references, strict=True):
            right = found.hypothesis.tokens == reference.tokens
            yield "none" if right else "search" if reference.score > found.score else "model"


def analyze_search(
    run: TranslationRun, pairs: Sequence[SentencePair], config: SearchConfig, widths: Sequence[int]
) -> list[WidthAnalysis]:
    r"""Compare what beams of several widths find with the references, y^ with y*, for each pair.

    Where score(y*) > score(y^) the search missed something better; else the model holds the wrong
    translation at least as good as the right one, and no search would help.

    Args:
        run: a trained translator.
        pairs: sentences and their right translations.
        config: how hypotheses are ranked; its width and n_best have no effect.
        widths: of the beams, each at least one.

    Raises:
        ValueError: no pairs, no widths, or as `pyrnn.tasks.translate`.

    Source: Stahlberg and Byrne, "On NMT search errors and model errors: cat got your tongue?", 2019.

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
        >>> from pyrnn.search import SearchConfig
        >>> from pyrnn.text import SentencePair
        >>> one, two = analyze_search(run, [SentencePair("two", "2")], SearchConfig(), [1, 2])
        >>> len(one.best), sorted(vars(two.errors).values())
        (1, [0, 0, 1])
    """
    if not pairs or not widths:
        raise ValueError(f"expected pairs and widths, got {len(pairs)} pairs and {len(widths)} widths")
    references = _references(run, pairs, config)
    return [_analyze(run, pairs, references, replace(config, beam_width=w, n_best=w)) for w in widths]


def _references(run: TranslationRun, pairs: Sequence[SentencePair], config: SearchConfig) -> list[Hypothesis]:
    """The references as the model scores them."""
    import torch

    end, found = start_id(run.tokenizer), []
    fields = encode(pairs, run.source_tokenizer, run.tokenizer, run.job.data)
    for begin in range(0, len(pairs), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        source, state = encoded_source(run, fields["source"][part])
        outputs = fields["output"][part]
        found += pyrnn.search.score_references(
            run.model,
            [torch.tensor([end])] * len(outputs),
            outputs,
            config,
            eos_id=end,
            state=state,
            source_lengths=source.lengths,
        )
    return found


def _analyze(
    run: TranslationRun,
    pairs: Sequence[SentencePair],
    references: list[Hypothesis],
    config: SearchConfig,
) -> WidthAnalysis:
    # References may hold the token for unknown words, and so may what is compared with them.
    found = translate(run, [pair.source for pair in pairs], config, unknown="write")
    best = [each[0] for each in found]
    targets = [pair.target for pair in pairs]
    oracle = [_nearest(each, target) for each, target in zip(found, targets, strict=True)]
    return WidthAnalysis(
        width=config.beam_width,
        bleu=pyrnn.metrics.bleu([each.text for each in best], targets).score,
        oracle_bleu=pyrnn.metrics.bleu(oracle, targets).score,
        errors=pyrnn.search.search_errors(references, [each.hypothesis for each in best]),
        best=best,
        references=references,
    )


def _nearest(found: Sequence[Translated], target: str) -> str:
    def score(text: str) -> float:
        return pyrnn.metrics.bleu([text], [target], effective_order=True).score

    return max((each.text for each in found), key=score)
