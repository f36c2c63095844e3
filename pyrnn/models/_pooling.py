"""One vector of a sequence of them.

Dimension key: T time, B batch, F features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """A mean whose weights are learned: a_t = softmax_t(u . tanh(W h_t + b)), s = sum_t a_t h_t.

    Source: Yang et al., "Hierarchical attention networks for document classification", 2016, equations 5 to
    7.

    Args:
        features: F; u and b have as many.

    Example:
        >>> pooling = AttentionPooling(8)
        >>> pooling(torch.randn(5, 2, 8), torch.tensor([5, 3])).shape
        torch.Size([2, 8])
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(features, features)
        self.score = nn.Linear(features, 1, bias=False)

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """[T, B, F] and [B] -> [B, F]; of a sequence without steps zeros."""
        there = _there(states, lengths)
        states = states.where(there, 0)
        scores = self.score(torch.tanh(self.hidden(states)))
        scores = scores.masked_fill(~there & (lengths > 0).view(1, -1, 1), -torch.inf)  # something is left
        return (states * scores.softmax(0)).sum(0)


def last_step(states: Tensor, lengths: Tensor, *, bidirectional: bool) -> Tensor:
    """The output of each sequence's last step; of two directions, the halves of F, each where it ends.

    [T, B, F] and [B] -> [B, F]; of a sequence without steps zeros.
    """
    end = (lengths - 1).clamp(min=0).view(1, -1, 1).expand(1, -1, states.shape[2])
    last = states.gather(0, end)[0]
    if bidirectional:
        H = states.shape[2] // 2
        last = torch.cat([last[:, :H], states[0, :, H:]], 1)
    return last.where(lengths.unsqueeze(1) > 0, 0)


def mean_step(states: Tensor, lengths: Tensor) -> Tensor:
    """The mean of each sequence's steps: [T, B, F] and [B] -> [B, F]; of none zeros."""
    return states.where(_there(states, lengths), 0).sum(0) / lengths.clamp(min=1).unsqueeze(1)


def max_step(states: Tensor, lengths: Tensor) -> Tensor:
    """The largest of each feature over a sequence's steps: [T, B, F] and [B] -> [B, F]; of none zeros."""
    largest = states.masked_fill(~_there(states, lengths), -torch.inf).amax(0)
    return largest.where(lengths.unsqueeze(1) > 0, 0)


def _there(states: Tensor, lengths: Tensor) -> Tensor:
    """[T, B, 1] bool: the steps before each length."""
    return (torch.arange(len(states), device=states.device).unsqueeze(1) < lengths).unsqueeze(2)
