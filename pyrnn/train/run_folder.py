"""The folder of one training run, whatever its task.

config.json          the task, and its settings: data, model, recipe
model.safetensors    the weights of the best epoch
metrics.jsonl        a row every few steps, and one at each epoch's end
trainer.safetensors  all that resuming needs
and the task's own files, such as a vocabulary and the data as ids

Each file is written beside its place and then moved into it. Nothing is pickled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyrnn._files import read_json
from pyrnn.models.configs import CONFIG
from pyrnn.train.config import TrainConfig
from pyrnn.train.job import TABLES, Job
from pyrnn.train.metrics_file import EpochMetrics, Row, epochs_of, read_metrics
from pyrnn.train.task import Task

if TYPE_CHECKING:
    from pyrnn.models.pretrained import Pretrained

METRICS, CHECKPOINT = "metrics.jsonl", "trainer.safetensors"


@dataclass(frozen=True)
class Run:
    """A trained model with all that is needed to judge it; a task's own kind of run adds what it uses.

    Args:
        model: with the weights of the best epoch.
        job: its task and settings.
        metrics: the rows of metrics.jsonl.
    """

    model: Pretrained
    job: Job
    metrics: list[Row]

    @property
    def epochs(self) -> list[EpochMetrics]:
        """What each epoch reached."""
        return epochs_of(self.metrics)

    @property
    def best(self) -> EpochMetrics:
        """The first epoch with the best score.

        Raises:
            ValueError: there is none.
        """
        if not self.epochs:
            raise ValueError(
                f"the run has no epoch: it was stopped before its first, or its {METRICS} is missing"
            )
        best, *others = self.epochs
        for epoch in others:
            if epoch.objective.is_better(epoch.score, than=best.score):
                best = epoch
        return best

    @property
    def seconds(self) -> float:
        """Of training, validation left out."""
        return sum(epoch.seconds for epoch in self.epochs)


def read_tables(folder: str | Path) -> dict[str, Any]:
    """What a run's config.json holds.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
        ValueError: config.json is damaged, describes no run, or one of another version.
    """
    path = Path(folder) / CONFIG
    config = read_json(path)
    if not isinstance(config, dict) or "model" not in config:
        raise ValueError(f"{path} does not describe a run: it has no table 'model'")
    if "task" not in config and "train" in config:
        raise ValueError(
            f"{path} was written by pyrnn 0.1 or older and names no task: train the model again with this "
            "version, or use the run with the version that made it"
        )
    if not isinstance(config.get("task"), str):
        raise ValueError(f"{path} describes a {config.get('model_type')!r} but no run: it has no 'task'")
    return config


def read_job(folder: str | Path, task: Task) -> Job:
    """The job of a run of `task`.

    Raises:
        FileNotFoundError: there is no such folder, or no run in it.
        ValueError: config.json is damaged or describes something else.
    """
    path, config = Path(folder) / CONFIG, read_tables(folder)
    if config["task"] != task.name:
        raise ValueError(f"{path} is a run of the task {config['task']!r}, expected {task.name!r}")
    tables = {name: config[name] for name in TABLES if name in config}
    # Of a run that an older version made, what this one has besides is what its dataclasses say, not what the
    # task would choose for a new run.
    for name, kind in (("data", task.data_config), ("model", task.model_config), ("train", TrainConfig)):
        if isinstance(tables.get(name), dict):
            tables[name] = {**_defaults_of(kind), **tables[name]}
    return Job.from_mapping(task, tables, where=str(path))


def _defaults_of(kind: type) -> dict[str, Any]:
    return {field.name: field.default for field in fields(kind) if field.default is not MISSING}


def read_run_metrics(folder: str | Path) -> list[Row]:
    """The rows of a run's metrics.jsonl.

    Raises:
        ValueError: it is damaged.
    """
    return read_metrics(Path(folder) / METRICS)


def labels(runs: Sequence[str | Path]) -> list[str]:
    """What to call each run beside others: its folder's name, or the path where two folders share one."""
    names = [Path(run).name for run in runs]
    return [str(run) if names.count(name) > 1 else name for run, name in zip(runs, names, strict=True)]
