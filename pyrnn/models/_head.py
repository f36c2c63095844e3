"""The loss of a model's last linear layer, without its logits where nobody else sees them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrnn.losses import sequence_cross_entropy, sequence_linear_cross_entropy
from pyrnn.nn.parts import LINEAR, apply_linear
from pyrnn.nn.plain import is_plain


def head_loss(
    projection: Any, rows: Tensor, targets: Tensor, *, label_smoothing: float, plain: bool = False
) -> Tensor:
    """The sum of -log softmax(projection(rows))[targets] over places that count, in float32 at least.

    Args:
        projection: to the vocabulary; called as a module where it is more than a linear layer.
        rows: [T, B, H].
        targets: [T, B] int64 ids, or `pyrnn.losses.IGNORE`.
        label_smoothing: as in `pyrnn.losses.sequence_cross_entropy`.
        plain: call the module and take the loss of its logits, as a comparison with torch's layers asks for.
    """
    options: dict[str, Any] = {"reduction": "sum", "label_smoothing": label_smoothing}
    if not plain and is_plain(projection, LINEAR):
        return sequence_linear_cross_entropy(rows, projection.weight, targets, projection.bias, **options)
    logits = projection(rows) if plain else apply_linear(projection, rows)
    wide = logits if logits.dtype is torch.float64 else logits.float()
    return sequence_cross_entropy(wide, targets, **options)
