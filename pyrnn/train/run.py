"""A run from its job to its folder: prepared data, model, training; the same for every task."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import torch

from pyrnn._files import is_partial, remove_partials
from pyrnn.data import require_even_shares
from pyrnn.machine import memory_of
from pyrnn.models.configs import CONFIG
from pyrnn.models.pretrained import WEIGHTS, outline, write_config
from pyrnn.train.config import RESUMABLE
from pyrnn.train.distributed import ProcessGroup
from pyrnn.train.initial import load_initial, tell_unknown, with_initial
from pyrnn.train.job import Job
from pyrnn.train.loop import fit
from pyrnn.train.progress import Reporter
from pyrnn.train.run_folder import CHECKPOINT, METRICS, Run, read_job
from pyrnn.train.run_lock import run_lock
from pyrnn.train.task import Task
from pyrnn.train.word_vectors import (
    WordRows,
    freeze_vectors,
    give_vectors,
    read_vectors,
    tell_known,
    with_vectors,
)


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
        job: task and settings. With `resume` it must agree with the folder's own (`resumed_job` reads that),
            but for the `RESUMABLE` ones: with more `epochs` or `max_steps` a finished run goes on, at the
            learning rates of a run of that length.
        folder: empty, not there, or of a start that came to no checkpoint; with `resume` the folder of a run.
        resume: go on with the run in `folder`; one that is finished is only read.
        device: where to train.
        reporter: is told of each step and epoch, in the first process.
        processes: those that train together; they must see the same folder.

    Returns:
        The run with the weights of its best epoch.

    Raises:
        FileExistsError: the folder holds something already.
        BlockingIOError: another training is writing to it.
        ConnectionAbortedError: another of the `processes` could not begin.
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
    device = torch.device(device)
    vectors: WordRows | None = None
    with ExitStack() as held:
        with _together(processes, device):
            if resume:
                _check_resumed(job, folder)
                if processes.is_first:
                    held.enter_context(run_lock(folder))
                    remove_partials(folder)
            elif processes.is_first:
                job = with_vectors(with_initial(job))
                _check(job, device, processes)
                vectors = _prepare(job, folder, device, held)
        own = read_job(folder, task)
        job = own.updated({n: v for n, v in job.given["train"].items() if n in RESUMABLE}) if resume else own
        batches, validation = (task.batches(job, folder, split) for split in ("train", "validation"))
        torch.manual_seed(job.train.seed)
        model = task.build(job)
        if not (resume and (folder / CHECKPOINT).exists()):
            load_initial(model, job)
            give_vectors(model, read_vectors(job, folder) if vectors is None else vectors)
        freeze_vectors(model, job, folder)
        model.to(device)
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
            objective=task.objective_of(job),
            before_steps=lambda: None if job == own else _write_config(job, folder),
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
    task = job.task
    if device.type not in task.devices:
        raise ValueError(f"the task {task.name} is trained on {' or '.join(task.devices)}, got {device.type}")
    if processes.world > 1 and not task.several_processes:
        raise ValueError(
            f"the task {task.name} is trained by the threads of one process, got {processes.world}: start it "
            "without torchrun"
        )
    usual = Job.from_mapping(task, {"model": job.given["model"]}, where="defaults").train
    if given := [name for name in task.unused if getattr(job.train, name) != getattr(usual, name)]:
        raise ValueError(f"the task {task.name} knows no {', '.join(given)}: leave it out")
    require_even_shares(job.train.batch_size, processes.world * job.train.accumulate)
    _check_memory(job, device)


def _check_memory(job: Job, device: torch.device) -> None:
    weights = sum(p.nbytes for p in outline(lambda: job.task.build(job)).parameters())
    needed = 2 * weights  # with their gradients, at the least
    if needed > (memory := memory_of(device)):
        raise ValueError(
            f"to train a model of these sizes takes at least {needed:,} bytes, {device.type} has {memory:,}: "
            "choose a smaller hidden_size, embedding_size or num_layers"
        )


def _prepare(job: Job, folder: Path, device: torch.device, held: ExitStack) -> WordRows:
    """Lock the folder, let the task write its files, and last, as the sign that all is there, the config.

    What was written is taken back if something is wrong with it. Returns the vectors with which words begin.
    """
    task = job.task
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    held.enter_context(run_lock(folder))  # if another holds it, the folder is not this one's to take back
    try:
        _require_free(folder, task)
    except BaseException:
        _remove_folders(missing)
        raise
    try:
        remove_partials(folder)
        for name in (CONFIG, METRICS):  # of a start that came to nothing
            (folder / name).unlink(missing_ok=True)
        sized = job.sized(task.prepare(job, folder))
        _check_memory(sized, device)
        for split in ("train", "validation"):
            task.batches(sized, folder, split)
        tell_unknown(task, sized, folder)
        vectors = read_vectors(sized, folder)
        tell_known(sized, folder, vectors)
        _write_config(sized, folder)
        return vectors
    except BaseException:
        for name in task.files:
            (folder / name).unlink(missing_ok=True)
        _remove_folders(missing)
        raise


def _write_config(job: Job, folder: Path) -> None:
    task = job.task
    tables = {"task": task.name, "data": asdict(job.data), "train": asdict(job.train)}
    write_config(folder, outline(lambda: task.build(job)).model_type, job.model, tables)


def _require_free(folder: Path, task: Task) -> None:
    """Refuse a folder with anything but what a start without a checkpoint leaves: that is no run yet."""
    ours = {CONFIG, METRICS, *task.files}
    taken = sorted(path.name for path in folder.iterdir() if path.name not in ours and not is_partial(path))
    if CHECKPOINT in taken or ((folder / CONFIG).exists() and WEIGHTS in taken):
        raise FileExistsError(f"{folder} holds a run: go on with it by --resume, or name another folder")
    if taken:
        raise FileExistsError(
            f"{folder} is not empty, it holds {', '.join(taken[:5])}: name another folder for the run"
        )


def _remove_folders(made: Iterable[Path]) -> None:
    """Remove the folders that were made: data that cannot be used leave none in the way of the next try."""
    with suppress(OSError):  # another one has put something there
        for path in made:
            path.rmdir()


def _check_resumed(job: Job, folder: Path) -> None:
    _require_run(folder)
    if differences := read_job(folder, job.task).differences(job):
        raise ValueError(
            f"{folder} is a run with other settings: {'; '.join(differences)}. Resume it with its own, of "
            f"which {', '.join(RESUMABLE)} may change, or start a new run in another folder"
        )


@contextmanager
def _together(processes: ProcessGroup, device: torch.device) -> Generator[None, None, None]:
    """Go on when all processes have come to the end of the block, or end all of them if one has not.

    Raises:
        ConnectionAbortedError: another process failed, and says itself why.
    """
    failed = True
    try:
        yield
        failed = False
    finally:
        others = processes.any(failed, device)
    if others:
        raise ConnectionAbortedError("another process of this training ended, and says why")


def _require_run(folder: Path) -> None:
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"there is no run to resume in {folder}: {CONFIG} is missing")
