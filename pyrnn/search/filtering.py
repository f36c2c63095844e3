"""Which symbols may be drawn from a model's logits, and how likely each is.

Dimension key: V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrnn._configuration import require_range
from pyrnn.search._model import check_ids

_NUCLEUS_HEAD = 256
# Beyond these a temperature acts as its limit does, and stays a finite float32 whose reciprocal is one too.
_COLDEST, _HOTTEST = 1e-30, 1e30


@dataclass(frozen=True)
class SamplingConfig:
    """How symbols are drawn.

    Args:
        temperature: divides the logits: above one flattens the distribution, below one sharpens it, 0 always
            takes the likeliest symbol.
        top_k: draw among the k likeliest symbols only; 0 for all.
        top_p: draw among the fewest likeliest symbols whose probability together reaches top_p, and at least
            one; 1 for all.
        max_symbols: end after so many symbols.
        stop_at_eos: end a row once it has drawn the end-of-sentence symbol.

    Raises:
        ValueError: a negative or infinite temperature, a negative count, or a probability outside [0, 1].
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    max_symbols: int = 200
    stop_at_eos: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be finite and not negative, got {self.temperature}")
        require_range(self, ("top_k", "max_symbols"), least=0)
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must lie in [0, 1], got {self.top_p}")


def filter_logits(logits: Tensor, config: SamplingConfig, *, banned: Tensor | None = None) -> Tensor:
    """Logits of the distribution to draw from: -inf for every symbol that must not be drawn.

    In this order: banned symbols go, then all but the top_k likeliest; logits are divided by the temperature;
    and of the symbols that are left all go but the fewest whose renormalised probability reaches top_p. Of
    two equal logits the lower id counts as the likelier.

    Args:
        logits: [..., V] of any floating dtype; lower precision than float32 is raised to it.
        config: temperature, top_k and top_p.
        banned: [K] int64, ids that are never drawn.

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
    if banned is not None:
        check_ids(banned, V, what="banned ids")
        logits = logits.index_fill(-1, banned.to(logits.device, torch.int64), -math.inf)
    if logits.dtype != torch.float64:
        logits = logits.float()
    largest = logits.amax(-1, keepdim=True)
    if not largest.isfinite().all():
        raise ValueError(_why_not(largest))
    if config.temperature == 0:
        return _keep(logits, 1, threshold=largest) - largest
    if 0 < config.top_k < V:
        logits = _keep(logits, config.top_k, threshold=logits.topk(config.top_k).values[..., -1:])
    # The largest goes first: divided by a tiny temperature it could be inf, and inf - inf is no number.
    logits = (logits - largest) / min(max(config.temperature, _COLDEST), _HOTTEST)
    return logits if config.top_p == 1 else _nucleus(logits, config.top_p)


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


def _why_not(largest: Tensor) -> str:
    """Why no symbol can be drawn from rows whose largest logits are these."""
    if largest.isnan().any():
        return "logits are NaN: the weights or the state are damaged; did training diverge?"
    if (largest == math.inf).any():
        return "logits are +inf: the weights or the state are damaged; did training diverge?"
    return "no symbol is left to draw: each is banned or has logit -inf"
