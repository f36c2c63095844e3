"""What a user sees while a model trains: a progress bar on a terminal, JSON lines anywhere else."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

from pyrnn._files import to_json
from pyrnn._words import counted

if TYPE_CHECKING:
    from torch import Tensor

    from pyrnn.train.metrics_file import EpochMetrics
    from pyrnn.train.trainer import StepResult, Trainer

_log = logging.getLogger(__name__)

#: Between two looks at a loss, which may make a GPU wait.
_SECONDS = 0.2


@dataclass(frozen=True)
class Start:
    """What is about to be trained, and from where.

    Args:
        task: its name.
        sizes: counts of the data and the model by name, for instance tokens, vocabulary and parameters.
        device: where each process computes.
        threads: CPU threads of each process.
        processes: those that train together.
        step: optimizer steps that an earlier process did already.
        total_steps: of the whole run.
        log_every: optimizer steps between two reports.
    """

    task: str
    sizes: Mapping[str, int]
    device: str
    threads: int
    processes: int
    step: int
    total_steps: int
    log_every: int

    def line(self) -> str:
        """In words.

        Example:
            >>> sizes = {"tokens": 9000, "vocabulary": 60, "parameters": 12345}
            >>> Start("language-model", sizes, "cpu", 1, 1, 4, 9, 10).line()
            'language-model: tokens 9,000, vocabulary 60, parameters 12,345; cpu, 1 thread; from step 4 of 9'
        """
        counts = ", ".join(f"{name} {count:,}" for name, count in self.sizes.items())
        place = [self.device, counted(self.threads, "thread")]
        if self.processes > 1:
            place.append(counted(self.processes, "process", "processes"))
        steps = counted(self.total_steps, "step")
        if self.step:
            steps = f"from step {self.step:,} of {self.total_steps:,}"
        return f"{self.task}: {counts}; {', '.join(place)}; {steps}"


class Reporter(Protocol):
    """Is told of a training's start, of every optimizer step and every finished epoch."""

    def on_start(self, start: Start) -> None:
        """Data and model are ready, and the first step comes next; a finished run has none."""
        ...

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
            BarColumn(bar_width=None),  # takes what the others leave
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            console=console,
            expand=True,
        )
        self._task = self._progress.add_task("train", total=None, figures="")
        self._loss: float | None = None
        self._last = time.perf_counter()
        self._units: float | Tensor = 0.0

    def __enter__(self) -> TerminalReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_start(self, start: Start) -> None:
        """Print what is trained, and show the bar: what was read until now is no part of the speed."""
        self._progress.console.print(start.line(), highlight=False, markup=False)
        self._progress.reset(self._task, total=start.total_steps, completed=start.step)
        self._progress.start()
        self._last, self._units = time.perf_counter(), 0.0

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Move the bar, a few times a second."""
        self._units = self._units + result.units
        if (
            passed := time.perf_counter() - self._last
        ) < _SECONDS and trainer.steps_done < trainer.total_steps:
            return
        self._loss = _smooth(self._loss, result.loss.item())
        self._progress.update(
            self._task,
            completed=trainer.steps_done,
            figures=f"loss {self._loss:.3f}  {float(self._units) / passed:,.0f} {trainer.unit}/s",
        )
        self._last, self._units = time.perf_counter(), 0.0

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Print the epoch's line."""
        self._last, self._units = time.perf_counter(), 0.0  # the validation is no part of the speed
        scores = "  ".join(
            f"{name} {value:.4f}" for name, value in metrics.validation.items() if name != metrics.unit
        )
        self._progress.console.print(
            f"epoch {metrics.epoch:3}  train loss {metrics.train_loss:.4f}  validation {scores}  "
            f"{metrics.per_second:,.0f} {metrics.unit}/s",
            highlight=False,
        )


class JsonLinesReporter:
    """One JSON object a line: the start, every epoch, and every `every` steps of it.

    Args:
        stream: where to write.
        every: None takes the run's `log_every`.
    """

    def __init__(self, stream: TextIO, *, every: int | None = None) -> None:
        self._stream = stream
        self._every = every
        self._log_every = 1

    def __enter__(self) -> JsonLinesReporter:
        return self

    def __exit__(self, *exception: object) -> None:
        self._stream.flush()

    def on_start(self, start: Start) -> None:
        """Write what is trained."""
        self._log_every = start.log_every if self._every is None else self._every
        place = {"device": start.device, "threads": start.threads, "processes": start.processes}
        self._write({"task": start.task, **start.sizes, **place, "step": start.step, "of": start.total_steps})

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Write every n-th step."""
        if trainer.steps_done % self._log_every == 0:
            counted = {trainer.unit: float(result.units)}
            self._write(
                {"step": trainer.steps_done, "of": trainer.total_steps, **result.figures(), **counted}
            )

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Write the epoch."""
        self._write(metrics.row())

    def _write(self, row: dict[str, Any]) -> None:
        try:
            print(to_json(row), file=self._stream, flush=True)
        except BrokenPipeError:  # `head` has seen enough; a training is not lost for that
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)
            _log.warning("nobody reads the metrics any more; the training goes on, metrics.jsonl keeps them")


class Reporters:
    """Several reporters as one, told in their order."""

    def __init__(self, reporters: Sequence[Reporter]) -> None:
        self._reporters = reporters

    def on_start(self, start: Start) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.on_start(start)

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.on_step(trainer, result)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Tell each."""
        for reporter in self._reporters:
            reporter.on_epoch(metrics)


def reporter_for(stream: TextIO | None = None) -> TerminalReporter | JsonLinesReporter:
    """A bar where `stream`, by default the standard output, is a terminal, else JSON lines."""
    target: TextIO = sys.stdout if stream is None else stream
    return TerminalReporter(Console(file=target)) if target.isatty() else JsonLinesReporter(target)


def _smooth(average: float | None, value: float) -> float:
    """Exponential average over about ten values."""
    return value if average is None else 0.9 * average + 0.1 * value
