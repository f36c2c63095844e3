"""What beam search finds, and how it is ranked and traced back.

Dimension key: B sources, K places of the beam, S source tokens, L tokens of an output, T steps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn.search.config import SearchConfig
from pyrnn.search.filtering import top_candidates


@dataclass(frozen=True)
class Hypothesis:
    """An output and what the model says of it.

    Args:
        tokens: L ids; the last one is EOS if the output is finished.
        score: by which it is ranked, see `SearchConfig`.
        log_probability: log p(tokens | source, prompt) in nats.
        finished: whether it ended by EOS, or was cut at the most tokens allowed.
        attention: [L, S], row t the weights by which token t was chosen; None unless asked for, and of models
            without.

    Example:
        >>> Hypothesis((4, 2, 0), score=-1.5, log_probability=-1.5, finished=True).content
        (4, 2)
    """

    tokens: tuple[int, ...]
    score: float
    log_probability: float
    finished: bool
    attention: Tensor | None = field(default=None, compare=False, repr=False)

    @property
    def content(self) -> tuple[int, ...]:
        """The tokens without a closing EOS."""
        return self.tokens[:-1] if self.finished else self.tokens


def coverage_score(coverage: Tensor, source_lengths: Tensor | None = None) -> Tensor:
    """sum_i log min(c_i, 1) over the source tokens i: 0 where each got an attention of one at least.

    Args:
        coverage: [B, ..., S] attention that each source token got in all steps together. What is below the
            smallest normal float32 counts as that, so that one token without attention is no -inf.
        source_lengths: [B] int64; what stands beyond is no source token.

    Source: Wu et al., "Google's neural machine translation system", 2016, equation 14.

    Example:
        >>> coverage_score(torch.tensor([[1.5, 0.5, 0.0]]), torch.tensor([2]))
        tensor([-0.6931])
    """
    logs = coverage.clamp(torch.finfo(torch.float32).tiny, 1).log()
    if source_lengths is not None:
        B, S = coverage.shape[0], coverage.shape[-1]
        beyond = torch.arange(S, device=coverage.device) >= source_lengths.to(coverage.device)[:, None]
        logs = logs.masked_fill(beyond.view(B, *[1] * (coverage.dim() - 2), S), 0)
    return logs.sum(-1)


class Step(NamedTuple):
    """What one step chose for the `sources` [b] that still searched, K candidates each.

    Args:
        sources: [b] int64, their numbers.
        score: [b, K] float64 of candidates that ended here, else -inf.
        log_probability: [b, K] float64.
        parent: [b, K] int64, the place that the candidate came from.
        token: [b, K] int64.
        order: [b, K'] int64, the candidates that took the places of the next step.
        attention: [b, places before, S] by which the tokens were chosen, or None where nobody asks.
    """

    sources: Tensor
    score: Tensor
    log_probability: Tensor
    parent: Tensor
    token: Tensor
    order: Tensor
    attention: Tensor | None


class Next(NamedTuple):
    """What is read next.

    Args:
        token: [N'] int64.
        rows: [N'] int64, the rows of this step that they continue; None where each goes on in its place.
        within: whether rows are as many as before and each stays with its source.
    """

    token: Tensor
    rows: Tensor | None
    within: bool

    def state(self, state: Any) -> Any:
        """That of the rows."""
        if self.rows is None:
            return state
        select = getattr(state, "select_within", state.select) if self.within else state.select
        return select(self.rows)


def trace_back(
    steps: Sequence[Step], B: int, config: SearchConfig, eos_id: int | None, source_lengths: Tensor | None
) -> list[list[Hypothesis]]:
    """The `n_best` ended hypotheses of each of B sources, best first; of equal ones the shorter first."""
    scores = _spread(steps, [step.score for step in steps], B, -math.inf)  # [T, B, K]
    K = scores.shape[2]
    ended = scores.transpose(0, 1).flatten(1)
    _, found = top_candidates(ended, min(config.n_best, ended.shape[1]))
    score = scores.tolist()
    log_probability, parent, token, order = (
        _spread(steps, [getattr(step, name) for step in steps], B, 0).tolist()
        for name in ("log_probability", "parent", "token", "order")
    )
    attention = None
    if steps[0].attention is not None:
        attention = _spread(steps, [step.attention for step in steps if step.attention is not None], B, 0)
    lengths = None if source_lengths is None else source_lengths.tolist()
    results: list[list[Hypothesis]] = []
    for b, places in enumerate(found.tolist()):
        results.append([])
        for last, candidate in (divmod(place, K) for place in places):
            if score[last][b][candidate] == -math.inf:
                continue
            tokens, parents = [], []
            k = candidate
            for t in range(last, -1, -1):
                tokens.append(token[t][b][k])
                parents.append(parent[t][b][k])
                k = order[t - 1][b][parents[-1]] if t else 0
            weights = None
            if attention is not None:
                weights = attention[torch.arange(last + 1), b, parents[::-1]]
                weights = weights if lengths is None else weights[:, : lengths[b]]
            results[b].append(
                Hypothesis(
                    tokens=tuple(reversed(tokens)),
                    score=score[last][b][candidate],
                    log_probability=log_probability[last][b][candidate],
                    finished=tokens[0] == eos_id,
                    attention=weights,
                )
            )
    return results


def _spread(steps: Sequence[Step], parts: Sequence[Tensor], B: int, fill: float) -> Tensor:
    """[T, B, K, ...] of what each step has for its sources and as many places as it had."""
    K = max(part.shape[1] for part in parts)
    whole = parts[0].new_full((len(parts), B, K, *parts[0].shape[2:]), fill)
    for row, step, part in zip(whole, steps, parts, strict=True):
        row[step.sources, : part.shape[1]] = part
    return whole
