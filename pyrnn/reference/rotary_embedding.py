"""Rotary position embedding in plain torch."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_embedding(input: Tensor, table: Tensor, sequence_dim: int) -> Tensor:
    """Pairs of features turned by the angles of their positions; those behind them stay as they are.

    Args:
        input: [..., D] with T positions at `sequence_dim`.
        table: cos and sin, [T, pairs, 2] with pairs <= D / 2, of the dtype in which pairs are turned.
        sequence_dim: a dimension before the last one, counted from the end.

    Example:
        >>> import torch
        >>> rotary_embedding(torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[[0.0, 1.0]]]), -2)
        tensor([[-2.,  1.,  3.]])
    """
    T, pairs, _ = table.shape
    wide = input.to(torch.promote_types(input.dtype, table.dtype))
    cos, sin = table.view(T, *(1,) * (-2 - sequence_dim), pairs, 2).unbind(-1)
    a, b = wide[..., : 2 * pairs].unflatten(-1, (pairs, 2)).unbind(-1)
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), dim=-1).flatten(-2)
    if 2 * pairs < input.shape[-1]:
        turned = torch.cat((turned, wide[..., 2 * pairs :]), dim=-1)
    return turned.to(input.dtype)
