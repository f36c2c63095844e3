"""Loss of a language model on a text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from pyrnn.models import LanguageModel, RecurrentState
from pyrnn.text import IGNORE, StreamBatches


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats a symbol over `symbols` predicted symbols."""

    loss: float
    symbols: int

    @property
    def perplexity(self) -> float:
        """exp(loss)."""
        return math.exp(self.loss)

    @property
    def bits(self) -> float:
        """The loss in bits a symbol."""
        return self.loss / math.log(2)


@torch.no_grad()
def evaluate(model: LanguageModel, batches: StreamBatches) -> Evaluation:
    """Evaluate every pair of `batches` once, without dropout, the state carried from window to window.

    The model is left in the mode, training or not, in which it came.
    """
    was_training = model.training
    model.eval()
    total = 0.0
    state: RecurrentState | None = None
    for inputs, targets in batches:
        logits, state = model(inputs, state)
        total += F.cross_entropy(
            logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE, reduction="sum"
        ).item()
    model.train(was_training)
    return Evaluation(loss=total / batches.pairs, symbols=batches.pairs)
