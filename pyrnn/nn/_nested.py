"""Nested tensors, sequences of different lengths without padding, as padded ones and back."""

from __future__ import annotations

import torch
from torch import Tensor


def pad(nested: Tensor) -> tuple[Tensor, Tensor]:
    """Sequences as [B, T, E], zeros behind each, and where those are: bool [B, T], True at padding.

    Raises:
        ValueError: there is no sequence.
    """
    sequences = nested.unbind()
    if not sequences:
        raise ValueError("expected a nested tensor with at least one sequence, got one with none")
    lengths = torch.tensor([sequence.shape[0] for sequence in sequences], device=nested.device)
    if lengths.any():
        padded = torch.nested.to_padded_tensor(nested, 0.0)
    else:  # torch pads no sequences without tokens
        padded = torch.stack(sequences)
    return padded, torch.arange(padded.shape[1], device=nested.device) >= lengths[:, None]


def unpad(padded: Tensor, padding: Tensor, layout: torch.layout) -> Tensor:
    """The nested tensor whose sequences are the rows that are no padding."""
    lengths = (~padding).sum(1).tolist()
    rows = [row[:length] for row, length in zip(padded, lengths, strict=True)]
    return torch.nested.as_nested_tensor(rows, layout=layout)
