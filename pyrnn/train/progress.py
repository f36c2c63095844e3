"""What a user sees while a model trains: a progress bar on a terminal, JSON lines anywhere else."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pyrnn._files import to_json

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.train.metrics_file import EpochMetrics
    from pyrnn.train.trainer import StepResult, Trainer

#: Between two looks at a loss, which may make a GPU wait.
_SECONDS = 0.2


class Reporter(Protocol):
    """Is told of every optimizer step and every finished epoch."""

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """`trainer` has just done the step that gave `result`."""
        ...

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch and its validation are over."""
        ...


class TerminalReporter:
    """A bar with the running loss and speed, and one line per epoch above it; use it as a context manager.

    Whatever the task: a trainer says what its steps are counted in, and metrics have names.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("train", loss=float("nan"), speed="")
        self._loss: float | None = None
        self._last = time.perf_counter()
        self._weight: float | Tensor = 0.0

    def __enter__(self) -> TerminalReporter:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Move the bar, a few times a second."""
        self._weight = self._weight + result.weight
        if (
            passed := time.perf_counter() - self._last
        ) < _SECONDS and trainer.steps_done < trainer.total_steps:
            return
        self._loss = _smooth(self._loss, result.loss.item())
        self._progress.update(
            self._task,
            total=trainer.total_steps,
            completed=trainer.steps_done,
            loss=self._loss,
            speed=f"{float(self._weight) / passed:,.0f} {trainer.unit}/s",
        )
        self._last, self._weight = time.perf_counter(), 0.0

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Print the epoch's line."""
        self._last, self._weight = time.perf_counter(), 0.0  # the validation is no part of the speed
        scores = "  ".join(
            f"{name} {value:.4f}" for name, value in metrics.validation.items() if name != metrics.unit
        )
        self._progress.console.print(
            f"epoch {metrics.epoch:3}  train loss {metrics.train_loss:.4f}  validation {scores}  "
            f"{metrics.per_second:,.0f} {metrics.unit}/s",
            highlight=False,
        )


class JsonLinesReporter:
    """One JSON object a line: every epoch, and every `every` steps of it."""

    def __init__(self, stream: TextIO, *, every: int = 100) -> None:
        self._stream = stream
        self._every = every

    def __enter__(self) -> JsonLinesReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.flush()

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Write every n-th step."""
        if trainer.steps_done % self._every == 0:
            values = {"loss": result.loss.item(), "grad_norm": result.grad_norm.item()}
            counted = {trainer.unit: float(result.weight)}
            self._write({"step": trainer.steps_done, "of": trainer.total_steps, **values, **counted})

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Write the epoch."""
        self._write(metrics.row())

    def _write(self, row: dict[str, Any]) -> None:
        print(to_json(row), file=self._stream, flush=True)


def reporter_for(stream: TextIO | None = None) -> TerminalReporter | JsonLinesReporter:
    """A bar where `stream`, by default the standard output, is a terminal, else JSON lines."""
    target: TextIO = sys.stdout if stream is None else stream
    return TerminalReporter(Console(file=target)) if target.isatty() else JsonLinesReporter(target)


def _smooth(average: float | None, value: float) -> float:
    """Exponential average over about ten values."""
    return value if average is None else 0.9 * average + 0.1 * value
