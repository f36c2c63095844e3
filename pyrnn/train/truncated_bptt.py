"""Truncated back-propagation through time with a carried state."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from pyrnn.models import LanguageModel, RecurrentState, detach_state
from pyrnn.text import IGNORE, StreamBatches
from pyrnn.train.config import TrainConfig
from pyrnn.train.schedule import Schedule


@dataclass(frozen=True)
class StepResult:
    """One optimizer step: mean loss in nats a symbol, gradient norm before clipping, symbols read."""

    loss: float
    grad_norm: float
    symbols: int


class TruncatedBPTT:
    """Optimizes `model` window by window; the state flows on, its gradient stops at each window's start.

    Everything that a step depends on is the model, `optimizer`, `state`, `steps_done` and torch's random
    state: the position in the text and the learning rate follow from `steps_done`. The state starts from
    zeros at each epoch.

    Source: Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990; clipping: Pascanu et al., "On the difficulty of training recurrent neural
    networks", 2013.

    Args:
        model: trained in place.
        batches: the training text.
        config: the recipe.

    Example:
        >>> from pyrnn.models import LanguageModelConfig
        >>> batches = StreamBatches(torch.arange(99) % 5, batch_size=2, window=8)
        >>> trainer = TruncatedBPTT(LanguageModel(LanguageModelConfig(5)), batches, TrainConfig(epochs=1))
        >>> trainer.step().symbols
        16
    """

    def __init__(self, model: LanguageModel, batches: StreamBatches, config: TrainConfig) -> None:
        self.model = model
        self.batches = batches
        self.config = config
        self.total_steps = config.epochs * len(batches)
        self.schedule = Schedule(config.learning_rate, config.warmup_steps, self.total_steps, config.decay)
        self.optimizer = torch.optim.AdamW(
            model.parameters(),
            lr=config.learning_rate,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.state: RecurrentState | None = None
        self.steps_done = 0

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.schedule(self.steps_done)

    def step(self) -> StepResult:
        """Read the next window, and update the model once."""
        window = self.steps_done % len(self.batches)
        if window == 0:
            self.state = None
        inputs, targets = self.batches[window]
        self.model.train()
        logits, state = self.model(inputs, self.state)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORE)
        self.optimizer.zero_grad()
        loss.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.step()
        self.state = detach_state(state)
        self.steps_done += 1
        return StepResult(loss.item(), grad_norm.item(), int((targets != IGNORE).sum()))
