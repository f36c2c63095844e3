"""chrF: how many sequences of characters a translation shares with its references."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from pyrnn.metrics.bleu import References, require_pairs


def chrf(
    hypotheses: Sequence[str],
    references: Sequence[References],
    *,
    word_order: int = 0,
    lowercase: bool = False,
) -> float:
    """chrF2 of a text, from 0 to 100, as sacrebleu computes it.

    The F-score, with recall weighing twice, of character n-grams, n = 1 to 6.

    Args:
        hypotheses: N sentences.
        references: N items: the reference of each, or several.
        word_order: count n-grams of so many words too; 2 is chrF++.
        lowercase: compare without regard to capitals.

    Raises:
        ValueError: no sentences, another number of references, or a sentence without one.
        TypeError: a string in place of several.
        ImportError: sacrebleu is missing.

    Source: Popović 2015, "chrF: character n-gram F-score for automatic MT evaluation".

    Example:
        >>> chrf(["so be it"], ["so be it"])
        100.0
    """
    require_pairs(hypotheses, references)
    try:
        sacrebleu = import_module("sacrebleu.metrics.chrf")
    except ImportError as error:
        raise ImportError("chrF needs sacrebleu: pip install pyrnn[text]") from error
    several = [[own] if isinstance(own, str) else list(own) for own in references]
    if not several or not all(several):
        raise ValueError("chrF needs at least one sentence, and a reference of each")
    # sacrebleu wants the first reference of every sentence, then the second, None where there is none.
    most = max(map(len, several))
    streams = [[own[place] if place < len(own) else None for own in several] for place in range(most)]
    return sacrebleu.CHRF(word_order=word_order, lowercase=lowercase).corpus_score(hypotheses, streams).score
