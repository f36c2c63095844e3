"""The training loop: epochs of steps, each followed by a validation; rows of metrics, checkpoints, an end."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.models.pretrained import Pretrained, write_weights
from pyrnn.train.checkpoint import Counters, not_usable, restore, write_checkpoint
from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import ProcessGroup
from pyrnn.train.metrics_file import EpochMetrics, Row, epochs_of, read_metrics, write_metrics
from pyrnn.train.progress import Reporter, Start
from pyrnn.train.run_folder import CHECKPOINT, METRICS
from pyrnn.train.shutdown import GracefulShutdown
from pyrnn.train.task import Batches, Objective, Task
from pyrnn.train.trainer import StepResult, Trainer

_log = logging.getLogger(__name__)


def fit(
    task: Task,
    model: Pretrained,
    batches: Batches,
    validation: Batches,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    processes: ProcessGroup | None = None,
    objective: Objective | None = None,
    before_steps: Callable[[], None] | None = None,
) -> list[EpochMetrics]:
    """Train `model` in place and return the metrics of every epoch.

    Dropout draws from torch's global generator: seed it before the model is built to repeat a run exactly.
    With a folder, weights, metrics and checkpoints go there, and a run that was stopped at any moment goes on
    as if it had not been: the same weights, bit for bit, on the same machine with the same threads.

    Args:
        task: says what the loss is and which score decides.
        model: any device.
        batches: the training data.
        validation: all of it is evaluated after each epoch.
        config: the recipe.
        folder: where to write; None keeps everything in memory.
        resume: go on from the folder's checkpoint, if there is one yet.
        reporter: is told of the start, of each step and epoch, in the first process.
        processes: those that train together; each calls this with the same arguments.
        objective: which score decides; the task's own unless given.
        before_steps: called in the first process once it is sure that the training can go on.

    Raises:
        ValueError: the batch size cannot be shared, or the checkpoint does not fit.
        FloatingPointError: loss or weights are no longer finite; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the step was finished and a checkpoint written.
        OSError: the folder cannot be written.
    """
    processes = processes or ProcessGroup()
    trainer = task.trainer(model, batches, config, processes)
    device = next(model.parameters()).device
    objective = task.objective if objective is None else objective
    loop = TrainingLoop(trainer, validation, config, objective, processes, folder, reporter)
    if resume and folder is not None and (folder / CHECKPOINT).exists():
        loop.resume(folder)
    elif processes.rank:
        torch.manual_seed(config.seed + processes.rank)  # every process drops other units
    if before_steps is not None and processes.is_first:
        before_steps()
    if loop.reporter is not None and not loop.counters.finished:
        sizes = {**task.sizes_of(model, batches), "parameters": sum(p.numel() for p in model.parameters())}
        loop.reporter.on_start(
            Start(
                task=task.name,
                sizes=sizes,
                device=str(device),
                threads=torch.get_num_threads(),
                processes=processes.world,
                step=trainer.steps_done,
                total_steps=trainer.total_steps,
                log_every=config.log_every,
            )
        )
    with GracefulShutdown() as shutdown:
        loop.run(lambda: processes.any(shutdown.requested, device))
    return loop.history


class _Sums(NamedTuple):
    """What the steps of an epoch add up to."""

    loss: Tensor = torch.zeros((), dtype=torch.float64)
    weight: float | Tensor = 0.0
    units: float | Tensor = 0.0

    def plus(self, result: StepResult) -> _Sums:
        """One step more."""
        loss = result.loss.double() * result.weight
        return _Sums(self.loss.to(loss.device) + loss, self.weight + result.weight, self.units + result.units)


class TrainingLoop:
    """One run in progress: its counters, its rows of metrics, its files; it knows no model and no task.

    Args:
        trainer: makes the steps.
        validation: what to evaluate after each epoch.
        config: when to write, and when to stop.
        objective: the score that decides.
        processes: those that train together.
        folder: where to write; None keeps everything in memory.
        reporter: is told of the start, of each step and epoch, in the first process.
    """

    def __init__(
        self,
        trainer: Trainer,
        validation: Batches,
        config: TrainConfig,
        objective: Objective,
        processes: ProcessGroup,
        folder: Path | None,
        reporter: Reporter | None,
    ) -> None:
        self.trainer, self.validation, self.config, self.objective = trainer, validation, config, objective
        self.processes, self.folder = processes, folder
        self.reporter = reporter if processes.is_first else None
        self.counters = Counters(
            world=processes.world, threads=torch.get_num_threads(), torch=torch.__version__
        )
        self.rows: list[Row] = []
        #: Of this epoch; what a GPU still computes is not in the counters yet.
        self._sums = _Sums()

    @property
    def history(self) -> list[EpochMetrics]:
        """What each epoch reached."""
        return epochs_of(self.rows)

    def resume(self, folder: Path) -> None:
        """Go on where the checkpoint of `folder` was written."""
        counters = restore(self.trainer, folder / CHECKPOINT, world=self.processes.world)
        self._tell_differences(counters)
        self.counters = counters
        counters.finished = self._is_finished()  # it may be to go on for longer now
        loss = torch.tensor(counters.epoch_loss, dtype=torch.float64)
        self._sums = _Sums(loss, counters.epoch_weight, counters.epoch_units)
        # A process killed between its two files has written rows that the checkpoint does not know.
        self.rows = [row for row in read_metrics(folder / METRICS) if row["step"] <= counters.steps]

    def _tell_differences(self, saved: Counters) -> None:
        """Say what may change the last bits of a resumed run, and note what it goes on with."""
        changes = []
        if saved.threads != self.counters.threads:
            changes.append(f"CPU threads: {saved.threads} before, {self.counters.threads} now")
        if saved.torch != self.counters.torch:
            changes.append(f"torch: {saved.torch} before, {self.counters.torch} now")
        if changes and self.processes.is_first:
            _log.warning(
                "%s; the run goes on, but its last bits may differ from those of a run that was not stopped",
                "; ".join(changes),
            )
        saved.threads, saved.torch = self.counters.threads, self.counters.torch

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Train to the end, or until `interrupted` says so after a step."""
        trainer, counters = self.trainer, self.counters
        if self._at_end() and not counters.finished:  # it was stopped here, where it is to end now
            self._end_epoch()
        while not counters.finished:
            started, rate = time.perf_counter(), trainer.learning_rate
            result = trainer.step()
            counters.epoch_seconds += time.perf_counter() - started
            counters.steps = trainer.steps_done
            self._sums = self._sums.plus(result)
            self._note_step(result, rate)
            if trainer.steps_done % trainer.epoch_steps == 0 or self._at_end():
                self._end_epoch()
            elif trainer.steps_done % self.config.checkpoint_every == 0:
                self._save()
            if self._looks() and interrupted():
                self._save()
                raise KeyboardInterrupt

    def _looks(self) -> bool:
        """Whether to wait for what was computed: on a CPU always, on a GPU once in a few steps."""
        on_cpu = self._sums.loss.device.type == "cpu"
        return on_cpu or self.trainer.steps_done % self.config.log_every == 0

    def _note_step(self, result: StepResult, rate: float) -> None:
        """Keep a row every few steps."""
        trainer = self.trainer
        if self._looks():
            self._settle(result.loss.item())
        if trainer.steps_done % self.config.log_every == 0:
            self.rows.append(
                {
                    "step": trainer.steps_done,
                    "learning_rate": rate,
                    **result.figures(),
                }
            )
        if self.reporter is not None:
            self.reporter.on_step(trainer, result)

    def _settle(self, loss: float = 0.0) -> None:
        """Bring the counters up to date; refuse to go on with a loss that is not finite."""
        counters, sums = self.counters, self._sums
        counters.epoch_loss, counters.epoch_weight = sums.loss.item(), float(sums.weight)
        counters.epoch_units = float(sums.units)
        if not math.isfinite(loss):
            raise self._diverged(f"the loss is {loss}")
        if not math.isfinite(self.counters.epoch_loss):
            raise self._diverged(f"the sum of the epoch's losses is {self.counters.epoch_loss}")

    def _diverged(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} at step {self.trainer.steps_done}: the training diverged; "
            "lower learning_rate or clip_norm"
        )

    def _end_epoch(self) -> None:
        trainer, counters = self.trainer, self.counters
        self._settle()
        trainer.end_epoch()
        scores = trainer.evaluate(self.validation)
        metrics = EpochMetrics(
            epoch=-(-trainer.steps_done // trainer.epoch_steps),
            step=trainer.steps_done,
            train_loss=counters.epoch_loss / (counters.epoch_weight or 1.0),
            validation=scores,
            objective=self.objective,
            weight=counters.epoch_units,
            unit=trainer.unit,
            seconds=counters.epoch_seconds,
        )
        for name, score in scores.items():
            if math.isnan(score) or (name == self.objective.metric and math.isinf(score)):
                raise self._diverged(f"the validation's {name} is {score}")
        self.rows.append(metrics.row())
        self._sums = _Sums()
        self._settle()
        counters.epoch_seconds = 0.0
        better = self.objective.is_better(metrics.score, than=counters.best_score)
        counters.epochs_without_improvement = 0 if better else counters.epochs_without_improvement + 1
        if better:
            counters.best_score = metrics.score
        counters.finished = self._is_finished()
        self._save(best=better)
        if self.reporter is not None:
            self.reporter.on_epoch(metrics)

    def _is_finished(self) -> bool:
        """Whether it was stopped early, or validated after the last step; a setting may have been changed."""
        stopped_early = 0 < self.config.patience <= self.counters.epochs_without_improvement
        return stopped_early or (self._at_end() and not self.counters.epoch_weight)

    def _at_end(self) -> bool:
        return self.trainer.steps_done == self.trainer.total_steps

    def _save(self, *, best: bool = False) -> None:
        """Weights and rows first: what they say is repeated if the process dies before the checkpoint."""
        if self.folder is None:
            return
        self._settle()
        state = self.trainer.state_dict()
        if wrong := not_usable(state):  # a step with a finite loss may spoil the weights
            raise self._diverged(wrong)
        if self.processes.is_first:
            if best or self.counters.best_score is None:
                with self.trainer.weights() as model:
                    write_weights(self.folder, model)
            write_metrics(self.folder / METRICS, self.rows)
            write_checkpoint(self.folder / CHECKPOINT, state, self.counters)
        self.processes.wait()
