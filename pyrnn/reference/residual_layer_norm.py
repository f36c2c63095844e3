"""Layer normalisation of a residual sum with dropout, in plain torch."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from pyrnn.reference.dropout import dropout


def residual_layer_norm(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    eps: float,
    p: float,
) -> tuple[Tensor, Tensor]:
    """(layer_norm(summed), summed) with summed = residual + drop(input), over the last dimension.

    Args:
        input: [..., E], floating point.
        residual: of the same shape.
        weight: [E], or None for ones.
        bias: [E], or None for zeros.
        seed: int64 scalar; required with p > 0.
        eps: added to the variance.
        p: probability of being dropped, in [0, 1].

    Example:
        >>> import torch
        >>> x = torch.tensor([1.0, 3.0])
        >>> residual_layer_norm(x, x, None, None, None, 0.0, 0.0)
        (tensor([-1.,  1.]), tensor([2., 6.]))
    """
    summed = dropout(input, residual, seed, p, "none")
    return F.layer_norm(summed, summed.shape[-1:], weight, bias, eps), summed
