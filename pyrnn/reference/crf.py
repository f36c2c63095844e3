"""A linear-chain conditional random field in plain torch, a step after another.

Dimension key: T steps, B batch, C tags.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor


def crf_log_partition(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
    lengths: Tensor | None = None,
) -> Tensor:
    """The logarithm of the sum over all paths of exp of their score, as `pyrnn.ops.crf_log_partition`.

    Args:
        emissions: [T, B, C].
        transitions: [C, C].
        start: [C], or None.
        end: [C], or None.
        lengths: [B] in [0, T], or None: all T.

    Example:
        >>> crf_log_partition(torch.zeros(3, 1, 2), torch.zeros(2, 2)).exp().round()
        tensor([8.])
    """
    emissions, lengths, end = _prepared(emissions, end, lengths)
    wide = emissions.dtype
    there = (lengths > 0).unsqueeze(1)
    state = emissions[0] if start is None else torch.where(there, emissions[0] + start.to(wide), 0)
    pairs = transitions.to(wide)
    for t in range(1, len(emissions)):
        after = _log_sum_exp(state.unsqueeze(2) + pairs, 1) + emissions[t]
        state = torch.where((t < lengths).unsqueeze(1), after, state)
    total = _log_sum_exp(torch.where(there, state + end, 0), 1)
    return torch.where(there.squeeze(1), total, 0)


def crf_viterbi(
    emissions: Tensor,
    transitions: Tensor,
    start: Tensor | None = None,
    end: Tensor | None = None,
    lengths: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The paths of the highest scores [T, B] and these scores [B], as `pyrnn.ops.crf_viterbi`.

    Args:
        emissions: [T, B, C].
        transitions: [C, C].
        start: [C], or None.
        end: [C], or None.
        lengths: [B] in [0, T], or None: all T.

    Example:
        >>> crf_viterbi(torch.tensor([[[1.0, 2.0]], [[4.0, 3.0]]]), torch.zeros(2, 2))[0].T
        tensor([[1, 0]])
    """
    T = emissions.shape[0]
    emissions, lengths, end = _prepared(emissions, end, lengths)
    wide = emissions.dtype
    state = emissions[0] if start is None else emissions[0] + start.to(wide)
    pairs, back = transitions.to(wide), []
    for t in range(1, len(emissions)):
        best, place = (state.unsqueeze(2) + pairs).max(1)
        alive = (t < lengths).unsqueeze(1)
        stay = torch.arange(state.shape[1], device=state.device).expand_as(place)
        state = torch.where(alive, best + emissions[t], state)
        back.append(torch.where(alive, place, stay))
    scores, tag = (state + end).max(1)
    tags = list(accumulate(reversed(back), _before, initial=tag))
    steps = torch.arange(len(emissions), device=lengths.device).unsqueeze(1)
    found = torch.stack(tags[::-1]).masked_fill(steps >= lengths, 0)
    return found[:T], torch.where(lengths > 0, scores, torch.zeros_like(scores))


def _before(tag: Tensor, places: Tensor) -> Tensor:
    """[B] tags of a step from those of the next, by the place [B, C] that each came from."""
    return places.gather(1, tag.unsqueeze(1)).squeeze(1)


def _prepared(emissions: Tensor, end: Tensor | None, lengths: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Emissions without what is behind the lengths, lengths, and end, in the dtype of sums."""
    T, B, C = emissions.shape
    wide = torch.promote_types(emissions.dtype, torch.float32)
    if lengths is None:
        lengths = torch.full((B,), T, device=emissions.device)
    lengths = lengths.to(emissions.device)
    alive = torch.arange(T, device=emissions.device).unsqueeze(1) < lengths
    emissions = emissions.to(wide).where(alive.unsqueeze(2), 0)
    if T == 0:  # one step that no row has
        emissions = emissions.new_zeros(1, B, C)
    return emissions, lengths, emissions.new_zeros(C) if end is None else end.to(wide)


def _log_sum_exp(x: Tensor, dim: int) -> Tensor:
    """As torch.logsumexp; where nothing is summed, its derivative is zero and not NaN."""
    peak = x.detach().amax(dim, keepdim=True)
    peak = torch.where(peak == -torch.inf, 0, peak)
    total = (x - peak).exp().sum(dim)
    empty = total == 0
    found = torch.where(empty, 1, total).log() + peak.squeeze(dim)
    infinite = (peak == torch.inf).squeeze(dim)
    return torch.where(infinite, torch.inf, torch.where(empty, -torch.inf, found))
