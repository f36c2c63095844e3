"""Which tokens may be drawn from a model's logits, and how likely each is.

Dimension key: V vocabulary.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pyrnn.search.config import SamplingConfig
from pyrnn.search.decoder import check_ids

_NUCLEUS_HEAD = 256
# Beyond these a temperature acts as its limit does, and stays a finite float32 whose reciprocal is one too.
_COLDEST, _HOTTEST = 1e-30, 1e30


def filter_logits(logits: Tensor, config: SamplingConfig, *, suppressed: Tensor | None = None) -> Tensor:
    """Logits of the distribution to draw from: -inf for every token that must not be drawn.

    In this order: suppressed tokens go, then all but the top_k likeliest; logits are divided by the
    temperature; and of the tokens that are left all go but the fewest whose renormalised probability reaches
    top_p. Of two equal logits the lower id counts as the likelier.

    Args:
        logits: [..., V] of any floating dtype; lower precision than float32 is raised to it.
        config: temperature, top_k and top_p.
        suppressed: [K] int64, ids that are never drawn.

    Returns:
        [..., V] float32 or float64, at least one finite in each row; shifted so that the likeliest is 0.

    Raises:
        ValueError: logits that are NaN or +inf, a row with nothing left to draw, or bad ids or shapes.

    Source: top-k: Fan et al., "Hierarchical neural story generation", 2018; top-p: Holtzman et al., "The
    curious case of neural text degeneration", 2020, section 3.1.

    Example:
        >>> logits = torch.tensor([0.5, 0.3, 0.2]).log()
        >>> filter_logits(logits, SamplingConfig(top_p=0.7)).exp()
        tensor([1.0000, 0.6000, 0.0000])
    """
    if not logits.is_floating_point() or logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(
            f"logits must be floating point [..., V], got {logits.dtype} of shape {list(logits.shape)}"
        )
    V = logits.shape[-1]
    if suppressed is not None:
        check_ids(suppressed, V, what="suppressed ids")
        logits = logits.index_fill(-1, suppressed.to(logits.device, torch.int64), -math.inf)
    logits = float_logits(logits)
    largest = logits.amax(-1, keepdim=True)
    if not largest.isfinite().all():
        raise ValueError(why_not_finite(largest))
    if config.temperature == 0:
        return _keep(logits, 1, threshold=largest) - largest
    if 0 < config.top_k < V:
        logits = _keep(logits, config.top_k, threshold=logits.topk(config.top_k).values[..., -1:])
    # The largest goes first: divided by a tiny temperature it could be inf, and inf - inf is no number.
    logits = (logits - largest) / min(max(config.temperature, _COLDEST), _HOTTEST)
    return logits if config.top_p == 1 else _nucleus(logits, config.top_p)


def likeliest(logits: Tensor) -> Tensor:
    """The likeliest token [...] of logits [..., V], of equal ones the lowest.

    Raises:
        ValueError: as `filter_logits`.

    Example:
        >>> likeliest(torch.tensor([[0.0, 2.0, 2.0]]))
        tensor([1])
    """
    tokens = logits.argmax(-1, keepdim=True)
    largest = logits.gather(-1, tokens)
    if not largest.isfinite().all():
        raise ValueError(why_not_finite(largest))
    return tokens.squeeze(-1)


def float_logits(logits: Tensor) -> Tensor:
    """Logits in float32 at least.

    Example:
        >>> float_logits(torch.zeros(3, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return logits if logits.dtype == torch.float64 else logits.float()


def top_candidates(scores: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Values and places [..., k] of the k largest scores [..., M], best first, of equal ones the lower place.

    `torch.topk` promises nothing about equal values.

    Example:
        >>> top_candidates(torch.tensor([1.0, 5.0, 1.0, 1.0]), 2)
        (tensor([5., 1.]), tensor([1, 0]))
    """
    if k == 1:
        places = scores.argmax(-1, keepdim=True)  # the first of equal ones
        return scores.gather(-1, places), places
    M = scores.shape[-1]
    values, places = scores.topk(min(k + 1, M))
    if k < M:
        last, next_one = values[..., k - 1 : k], values[..., k:]
        # Which of equal ones are in is of interest only here. To ask a GPU would be to wait for it.
        if scores.is_cuda or bool(((last == next_one) & (last > -math.inf)).any()):
            values, places = _keep(scores, k, threshold=last).topk(k)
        values, places = values[..., :k], places[..., :k]
    places, order = places.sort(-1)
    values, order = values.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    return values, places.gather(-1, order)


def _nucleus(logits: Tensor, top_p: float) -> Tensor:
    """All but the fewest largest logits whose probability reaches `top_p` to -inf, for rows of maximum 0.

    Most nuclei are small beside the vocabulary, so its head is sorted first and more of it only if needed: a
    full sort costs more than a step of the model.
    """
    V = logits.shape[-1]
    needed = top_p * logits.exp().sum(-1, keepdim=True)
    head = _NUCLEUS_HEAD
    while True:
        head = min(head, V)
        largest = logits.topk(head).values
        reached = largest.exp().cumsum(-1)
        if head == V or bool((reached[..., -1:] >= needed).all()):
            break
        head *= 16
    count = ((reached < needed).sum(-1, keepdim=True) + 1).clamp(max=V)
    return _keep(logits, count, threshold=largest.gather(-1, count - 1))


def _keep(logits: Tensor, count: Tensor | int, *, threshold: Tensor) -> Tensor:
    """All but the `count` largest of each row to -inf, the lower id first among equal ones.

    `threshold` [..., 1] is the value of the count-th largest.
    """
    above, level = logits > threshold, logits == threshold
    room = count - above.sum(-1, keepdim=True)
    return logits.masked_fill(~(above | (level & (level.cumsum(-1) <= room))), -math.inf)


def why_not_finite(largest: Tensor) -> str:
    """Why no token can be chosen from rows whose largest logits, or the logs of whose sums, are these.

    Example:
        >>> why_not_finite(torch.tensor([0.0, -math.inf]))
        'no token is left to draw: each is suppressed or has logit -inf'
    """
    if largest.isnan().any():
        return "logits are NaN: the weights or the state are damaged; did training diverge?"
    if (largest == math.inf).any():
        return "logits are +inf: the weights or the state are damaged; did training diverge?"
    return "no token is left to draw: each is suppressed or has logit -inf"
