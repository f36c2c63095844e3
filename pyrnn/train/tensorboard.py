"""A training's losses and scores as event files for TensorBoard, written by torch's own `SummaryWriter`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyrnn.train.metrics_file import EpochMetrics
    from pyrnn.train.progress import Start
    from pyrnn.train.trainer import StepResult, Trainer


class TensorBoardReporter:
    """Event files of one run; use it as a context manager.

    Scalars by step: "train/loss", "train/grad_norm" and "train/learning_rate" every `log_every` steps;
    "train/epoch_loss", "train/UNIT per second" and "validation/NAME" after each epoch. What a resumed run
    does again takes the place of what was written of it before.

    Args:
        folder: where; made where it is missing.

    Raises:
        ImportError: the package tensorboard is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "event files for TensorBoard need the package tensorboard: "
                f"pip install 'pyrnn[tensorboard]' ({error})"
            ) from error
        self._make, self._folder = SummaryWriter, Path(folder)
        self._writer: Any = None
        self._log_every = 1
        self._rate: float | None = None  # of the step that comes next

    def __enter__(self) -> TensorBoardReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def on_start(self, start: Start) -> None:
        """Open the file, and write what is trained as a text."""
        self._log_every = start.log_every
        purged = start.step + 1 if start.step else None
        self._writer = self._make(str(self._folder), purge_step=purged)
        self._writer.add_text("run", start.line(), start.step)

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Write every few steps."""
        rate, self._rate = self._rate, trainer.learning_rate
        if trainer.steps_done % self._log_every == 0:
            self._write("train/loss", result.loss.item(), trainer.steps_done)
            if result.grad_norm is not None:
                self._write("train/grad_norm", result.grad_norm.item(), trainer.steps_done)
            if rate is not None:
                self._write("train/learning_rate", rate, trainer.steps_done)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Write the epoch, and let a viewer see it at once."""
        self._write("train/epoch_loss", metrics.train_loss, metrics.step)
        self._write(f"train/{metrics.unit} per second", metrics.per_second, metrics.step)
        for name, value in metrics.validation.items():
            if name != metrics.unit:
                self._write(f"validation/{name}", value, metrics.step)
        self._writer.flush()

    def _write(self, name: str, value: float, step: int) -> None:
        if math.isfinite(value):  # a viewer has no place for others
            self._writer.add_scalar(name, value, step)
