"""What word vectors of two programs have learned, each trained with several seeds, judged by one program."""

from __future__ import annotations

import importlib
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from pyrnn.bench import record
from pyrnn.embeddings import (
    Corpus,
    CorpusBlocks,
    Word2VecKernel,
    WordVectors,
    evaluate_analogies,
    evaluate_similarities,
    prediction_loss,
)
from pyrnn.models import Word2VecConfig

#: Files of people's judgements that gensim ships, by the name of their score.
SIMILARITIES = {"wordsim353": "wordsim353.tsv", "simlex999": "simlex999.txt"}
ANALOGIES = "questions-words.txt"
_GRAMMAR = "gram"  # of a section's name: the other sections ask for places
_BLOCK = 100_000


class Side(NamedTuple):
    """Trained matrices of one program, whose rows are the words of the corpus in their order.

    Args:
        config: the loss.
        input: [V, D].
        output: [V, D] of negative sampling; None of another loss.
    """

    config: Word2VecConfig
    input: Tensor
    output: Tensor | None


def spread(values: Sequence[float]) -> dict[str, float | list[float] | None]:
    """The mean and its 95 % interval by Student's t; None where there is one value.

    Example:
        >>> spread([0.5])
        {'mean': 0.5, 'interval': None}
    """
    mean, interval = statistics.fmean(values), None
    if len(values) > 1:
        stats = importlib.import_module("scipy.stats")  # which gensim needs, too
        error = statistics.stdev(values) / len(values) ** 0.5
        half = float(stats.t.ppf(0.975, len(values) - 1)) * error
        interval = [round(mean - half, 5), round(mean + half, 5)]
    return {"mean": round(mean, 5), "interval": interval}


def scores_of(side: Side, rest: Corpus) -> tuple[dict[str, float], dict[str, dict[str, int]]]:
    """Every score by its name, and what each is of."""
    path_of = importlib.import_module("gensim.test.utils").datapath
    vectors = WordVectors(rest.vocabulary.words, side.input)
    scores: dict[str, float] = {}
    coverage: dict[str, dict[str, int]] = {}
    for name, file in SIMILARITIES.items():
        found = evaluate_similarities(vectors, Path(path_of(file)))
        scores[name] = found.spearman
        coverage[name] = {"pairs": found.pairs, "unknown": found.unknown}
    for section in evaluate_analogies(vectors, Path(path_of(ANALOGIES))).sections:
        if section.name.startswith(_GRAMMAR) and section.accuracy is not None:
            scores[section.name] = section.accuracy
            coverage[section.name] = {"asked": section.asked, "unknown": section.unknown}
    if side.output is not None:
        kernel = Word2VecKernel(replace(side.config, shared_negatives=False), rest.vocabulary, seed=1)
        blocks = CorpusBlocks(rest.ids, rest.vocabulary, _BLOCK)
        judged = prediction_loss(kernel, side.input, side.output, blocks).compute()
        scores["held_out_loss"] = judged["loss"]
        coverage["held_out_loss"] = {"predictions": int(judged["predictions"])}
    return scores, coverage


def quality_row(
    facts: record.Row,
    train: Callable[[int], Mapping[str, Side]],
    rest: Corpus,
    *,
    seeds: Iterable[int],
) -> record.Row:
    """Of every score its mean and interval on each side.

    Args:
        facts: of the trainings; the row begins with them.
        train: both sides with a seed.
        rest: sentences that neither has seen.
        seeds: those of both sides.
    """
    seeds = list(seeds)
    found: dict[str, dict[str, list[float]]] = {}
    coverage: dict[str, dict[str, int]] = {}
    for seed in seeds:
        for name, side in train(seed).items():
            scores, coverage = scores_of(side, rest)
            for score, value in scores.items():
                found.setdefault(score, {}).setdefault(name, []).append(value)
    return {
        **facts,
        "vocabulary": len(rest.vocabulary),
        "seeds": seeds,
        "scores": {
            score: coverage[score] | {side: spread(values) for side, values in sides.items()}
            for score, sides in found.items()
        },
    }
