"""The loss of GloVe and its steps, in plain torch, one pair after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class GloveParameters(NamedTuple):
    """w, c [V, D] and b, d [V]."""

    words: Tensor
    contexts: Tensor
    word_biases: Tensor
    context_biases: Tensor


def glove_terms(
    parameters: GloveParameters, rows: Tensor, columns: Tensor, counts: Tensor, *, x_max: float, alpha: float
) -> Tensor:
    """f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 of each pair, [P].

    Args:
        parameters: all of them.
        rows: [P] int64, i.
        columns: [P] int64, j.
        counts: [P], X_ij > 0.
        x_max: from which count on the weight f is 1.
        alpha: power of x / x_max below.

    Example:
        >>> one = GloveParameters(torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1), torch.zeros(1))
        >>> place = torch.zeros(1, dtype=torch.int64)
        >>> glove_terms(one, place, place, torch.ones(1), x_max=1.0, alpha=0.75)
        tensor([4.])
    """
    w, c, b, d = parameters
    error = (w[rows] * c[columns]).sum(-1) + b[rows] + d[columns] - counts.log()
    return (counts / x_max).pow(alpha).clamp(max=1) * error.square()


def glove_steps(
    parameters: GloveParameters,
    sums: GloveParameters,
    pairs: Sequence[tuple[int, int, float]],
    *,
    learning_rate: float,
    x_max: float,
    alpha: float,
) -> float:
    """A step of AdaGrad on half a term for each pair, in place; the sum of the terms, each before its step.

    Args:
        parameters: trained.
        sums: of squared gradients, of the same shapes.
        pairs: (i, j, X_ij) in their order.
        learning_rate: of each step.
        x_max: as of `glove_terms`.
        alpha: likewise.
    """
    total = 0.0
    for i, j, x in pairs:
        own = GloveParameters(
            *(part[[k]].detach().requires_grad_() for part, k in zip(parameters, (i, j, i, j), strict=True))
        )
        place = torch.zeros(1, dtype=torch.int64)
        term = glove_terms(own, place, place, own.words.new_tensor([x]), x_max=x_max, alpha=alpha).sum()
        gradients = torch.autograd.grad(term / 2, own)
        total += term.item()
        for part, sum_, gradient, k in zip(parameters, sums, gradients, (i, j, i, j), strict=True):
            sum_[k] += gradient[0] ** 2
            part[k] -= learning_rate * gradient[0] / sum_[k].sqrt()
    return total
