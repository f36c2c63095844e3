"""A run from its job to its folder: prepared data, model, training; the same for every task."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import torch

from pyrnn.data import require_even_shares
from pyrnn.machine import memory_of
from pyrnn.models.configs import CONFIG
from pyrnn.models.pretrained import outline, write_config
from pyrnn.train.distributed import ProcessGroup
from pyrnn.train.job import Job
from pyrnn.train.loop import fit
from pyrnn.train.progress import Reporter
from pyrnn.train.run_folder import Run, read_job
from pyrnn.train.task import Task


def train(
    job: Job,
    folder: str | Path,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
    reporter: Reporter | None = None,
    processes: ProcessGroup | None = None,
) -> Run:
    """Train what `job` says and keep all of it in `folder`.

    Args:
        job: task and settings. With `resume` it must agree with the folder's own (`resumed_job` reads that).
        folder: empty or not there; with `resume` the folder of a run that was stopped.
        resume: go on with the run in `folder`; a finished run is only read.
        device: where to train.
        reporter: is told of each step and epoch, in the first process.
        processes: those that train together; they must see the same folder.

    Returns:
        The run with the weights of its best epoch.

    Raises:
        FileExistsError: the folder holds something already.
        FileNotFoundError: the data, or the run to resume, are not there.
        ValueError: the data cannot be used, `job` differs from the one to resume, or a file is damaged.
        FloatingPointError, KeyboardInterrupt, OSError: as `fit`.

    Example:
        >>> import tempfile
        >>> from pyrnn.tasks import make_job
        >>> settings = {"max_steps": 2, "hidden_size": 8, "validation_streams": 64}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train(make_job("language-model", settings), folder)
        >>> [epoch.step for epoch in run.epochs]
        [2]
    """
    folder, processes, task = Path(folder), processes or ProcessGroup(), job.task
    if resume:
        _check_resumed(job, folder)
    elif processes.is_first:
        _check(job, torch.device(device), processes)
        _prepare(job, folder)
    processes.wait()
    job = read_job(folder, task)
    batches, validation = (task.batches(job, folder, split) for split in ("train", "validation"))
    torch.manual_seed(job.train.seed)
    model = task.build(job).to(device)
    fit(
        task,
        model,
        batches,
        validation,
        job.train,
        folder=folder,
        resume=resume,
        reporter=reporter,
        processes=processes,
    )
    return task.load(folder, job)


def resumed_job(task: Task, folder: str | Path) -> Job:
    """The job of the run in `folder`, to go on with it.

    Raises:
        FileNotFoundError: there is no run.
        ValueError: its config.json is damaged, or of another task.
    """
    _require_run(Path(folder))
    return read_job(folder, task)


def _check(job: Job, device: torch.device, processes: ProcessGroup) -> None:
    """Refuse what can be refused without the data, before anything is read or written."""
    require_even_shares(job.train.batch_size, processes.world * job.train.accumulate)
    weights = sum(p.nbytes for p in outline(lambda: job.task.build(job)).parameters())
    needed = 2 * weights  # with their gradients, at the least
    if needed > (memory := memory_of(device)):
        raise ValueError(
            f"to train a model of these sizes takes at least {needed:,} bytes, {device.type} has {memory:,}: "
            "choose a smaller hidden_size, embedding_size or num_layers"
        )


def _prepare(job: Job, folder: Path) -> None:
    """Let the task write its files, and last, as the sign that all is there, the config."""
    task = job.task
    taken = [
        path.name for path in _entries(folder) if path.name not in task.files and path.suffix != ".partial"
    ]
    if taken:
        raise FileExistsError(
            f"{folder} is not empty, it holds {', '.join(sorted(taken)[:5])}: resume its run, or name "
            "another folder"
        )
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        sized = job.sized(task.prepare(job, folder))
    except BaseException:
        _remove(folder, task.files, missing)
        raise
    tables = {"task": task.name, "data": asdict(sized.data), "train": asdict(sized.train)}
    write_config(folder, outline(lambda: task.build(sized)).model_type, sized.model, tables)


def _remove(folder: Path, files: Iterable[str], made: Iterable[Path]) -> None:
    """Take back what was written: data that cannot be used leave no folder in the way of the next try."""
    for name in files:
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # another one has put something there
        for path in made:
            path.rmdir()


def _check_resumed(job: Job, folder: Path) -> None:
    _require_run(folder)
    if differences := read_job(folder, job.task).differences(job):
        raise ValueError(
            f"{folder} is a run with other settings: {'; '.join(differences)}. Resume it with its own, or "
            "start a new run in another folder"
        )


def _require_run(folder: Path) -> None:
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"there is no run to resume in {folder}: {CONFIG} is missing")


def _entries(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.exists() else ()
