"""Truncated back-propagation through time with a carried state."""

from __future__ import annotations

import sys
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrnn.losses import sequence_cross_entropy
from pyrnn.models import LanguageModel, State, detach_state
from pyrnn.text import StreamBatches
from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import Processes
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
    state: the position in the text and the learning rate follow from `steps_done`. Each epoch starts
    without a state. Of several processes each reads its share of the streams; the loss and the gradient
    are those of one process that reads them all (dropout masks differ).

    Source: Williams and Peng, "An efficient gradient-based algorithm for on-line training of recurrent
    network trajectories", 1990; clipping: Pascanu et al., "On the difficulty of training recurrent neural
    networks", 2013.

    Args:
        model: trained in place, on the device where it lies.
        batches: the training text, all streams.
        config: the recipe.
        processes: those that train together.

    Example:
        >>> from pyrnn.models import LanguageModelConfig
        >>> batches = StreamBatches(torch.arange(99) % 5, batch_size=2, window=8)
        >>> trainer = TruncatedBPTT(LanguageModel(LanguageModelConfig(5)), batches, TrainConfig(epochs=1))
        >>> trainer.step().symbols
        16
    """

    def __init__(
        self,
        model: LanguageModel,
        batches: StreamBatches,
        config: TrainConfig,
        *,
        processes: Processes | None = None,
    ) -> None:
        self.model = model
        self.batches = batches
        self.config = config
        self.processes = processes or Processes()
        self.device = next(model.parameters()).device
        self.total_steps = min(config.epochs * len(batches), config.max_steps or sys.maxsize)
        self.schedule = Schedule(config.learning_rate, config.warmup_steps, self.total_steps, config.decay)
        self.optimizer = _optimizer(model, config)
        self.state: State | None = None
        self.steps_done = 0
        self._mine = batches.shard(self.processes.rank, self.processes.world)
        self._parallel = self.processes.parallel(model)

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return self.schedule(self.steps_done)

    def steps_read(self, steps: int) -> int:
        """Symbols of each stream that the state has behind it after `steps` optimizer steps, of its epoch."""
        windows = (steps - 1) % len(self.batches) + 1
        return min(windows * self.batches.window, -(-self.batches.pairs // self.batches.batch_size))

    def step(self) -> StepResult:
        """Read the next window, and update the model once."""
        window = self.steps_done % len(self.batches)
        if window == 0:
            self.state = None
        inputs, targets = (ids.to(self.device) for ids in self._mine[window])
        symbols = self.batches.window_symbols(window)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            logits, state = self._parallel(inputs, self.state)
        share = sequence_cross_entropy(logits.float(), targets, reduction="sum") / symbols
        self.optimizer.zero_grad()
        (share * self.processes.world).backward()  # the average over processes is their sum / world
        grad_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate
        self.optimizer.step()
        self.state = detach_state(state)
        self.steps_done += 1
        loss: Tensor = self.processes.sum(share.detach())
        return StepResult(loss.item(), grad_norm.item(), symbols)


def _optimizer(model: LanguageModel, config: TrainConfig) -> torch.optim.Optimizer:
    parameters, rate, decay = model.parameters(), config.learning_rate, config.weight_decay
    if config.optimizer == "sgd":
        return torch.optim.SGD(parameters, lr=rate, momentum=config.momentum, weight_decay=decay, fused=True)
    return torch.optim.AdamW(parameters, lr=rate, betas=config.betas, weight_decay=decay, fused=True)
