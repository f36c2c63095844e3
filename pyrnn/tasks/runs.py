"""Jobs and runs by the names of their tasks."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyrnn
from pyrnn.embeddings.configs import VECTORS
from pyrnn.models.configs import CONFIG
from pyrnn.tasks.registry import find_task
from pyrnn.tasks.words import WordTask
from pyrnn.train.job import Job
from pyrnn.train.run_folder import Run, read_job, read_tables

if TYPE_CHECKING:
    import torch

    from pyrnn.embeddings import Reading, WordVectors
    from pyrnn.text import Source


def make_job(task: str, settings: Mapping[str, Any] | None = None) -> Job:
    """A job of a task.

    Args:
        task: its name.
        settings: values by their names, whichever table they belong to; others keep their defaults.

    Raises:
        ValueError: no such task or setting, or a value that does not fit.

    Example:
        >>> make_job("language-model", {"architecture": "gru", "epochs": 2}).model.architecture
        'gru'
    """
    return Job.from_mapping(find_task(task), {}, where="settings").updated(settings or {})


def load_run(
    folder: str | Path, *, verb: str | None = None, device: str | torch.device = "cpu", **options: Any
) -> Run:
    """Read a trained run of any task; the model comes in evaluation mode.

    Args:
        folder: what a training wrote.
        verb: refuse a run whose task has no such verb.
        device: where the model is to lie.
        options: further arguments of the task's `load`, for instance `backend` of a language model.

    Raises:
        FileNotFoundError: the folder or one of its files is missing.
        ValueError: a file is damaged, the weights do not fit the sizes, or the task has no such verb.

    Example:
        >>> import tempfile
        >>> from pyrnn.train import train
        >>> job = make_job("language-model", {"max_steps": 1, "hidden_size": 8, "validation_fraction": 0.001})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(job, folder)
        ...     run = load_run(folder)
        >>> run.model.config.hidden_size
        8
    """
    folder = Path(folder)
    try:
        task = find_task(read_tables(folder)["task"])
    except ValueError as error:
        raise ValueError(str(error) if str(folder) in str(error) else f"{folder}: {error}") from error
    if verb is not None and verb not in task.verbs:
        can = ", ".join(("evaluate", *task.verbs))
        raise ValueError(f"{folder} is a run of the task {task.name}, which cannot {verb}; it can {can}")
    run = task.load(folder, read_job(folder, task), **options)
    run.model.to(device)
    return run


def open_word_vectors(path: str | Path, how: Reading | None = None) -> WordVectors:
    """Word vectors as `pyrnn.embeddings.open_vectors` opens them, or those that a trained model of words has.

    Args:
        path: a folder or file of word vectors, or the folder of a run.
        how: how a file is read.

    Raises:
        FileNotFoundError: there is nothing, or a folder that is neither.
        ValueError: a damaged file, or a run whose tokens are no words.

    Example:
        >>> import tempfile
        >>> from pyrnn.train import train
        >>> settings = {"level": "word", "max_vocabulary": 100, "max_steps": 1, "hidden_size": 8}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(make_job("language-model", settings), folder)
        ...     open_word_vectors(folder).words[:3]
        ['<unk>', '<eos>', ',']
    """
    path = Path(path)
    if not (path / CONFIG).is_file() or (path / VECTORS).exists():
        return pyrnn.embeddings.open_vectors(path, how)
    run = load_run(path)
    if not isinstance(run.job.task, WordTask):
        raise ValueError(f"{path} is a run of the task {run.job.task.name}, which learns no words")
    return run.job.task.word_vectors(run, path)


def evaluate(run: Run, source: Source) -> dict[str, float]:
    """The scores of a run's model on a text of the kind that it was trained on: a file, a folder, or several.

    Returns:
        The scores by name, and where the vocabulary has a token for unknown ones their number: "unknown".

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be used, or does not fit the run's vocabulary; or the model gives NaN, or a loss
            that is infinite.

    Example:
        >>> import tempfile
        >>> from pyrnn.train import train
        >>> job = make_job("language-model", {"max_steps": 1, "hidden_size": 8, "validation_fraction": 0.001})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = Path(folder, "text.txt")
        ...     _ = text.write_text("to be or not to be")
        ...     sorted(evaluate(train(job, Path(folder, "run")), text))
        ['bits', 'loss', 'perplexity', 'tokens', 'unknown']
    """
    task = run.job.task
    batches = task.read(run, source)
    with pyrnn.search.evaluating(run.model):
        scores = task.evaluate(run.model, batches).compute()
    for name, score in scores.items():
        # Only a large loss leaves something infinite, its perplexity.
        if math.isnan(score) or (name in ("loss", task.objective_of(run.job).metric) and math.isinf(score)):
            raise ValueError(f"the {name} is {score}: the weights are damaged; did training diverge?")
    unknown = task.unknown(run, batches)
    return scores if unknown is None else {**scores, "unknown": float(unknown.tokens)}


def verb_of(run: Run, verb: str) -> Callable[..., Iterable[str]]:
    """The function behind a verb of a run's task.

    Example:
        >>> import tempfile
        >>> from pyrnn.train import train
        >>> job = make_job("language-model", {"max_steps": 1, "hidden_size": 8, "validation_fraction": 0.001})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     verb_of(train(job, folder), "score").__name__
        'score_lines'
    """
    module, _, attribute = run.job.task.verbs[verb].function.partition(":")
    return getattr(importlib.import_module(module), attribute)
