"""The language-model job: epochs of truncated BPTT, each followed by a validation."""

from __future__ import annotations

import time
from dataclasses import dataclass

from torch import Tensor

from pyrnn.models import LanguageModel
from pyrnn.text import StreamBatches
from pyrnn.train.config import TrainConfig
from pyrnn.train.evaluation import evaluate
from pyrnn.train.progress import Reporter
from pyrnn.train.truncated_bptt import TruncatedBPTT


@dataclass(frozen=True)
class EpochMetrics:
    """What one epoch cost and reached; losses in nats a symbol, seconds of training alone."""

    epoch: int
    train_loss: float
    validation_loss: float
    symbols: int
    seconds: float

    @property
    def symbols_per_second(self) -> float:
        """Training speed, validation left out."""
        return self.symbols / self.seconds


def fit(
    model: LanguageModel,
    train_ids: Tensor,
    validation_ids: Tensor,
    config: TrainConfig,
    *,
    reporter: Reporter | None = None,
) -> list[EpochMetrics]:
    """Train `model` in place and return the metrics of every epoch.

    Dropout draws from torch's global generator: seed it before the model is built to repeat a run exactly.

    Args:
        model: any device; the ids must lie on the same one.
        train_ids: [N] integers in [0, V).
        validation_ids: [M] integers in [0, V); all of it is evaluated after each epoch.
        config: the recipe.
        reporter: is told of each step and epoch.

    Raises:
        ValueError: one of the texts is too short for its streams.
    """
    batches = StreamBatches(train_ids, batch_size=config.batch_size, window=config.window)
    validation = StreamBatches(
        validation_ids, batch_size=config.validation_streams, window=config.validation_window
    )
    trainer = TruncatedBPTT(model, batches, config)
    history: list[EpochMetrics] = []
    for epoch in range(1, config.epochs + 1):
        total, started = 0.0, time.perf_counter()
        for _ in range(len(batches)):
            result = trainer.step()
            total += result.loss * result.symbols
            if reporter is not None:
                reporter.on_step(trainer, result)
        seconds = time.perf_counter() - started
        validation_loss = evaluate(model, validation).loss
        history.append(EpochMetrics(epoch, total / batches.pairs, validation_loss, batches.pairs, seconds))
        if reporter is not None:
            reporter.on_epoch(history[-1])
    return history
