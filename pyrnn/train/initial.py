"""A training that begins with the weights of another run, and reads its own text as that run did."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from pyrnn.models.pretrained import load_weights, outline
from pyrnn.train.job import Job
from pyrnn.train.run_folder import read_job
from pyrnn.train.task import Task

_log = logging.getLogger(__name__)


def with_initial(job: Job) -> Job:
    """The job with the settings that it shares with the run `init_from`: the model's, and the vocabulary's.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: it is of another task, or a setting was given that the vocabulary, which is kept, or the
            weights have otherwise.
    """
    if job.train.init_from is None:
        return job
    task, source = job.task, read_job(job.train.init_from, job.task)
    settings = {f.name: getattr(source.model, f.name) for f in fields(source.model)}
    settings |= job.given["model"]
    settings["init_from"] = str(Path(job.train.init_from).resolve())  # a resume may come from elsewhere
    for name in task.vocabulary_settings:
        settings[name] = getattr(source.data, name)
        if job.given["data"].get(name, settings[name]) != settings[name]:
            raise ValueError(
                f"{name} is {settings[name]!r} in {job.train.init_from}, whose vocabulary this run keeps; "
                f"got {job.given['data'][name]!r}: leave the setting out"
            )
    begun = job.updated(settings)
    _require_same_shapes(begun, source, job.given["model"])
    return begun


def _require_same_shapes(job: Job, source: Job, given: Mapping[str, Any]) -> None:
    """Refuse settings with which the weights of `source` would have other names or shapes."""
    if _shapes(job) == (kept := _shapes(source)):
        return
    differing = [name for name, value in given.items() if value != getattr(source.model, name)]
    alone = [name for name in differing if _shapes(source.updated({name: given[name]})) != kept]
    told = [
        f"{name} is {getattr(source.model, name)!r} there, got {given[name]!r}" for name in alone or differing
    ]
    raise ValueError(
        f"the weights of {job.train.init_from}, with which this run begins, fit no model of other sizes: "
        f"{'; '.join(told)}: leave {'it' if len(told) == 1 else 'them'} out, or train without init_from"
    )


def _shapes(job: Job) -> dict[str, tuple[int, ...]]:
    """Of every tensor of the job's model; nothing where there can be no such model."""
    try:
        model = outline(lambda: job.task.build(job))
    except ValueError:
        return {}
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def load_initial(model: nn.Module, job: Job) -> None:
    """Give `model` the weights of the run `init_from`, where there is one.

    Raises:
        FileNotFoundError: the run is not there.
        ValueError: its weights do not fit the model, or its file is damaged.
    """
    if job.train.init_from is not None:
        load_weights(model, Path(job.train.init_from))


def tell_unknown(task: Task, job: Job, folder: Path) -> None:
    """Tell the logger how much of a prepared text the vocabulary of the run `init_from` does not know."""
    if job.train.init_from is None:
        return
    source = Path(job.train.init_from)
    batches = task.batches(job, folder, "train")
    unknown = task.unknown(task.load(source, read_job(source, task)), batches)
    if unknown is not None:
        _log.info("%s of %s tokens are unknown to %s", f"{unknown.tokens:,}", f"{unknown.total:,}", source)
