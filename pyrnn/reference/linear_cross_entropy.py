"""Cross-entropy of a linear layer's outputs, in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def linear_cross_entropy(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    weights: Tensor | None,
    label_smoothing: float,
    ignore_index: int,
) -> Tensor:
    """sum_n w_n (-sum_v q_nv log softmax(input_n weight^T + bias)_v), over the rows that count.

    q_n gives label_smoothing / V to every class and the rest to the target. Rows whose target is
    `ignore_index` or whose weight is zero do not count, whatever they hold.

    Args:
        input: [N, H], floating point.
        weight: [V, H].
        bias: [V], or None for zeros.
        targets: [N] int64.
        weights: [N], or None for ones.
        label_smoothing: in [0, 1].
        ignore_index: a target that does not count.

    Example:
        >>> import torch
        >>> rows, targets = torch.zeros(2, 3), torch.tensor([1, -100])
        >>> linear_cross_entropy(rows, torch.zeros(4, 3), None, targets, None, 0.0, -100)
        tensor(1.3863)
    """
    wide = torch.float64 if input.dtype is torch.float64 else torch.float32
    alive = targets != ignore_index
    if weights is not None:
        alive = alive & (weights != 0)
    logits = F.linear(input.where(alive.unsqueeze(1), 0), weight, bias).to(wide)
    losses = F.cross_entropy(
        logits,
        targets.where(alive, ignore_index),
        ignore_index=ignore_index,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    return (losses if weights is None else losses * weights.where(alive, 0)).sum()
