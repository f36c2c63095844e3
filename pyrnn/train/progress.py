"""What a user sees while a model trains: a progress bar on a terminal, JSON lines anywhere else."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from pyrnn.train.run_folder import EpochMetrics
    from pyrnn.train.truncated_bptt import StepResult, TruncatedBPTT


class Reporter(Protocol):
    """Is told of every optimizer step and every finished epoch."""

    def on_step(self, trainer: TruncatedBPTT, result: StepResult) -> None:
        """`trainer` has just done the step that gave `result`."""
        ...

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """An epoch and its validation are over."""
        ...


class TerminalReporter:
    """A bar with the running loss and speed, and one line per epoch above it; use it as a context manager."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  {task.fields[speed]:,.0f} symbols/s"),
            TimeRemainingColumn(),
            console=console,
        )
        self._task = self._progress.add_task("train", loss=float("nan"), speed=0.0)
        self._loss: float | None = None
        self._last = time.perf_counter()
        self._seconds_per_symbol: float | None = None

    def __enter__(self) -> TerminalReporter:
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_step(self, trainer: TruncatedBPTT, result: StepResult) -> None:
        """Move the bar."""
        now = time.perf_counter()
        self._loss = _smooth(self._loss, result.loss)
        self._seconds_per_symbol = _smooth(self._seconds_per_symbol, (now - self._last) / result.symbols)
        self._last = now
        self._progress.update(
            self._task,
            total=trainer.total_steps,
            completed=trainer.steps_done,
            loss=self._loss,
            speed=1 / self._seconds_per_symbol,
        )

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Print the epoch's line."""
        self._last = time.perf_counter()  # the validation is not part of the training speed
        self._progress.console.print(
            f"epoch {metrics.epoch:3}  train {metrics.train_loss:.4f}  validation "
            f"{metrics.validation_loss:.4f} nats a symbol  {metrics.symbols_per_second:,.0f} symbols/s",
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

    def on_step(self, trainer: TruncatedBPTT, result: StepResult) -> None:
        """Write every n-th step."""
        if trainer.steps_done % self._every == 0:
            self._write({"step": trainer.steps_done, "of": trainer.total_steps, **asdict(result)})

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Write the epoch."""
        self._write(asdict(metrics))

    def _write(self, row: dict[str, float]) -> None:
        print(json.dumps(row), file=self._stream, flush=True)


def reporter_for(stream: TextIO | None = None) -> TerminalReporter | JsonLinesReporter:
    """A bar where `stream`, by default the standard output, is a terminal, else JSON lines."""
    target: TextIO = sys.stdout if stream is None else stream
    return TerminalReporter(Console(file=target)) if target.isatty() else JsonLinesReporter(target)


def _smooth(average: float | None, value: float) -> float:
    """Exponential average over about 50 steps."""
    return value if average is None else 0.98 * average + 0.02 * value
