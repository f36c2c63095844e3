"""Whose fault a wrong output is: the search's, which missed a better one, or the model's, which prefers it.

Dimension key: B sources.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from pyrnn.search.beam import beam_search
from pyrnn.search.config import SearchConfig
from pyrnn.search.decoder import Decoder
from pyrnn.search.hypotheses import Hypothesis


@dataclass(frozen=True)
class SearchErrors:
    """How many outputs are right, wrong by the search and wrong by the model.

    Args:
        correct: outputs that are their references.
        search: others whose reference has the higher score: the search missed something better.
        model: others: the model holds its output at least as good as the reference.

    Example:
        >>> SearchErrors(correct=1, search=1, model=2).search_share
        0.25
    """

    correct: int
    search: int
    model: int

    @property
    def search_share(self) -> float:
        """Search errors as a share of all outputs: a lower bound, for the reference need not be the best."""
        return self.search / (self.correct + self.search + self.model)


def search_errors(references: Sequence[Hypothesis], outputs: Sequence[Hypothesis]) -> SearchErrors:
    """Compare what the model says of references y* and of outputs y^: y^ != y* is a search error if
    score(y*) > score(y^), else a model error.

    Args:
        references: what should have been written, scored as the outputs were, see `score_references`.
        outputs: what was found, in the same order.

    Raises:
        ValueError: not as many references as outputs, or none.

    Source: Stahlberg and Byrne, "On NMT search errors and model errors: cat got your tongue?", 2019.

    Example:
        >>> reference = Hypothesis((3, 0), score=-1.0, log_probability=-1.0, finished=True)
        >>> worse = Hypothesis((4, 0), score=-2.0, log_probability=-2.0, finished=True)
        >>> search_errors([reference, reference], [worse, reference])
        SearchErrors(correct=1, search=1, model=0)
    """
    if len(references) != len(outputs) or len(outputs) == 0:
        raise ValueError(
            f"expected as many references as outputs, at least one; got {len(references)} and {len(outputs)}"
        )
    pairs = list(zip(references, outputs, strict=True))
    wrong = [(right, found) for right, found in pairs if right.tokens != found.tokens]
    missed = sum(right.score > found.score for right, found in wrong)
    return SearchErrors(correct=len(pairs) - len(wrong), search=missed, model=len(wrong) - missed)


@dataclass(frozen=True)
class WidthResult:
    """What beam search of one width finds.

    Args:
        width: the beam's.
        score: mean score of the best outputs.
        length: mean number of their tokens.
        errors: against the references.

    Example:
        >>> WidthResult(width=1, score=-3.5, length=8.0, errors=SearchErrors(3, 2, 1)).errors.search
        2
    """

    width: int
    score: float
    length: float
    errors: SearchErrors


def score_references(
    model: Decoder,
    prompts: Sequence[Tensor],
    references: Sequence[Tensor],
    config: SearchConfig,
    *,
    eos_id: int,
    state: Any = None,
    source_lengths: Tensor | None = None,
    return_attention: bool = False,
) -> list[Hypothesis]:
    """Given outputs as the hypotheses they would be: with their scores, coverage included, and attention.

    For log-probabilities alone `score_targets` is faster: this is a search that has no choice.

    Args:
        model: as of `beam_search`.
        prompts: as of `beam_search`.
        references: B vectors of ids, each with EOS at its end; of any length.
        config: how outputs are ranked; its rules do not hold for them.
        eos_id: as of `beam_search`.
        state: as of `beam_search`.
        source_lengths: as of `beam_search`.
        return_attention: as of `beam_search`.

    Raises:
        ValueError: a reference without EOS at its end, or that the model holds impossible; as `beam_search`.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(5, hidden_size=8))
        >>> import torch
        >>> start, reference = [torch.tensor([0])], [torch.tensor([3, 2, 0])]
        >>> [found] = score_references(model, start, reference, SearchConfig(), eos_id=0)
        >>> found.tokens, found.finished
        ((3, 2, 0), True)
    """
    for number, reference in enumerate(references, 1):
        if len(reference) == 0 or int(reference[-1]) != eos_id:
            raise ValueError(f"reference {number} must end in EOS, {eos_id}: append it")
    longest = max((len(reference) for reference in references), default=1)
    forced = SearchConfig(
        max_tokens=longest,
        beam_width=1,
        length_norm=config.length_norm,
        alpha=config.alpha,
        coverage_penalty=config.coverage_penalty,
    )
    found = beam_search(
        model,
        prompts,
        forced,
        eos_id=eos_id,
        state=state,
        source_lengths=source_lengths,
        prefixes=references,
        return_attention=return_attention,
    )
    return [hypothesis for [hypothesis] in found]


def width_sweep(
    model: Decoder,
    prompts: Sequence[Tensor],
    references: Sequence[Tensor],
    widths: Sequence[int],
    config: SearchConfig,
    *,
    eos_id: int,
    state: Any = None,
    source_lengths: Tensor | None = None,
) -> list[WidthResult]:
    """Search with beams of several widths. Where wider ones score higher and are wrong more often, the model,
    and not the search, wants another length norm or more training.

    Args:
        model: as of `beam_search`.
        prompts: as of `beam_search`.
        references: as of `score_references`.
        widths: of the beams.
        config: everything but the width and `n_best`.
        eos_id: as of `beam_search`.
        state: as of `beam_search`.
        source_lengths: as of `beam_search`.

    Returns:
        A result for each width, in their order.

    Raises:
        ValueError: as `score_references`.

    Source: Koehn and Knowles, "Six challenges for neural machine translation", 2017, section 3.6.

    Example:
        >>> from pyrnn.models import LanguageModel, LanguageModelConfig
        >>> model = LanguageModel(LanguageModelConfig(5, hidden_size=8))
        >>> import torch
        >>> start, reference = [torch.tensor([0])], [torch.tensor([3, 2, 0])]
        >>> config = SearchConfig(max_tokens=6)
        >>> found = width_sweep(model, start, reference, [1, 4], config, eos_id=0)
        >>> [result.width for result in found]
        [1, 4]
    """
    options: dict[str, Any] = {"eos_id": eos_id, "state": state, "source_lengths": source_lengths}
    scored = score_references(model, prompts, references, config, **options)
    results = []
    for width in widths:
        found = beam_search(model, prompts, replace(config, beam_width=width, n_best=1), **options)
        best = [hypotheses[0] for hypotheses in found]
        results.append(
            WidthResult(
                width,
                score=sum(hypothesis.score for hypothesis in best) / len(best),
                length=sum(len(hypothesis.tokens) for hypothesis in best) / len(best),
                errors=search_errors(scored, best),
            )
        )
    return results
