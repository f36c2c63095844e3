"""Runs so small that a test can make several, in this process or in others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from pyrnn.tasks import find_task, load_run, make_job
from pyrnn.tasks.language_model import TextRun
from pyrnn.train import Job, Run, Trainer, resumed_job, train
from pyrnn.train.checkpoint import read_checkpoint
from pyrnn.train.run_folder import CHECKPOINT, METRICS

SMALL = {
    "epochs": 3,
    "batch_size": 4,
    "bptt_steps": 16,
    "embedding_size": 8,
    "hidden_size": 16,
    "warmup_steps": 5,
    "learning_rate": 0.02,
    "checkpoint_every": 4,
    "log_every": 3,
}


def small_job(folder: Path, **settings: Any) -> Job:
    """A job on a text that is written into the folder."""
    text = folder / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 40)
    return make_job("language-model", {"text": str(text), **SMALL, **settings})


def resume(folder: Path, **options: Any) -> Run:
    """Go on with a run as its folder says."""
    return train(resumed_job(find_task("language-model"), folder), folder, resume=True, **options)


def load_text_run(folder: Path, **options: Any) -> TextRun:
    """A run of a language model."""
    run = load_run(folder, **options)
    assert isinstance(run, TextRun)
    return run


def command(folder: Path, *arguments: str, processes: int = 0, task: str = "language-model") -> list[str]:
    """`pyrnn train TASK`; started by torchrun where a number of processes is given."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    trains = ["pyrnn", "train", task, str(folder), *arguments]
    return [sys.executable, "-m", *(launcher if processes else []), *trains]


def flags(job: Job, **settings: Any) -> list[str]:
    """What `small_job` with these settings says, for a command line."""
    shown = {"text": job.data.text, **SMALL, **settings}
    return [part for k, v in shown.items() for part in (f"--{k.replace('_', '-')}", str(v))]


class Killed(Exception):
    """Stands for the end of the process."""


class KillAt:
    """Ends the run after a step, as a signal that cannot be caught would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_start(self, start: object) -> None: ...

    def on_step(self, trainer: Trainer, result: object) -> None:
        if trainer.steps_done == self.step:
            raise Killed

    def on_epoch(self, metrics: object) -> None:
        if self.step == -getattr(metrics, "epoch", 0):
            raise Killed


def losses(folder: Path) -> list[float]:
    """Of every row of a run, in training and validation."""
    return [row["loss" if "loss" in row else "validation_loss"] for row in load_run(folder).metrics]


def result_of(folder: Path) -> tuple[Any, ...]:
    """All of a run that must not depend on interruptions: everything but the clock."""
    rows = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    tensors, counters = read_checkpoint(folder / CHECKPOINT)
    hidden = {"seconds", "epoch_seconds"}
    return (
        [{k: v for k, v in row.items() if k not in hidden} for row in rows],
        {name: tensor.tolist() for name, tensor in tensors.items()},
        {k: v for k, v in vars(counters).items() if k not in hidden},
        {name: tensor.tolist() for name, tensor in load_file(folder / "model.safetensors").items()},
    )
