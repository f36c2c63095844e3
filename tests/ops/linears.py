"""Linear layers for the tests: tensors of a call, and torch's own."""

from __future__ import annotations

import sys
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn.ops import linear
from pyrnn.reference.dropout import ACTIVATIONS

linear_module: Any = sys.modules[linear.__module__]  # `pyrnn.ops.linear` is the function


def leaves(rows: int, i: int, o: int, dtype: torch.dtype = torch.float64, *, bias: bool = True) -> list[Any]:
    made = [torch.randn(rows, i), torch.randn(o, i) / i**0.5, torch.randn(o) if bias else None]
    return [None if t is None else t.to(dtype).requires_grad_() for t in made]


def torchs(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str | None) -> Tensor:
    return ACTIVATIONS[activation or "none"](F.linear(x, weight, bias))
