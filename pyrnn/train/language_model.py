"""The training loop of a language model: epochs of truncated BPTT, each followed by a validation."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from pyrnn.models import LanguageModel
from pyrnn.models.pretrained import write_weights
from pyrnn.text import StreamBatches, TokenFile
from pyrnn.train.checkpoint import Counters, gather_checkpoint, not_usable, restore, write_checkpoint
from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import Processes
from pyrnn.train.evaluation import evaluate, validation_batches
from pyrnn.train.interruption import Interruption
from pyrnn.train.progress import Reporter
from pyrnn.train.run_folder import (
    CHECKPOINT,
    METRICS,
    EpochMetrics,
    Row,
    epochs_of,
    read_metrics,
    write_metrics,
)
from pyrnn.train.truncated_bptt import StepResult, TruncatedBPTT


def fit(
    model: LanguageModel,
    train_ids: Tensor | TokenFile,
    validation_ids: Tensor | TokenFile,
    config: TrainConfig,
    *,
    folder: Path | None = None,
    resume: bool = False,
    reporter: Reporter | None = None,
    processes: Processes | None = None,
) -> list[EpochMetrics]:
    """Train `model` in place and return the metrics of every epoch.

    Dropout draws from torch's global generator: seed it before the model is built to repeat a run exactly.
    With a folder, weights, metrics and checkpoints go there, and a run that was stopped at any moment goes on
    as if it had not been: the same weights, bit for bit, on the same machine with the same threads.

    Args:
        model: any device.
        train_ids: [N] integers in [0, V), on the CPU; or a file of them (`open_tokens`).
        validation_ids: likewise [M], at least two; all of it is evaluated after each epoch.
        config: the recipe.
        folder: where to write; None keeps everything in memory.
        resume: go on from the folder's checkpoint, if there is one yet.
        reporter: is told of each step and epoch, in the first process.
        processes: those that train together; each calls this with the same arguments.

    Raises:
        ValueError: one of the texts is too short for its streams, or the checkpoint does not fit.
        FloatingPointError: loss or weights are no longer finite; the last checkpoint stays.
        KeyboardInterrupt: Ctrl-C or SIGTERM came; the step was finished and a checkpoint written.
        OSError: the folder cannot be written.
    """
    batches = StreamBatches(train_ids, batch_size=config.batch_size, window=config.window)
    validation = validation_batches(validation_ids, config.validation_streams, config.validation_window)
    trainer = TruncatedBPTT(model, batches, config, processes=processes)
    loop = _Loop(trainer, validation, folder, reporter)
    if resume and folder is not None and (folder / CHECKPOINT).exists():
        loop.resume(folder)
    elif trainer.processes.rank:
        torch.manual_seed(config.seed + trainer.processes.rank)  # every process drops other units
    with Interruption() as interruption:
        loop.run(
            lambda: bool(
                trainer.processes.sum(torch.tensor(float(interruption.requested), device=trainer.device))
            )
        )
    return loop.history


class _Loop:
    """One run in progress: its counters, its rows of metrics, its files."""

    def __init__(
        self,
        trainer: TruncatedBPTT,
        validation: StreamBatches,
        folder: Path | None,
        reporter: Reporter | None,
    ) -> None:
        self.trainer, self.validation, self.folder = trainer, validation, folder
        self.reporter = reporter if trainer.processes.is_first else None
        self.counters = Counters(
            world=trainer.processes.world, threads=torch.get_num_threads(), torch=torch.__version__
        )
        self.rows: list[Row] = []

    @property
    def history(self) -> list[EpochMetrics]:
        return epochs_of(self.rows)

    def resume(self, folder: Path) -> None:
        counters = restore(self.trainer, folder / CHECKPOINT)
        self._warn_of_differences(counters)
        self.counters = counters
        # A process killed between its two files has written rows that the checkpoint does not know.
        self.rows = [row for row in read_metrics(folder / METRICS) if row["step"] <= counters.steps]

    def _warn_of_differences(self, saved: Counters) -> None:
        """Say what may change the last bits of a resumed run, and note what it goes on with."""
        for what in ("threads", "torch"):
            before, now = getattr(saved, what), getattr(self.counters, what)
            if before != now:
                warnings.warn(
                    f"the checkpoint was written with {what} {before}, this process has {now}: the run goes "
                    "on, but its last bits may differ from those of a run that was not stopped",
                    stacklevel=2,
                )
                setattr(saved, what, now)

    def run(self, interrupted: Callable[[], bool]) -> None:
        """Train to the end, or until `interrupted` says so after a step."""
        config, trainer, counters = self.trainer.config, self.trainer, self.counters
        while not counters.finished:
            started = time.perf_counter()
            result = trainer.step()
            counters.epoch_seconds += time.perf_counter() - started
            if not math.isfinite(result.loss):
                raise self._diverged(f"the loss is {result.loss}")
            counters.steps = trainer.steps_done
            counters.epoch_loss += result.loss * result.symbols
            counters.epoch_symbols += result.symbols
            self._note_step(result)
            if trainer.steps_done % len(trainer.batches) == 0 or trainer.steps_done == trainer.total_steps:
                self._end_epoch()
            elif trainer.steps_done % config.checkpoint_every == 0:
                self._save()
            if interrupted():
                self._save()
                raise KeyboardInterrupt

    def _diverged(self, what: str) -> FloatingPointError:
        return FloatingPointError(
            f"{what} at step {self.trainer.steps_done}: the training diverged; "
            "lower learning_rate or clip_norm"
        )

    def _note_step(self, result: StepResult) -> None:
        trainer = self.trainer
        if trainer.steps_done % trainer.config.log_every == 0:
            rate = trainer.schedule(trainer.steps_done - 1)
            row = {"step": trainer.steps_done, "loss": result.loss, "learning_rate": rate}
            self.rows.append({**row, "grad_norm": result.grad_norm})
        if self.reporter is not None:
            self.reporter.on_step(trainer, result)

    def _end_epoch(self) -> None:
        trainer, counters, config = self.trainer, self.counters, self.trainer.config
        metrics = EpochMetrics(
            epoch=-(-trainer.steps_done // len(trainer.batches)),
            step=trainer.steps_done,
            train_loss=counters.epoch_loss / counters.epoch_symbols,
            validation_loss=evaluate(trainer.model, self.validation).loss,
            symbols=counters.epoch_symbols,
            seconds=counters.epoch_seconds,
        )
        if not math.isfinite(metrics.validation_loss):
            raise self._diverged(f"the validation loss is {metrics.validation_loss}")
        self.rows.append(vars(metrics).copy())
        counters.epoch_loss, counters.epoch_symbols, counters.epoch_seconds = 0.0, 0, 0.0
        better = counters.best_loss is None or metrics.validation_loss < counters.best_loss
        counters.stale_epochs = 0 if better else counters.stale_epochs + 1
        if better:
            counters.best_loss = metrics.validation_loss
        stopped_early = 0 < config.patience <= counters.stale_epochs
        counters.finished = stopped_early or trainer.steps_done == trainer.total_steps
        self._save(best=better)
        if self.reporter is not None:
            self.reporter.on_epoch(metrics)

    def _save(self, *, best: bool = False) -> None:
        """Weights and rows first: what they say is repeated if the process dies before the checkpoint."""
        if self.folder is None:
            return
        tensors = gather_checkpoint(self.trainer)
        if wrong := not_usable(tensors):  # a step with a finite loss may spoil the weights
            raise self._diverged(wrong)
        if self.trainer.processes.is_first:
            if best or self.counters.best_loss is None:
                write_weights(self.folder, self.trainer.model)
            write_metrics(self.folder / METRICS, self.rows)
            write_checkpoint(self.folder / CHECKPOINT, tensors, self.counters)
        self.trainer.processes.wait()
