"""A training whose words begin with vectors that were learned elsewhere, and learn further or stay."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from pyrnn.models.pretrained import outline
from pyrnn.train.job import Job

_log = logging.getLogger(__name__)

#: Of a table, by the name of the parameter, which of its rows begin with which vectors.
WordRows = Mapping[str, tuple[Tensor, Tensor]]


def with_vectors(job: Job) -> Job:
    """The job with the place of its vectors as everybody understands it: a resume may come from elsewhere."""
    if job.train.vectors is None:
        return job
    return job.updated({"vectors": str(Path(job.train.vectors).resolve())})


def read_vectors(job: Job, folder: Path) -> WordRows:
    """The vectors of the words of a prepared folder; nothing where the recipe names none.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, its vectors do not fit the model, none is of a word of the model, the
            tokens are no words, or to be frozen is what something else shares.
    """
    path = job.train.vectors
    if path is None:
        return {}
    tables = job.task.word_tables(job, folder)
    model = outline(lambda: job.task.build(job))
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, words in tables.items():
        if job.train.freeze_vectors:
            _refuse_shared(model, name)
        (numbers, rows), width = job.task.select_vectors(path, words), model.get_parameter(name).shape[1]
        if rows.shape[1] != width:
            setting = "hidden_size" if job.model.architecture == "transformer" else "embedding_size"
            raise ValueError(
                f"the vectors of {path} have {rows.shape[1]} numbers, those of the model {width}: set "
                f"{setting} to {rows.shape[1]}"
            )
        if not len(numbers):
            raise ValueError(
                f"none of the {len(words):,} words of the model has a vector in {path}, for instance "
                f"{', '.join(map(repr, words[:5]))}: is it of another language?"
            )
        found[name] = numbers, rows
    return found


def tell_known(job: Job, folder: Path, found: WordRows) -> None:
    """Tell the logger how many words of the vocabulary have a vector, and how the others begin."""
    tables = job.task.word_tables(job, folder) if found else {}
    for name, (numbers, _) in found.items():
        known, every = len(numbers), len(tables[name])
        _log.info(
            "%s of %s words have a vector in %s; the other %s begin as without%s",
            f"{known:,}",
            f"{every:,}",
            job.train.vectors,
            f"{every - known:,}",
            ", and none is trained" if job.train.freeze_vectors else "",
        )


def give_vectors(model: nn.Module, found: WordRows) -> None:
    """Write the vectors into the tables of a model."""
    for name, (numbers, rows) in found.items():
        with torch.no_grad():
            model.get_parameter(name)[numbers] = rows


def freeze_vectors(model: nn.Module, job: Job, folder: Path) -> None:
    """Take the tables of words out of what is trained, where the recipe says so."""
    if job.train.freeze_vectors:
        for name in job.task.word_tables(job, folder):
            model.get_parameter(name).requires_grad_(False)


def _refuse_shared(model: nn.Module, table: str) -> None:
    frozen = model.get_parameter(table)
    sharing = [
        name
        for name, own in model.named_parameters(remove_duplicate=False)
        if own is frozen and name != table
    ]
    if sharing:
        raise ValueError(
            f"{table} is {' and '.join(sharing)}, too, which freeze_vectors would not let learn: set tied so "
            "that they are two, or freeze_vectors to false"
        )
