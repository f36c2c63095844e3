"""Dropout with an activation before it and a sum after it, in plain torch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn.reference.philox import philox, threshold

_LOW = 0xFFFFFFFF

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}


def dropout_keep(seed: Tensor, p: float, shape: torch.Size, device: torch.device) -> Tensor:
    """Which elements dropout with probability `p` keeps: bool of `shape`.

    Element n, counted in row-major order, takes word n % 4 of counter (n // 4 in two words, 0, 1).
    """
    if p >= 1:
        return torch.zeros(shape, dtype=torch.bool, device=device)
    count = shape.numel()
    block = torch.arange((count + 3) // 4, dtype=torch.int64, device=device)
    zero = torch.zeros((), dtype=torch.int64, device=device)
    words = philox(seed.to(device), (block & _LOW, block >> 32, zero, zero + 1))
    return (torch.stack(words, -1).flatten()[:count] >= threshold(p)).view(shape)


def dropout(input: Tensor, residual: Tensor | None, seed: Tensor | None, p: float, activation: str) -> Tensor:
    """residual + drop(activation(input)), where drop makes an element 0 or 1/(1-p) times as large.

    Args:
        input: any shape, floating point.
        residual: of the same shape, or None.
        seed: int64 scalar; required with p > 0.
        p: probability of being dropped, in [0, 1].
        activation: "none", "relu", "gelu" or "gelu_tanh".

    Example:
        >>> import torch
        >>> dropout(torch.tensor([-1.0, 2.0]), torch.ones(2), None, 0.0, "relu")
        tensor([1., 3.])
    """
    value = ACTIVATIONS[activation](input)
    if p > 0:
        assert seed is not None, "dropout needs a seed"
        kept = dropout_keep(seed, p, input.shape, input.device)
        value = torch.where(kept, value * (1 / (1 - p) if p < 1 else 0.0), 0.0)
    return value if residual is None else residual + value
