"""Whose fault wrong translations are, the search's or the model's, for beams of several widths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pyrnn
from pyrnn.search.config import SearchConfig
from pyrnn.tasks.pairs import encode, start_id
from pyrnn.tasks.translating import Translated, Untranslated, encoded_source, try_translate

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
        problems: of pairs that were left out, by their places, for they cannot be encoded, or some beam finds
            no output that the rules allow.

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
    problems: Mapping[int, str] = field(default_factory=dict[int, str])

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
        ValueError: no pairs, none that can be analyzed, no widths, or as `pyrnn.tasks.translate` of what
            concerns all.

    Source: Stahlberg and Byrne, "On NMT search errors and model errors: cat got your tongue?", 2019.

    Example:
        >>> from pyrnn.tasks.tiny import tiny_translator
        >>> from pyrnn.search import SearchConfig
        >>> from pyrnn.text import SentencePair
        >>> one, two = analyze_search(tiny_translator(), [SentencePair("two", "2")], SearchConfig(), [1, 2])
        >>> len(one.best), sorted(vars(two.errors).values())
        (1, [0, 0, 1])
    """
    if not pairs or not widths:
        raise ValueError(f"expected pairs and widths, got {len(pairs)} pairs and {len(widths)} widths")
    problems = {n: problem for n, pair in enumerate(pairs) if (problem := _problem_of(run, pair))}
    every: list[dict[int, list[Translated]]] = []
    for width in widths:
        places = [n for n in range(len(pairs)) if n not in problems]
        searched = replace(config, beam_width=width, n_best=width)
        # References may hold the token for unknown words, and so may what is compared with them.
        found = try_translate(run, [pairs[n].source for n in places], searched, unknown="write")
        every.append({})
        for n, each in zip(places, found, strict=True):
            if isinstance(each, Untranslated):
                problems[n] = each.problem
            else:
                every[-1][n] = each
    places = [n for n in range(len(pairs)) if n not in problems]
    if not places:
        raise ValueError(f"none of the {len(pairs)} pairs can be analyzed; the first: {problems[0]}")
    kept = [pairs[n] for n in places]
    references = _references(run, kept, config)
    return [
        _analyze(width, kept, references, [found[n] for n in places], dict(sorted(problems.items())))
        for width, found in zip(widths, every, strict=True)
    ]


def _problem_of(run: TranslationRun, pair: SentencePair) -> str | None:
    try:
        encode([pair], run.source_tokenizer, run.tokenizer, run.job.data)
    except ValueError as error:
        return str(error)
    return None


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
    width: int,
    pairs: Sequence[SentencePair],
    references: list[Hypothesis],
    found: list[list[Translated]],
    problems: dict[int, str],
) -> WidthAnalysis:
    best = [each[0] for each in found]
    targets = [pair.target for pair in pairs]
    oracle = [_nearest(each, target) for each, target in zip(found, targets, strict=True)]
    return WidthAnalysis(
        width=width,
        bleu=pyrnn.metrics.bleu([each.text for each in best], targets).score,
        oracle_bleu=pyrnn.metrics.bleu(oracle, targets).score,
        errors=pyrnn.search.search_errors(references, [each.hypothesis for each in best]),
        best=best,
        references=references,
        problems=problems,
    )


def _nearest(found: Sequence[Translated], target: str) -> str:
    def score(text: str) -> float:
        return pyrnn.metrics.bleu([text], [target], effective_order=True).score

    return max((each.text for each in found), key=score)
