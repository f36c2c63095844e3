"""A language-model run from its job to its folder: text, tokenizer, model, training."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import torch

from pyrnn.machine import memory_of
from pyrnn.models import LanguageModel
from pyrnn.models.pretrained import write_config
from pyrnn.text import encode_file, read_text, train_tokenizer
from pyrnn.text.streams import require_a_window, require_equal_shares, validation_symbols
from pyrnn.train.distributed import Processes
from pyrnn.train.job import LanguageModelJob
from pyrnn.train.language_model import fit
from pyrnn.train.progress import Reporter
from pyrnn.train.run_folder import (
    CONFIG,
    TOKENS,
    VALIDATION_TOKENS,
    VOCABULARY,
    Run,
    job_tables,
    load_run,
    read_job,
    run_ids,
    text_path,
)


def train_language_model(
    job: LanguageModelJob | None,
    folder: str | Path,
    *,
    resume: bool = False,
    device: str | torch.device = "cpu",
    reporter: Reporter | None = None,
    processes: Processes | None = None,
) -> Run:
    """Train a language model on a text and keep all of it in `folder`.

    Args:
        job: text, sizes, recipe; None, with `resume` alone, takes the folder's own.
        folder: empty or not there; with `resume` the folder of a run that was stopped.
        resume: go on with the run in `folder`; a finished run is only read.
        device: where to train.
        reporter: is told of each step and epoch, in the first process.
        processes: those that train together; they must see the same folder.

    Returns:
        The run with the weights of its best epoch.

    Raises:
        FileExistsError: the folder holds something already.
        FileNotFoundError: the text, or the run to resume, is not there.
        ValueError: the text cannot be used, `job` differs from the one to resume, or a file is damaged.
        FloatingPointError, KeyboardInterrupt, OSError: as `fit`.

    Example:
        >>> import tempfile
        >>> job = LanguageModelJob().updated({"max_steps": 2, "hidden_size": 8, "validation_streams": 64})
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = train_language_model(job, folder)
        >>> [epoch.step for epoch in run.epochs]
        [2]
    """
    folder, processes = Path(folder), processes or Processes()
    if resume:
        _check_resumed(job, folder)
    elif job is None:
        raise ValueError("a new run needs a job; only a resumed one may go without")
    elif processes.is_first:
        _check(job, torch.device(device), processes)
        _prepare(job, folder)
    processes.wait()
    job = read_job(folder)
    train_ids, validation_ids = run_ids(folder)
    torch.manual_seed(job.train.seed)
    model = LanguageModel(job.model).to(device)
    fit(
        model,
        train_ids,
        validation_ids,
        job.train,
        folder=folder,
        resume=resume,
        reporter=reporter,
        processes=processes,
    )
    return load_run(folder)


def _check(job: LanguageModelJob, device: torch.device, processes: Processes) -> None:
    """Refuse what can be refused without the text, before anything is read or written."""
    require_equal_shares(job.train.batch_size, processes.world)
    weights = sum(p.nbytes for p in LanguageModel.outline(job.model).parameters())
    needed = 2 * weights  # with their gradients, at the least
    if needed > (memory := memory_of(device)):
        raise ValueError(
            f"to train a model of these sizes takes at least {needed:,} bytes, {device.type} has {memory:,}: "
            "choose a smaller hidden_size, embedding_size or num_layers"
        )


def _prepare(job: LanguageModelJob, folder: Path) -> None:
    """Write the run's text as ids, its tokenizer, and last, as the sign that all is there, its config."""
    ours = {VOCABULARY, TOKENS, VALIDATION_TOKENS}
    taken = [path.name for path in _entries(folder) if path.name not in ours and path.suffix != ".partial"]
    if taken:
        raise FileExistsError(
            f"{folder} is not empty, it holds {', '.join(sorted(taken)[:5])}: resume its run, or name "
            "another folder"
        )
    text = text_path(job.text.text)
    tokenizer = train_tokenizer(
        lambda: read_text(text),
        level=job.text.level,
        max_size=job.text.max_vocabulary,
        min_count=job.text.min_count,
    )
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tokenizer.save(folder / VOCABULARY)
        count = encode_file(text, tokenizer, folder / TOKENS)
        if job.text.validation_text is None:
            held_out = validation_symbols(count, job.text.validation_fraction)
            count -= held_out
        else:
            held_out = encode_file(text_path(job.text.validation_text), tokenizer, folder / VALIDATION_TOKENS)
        require_a_window(count, batch_size=job.train.batch_size, window=job.train.window)
        require_a_window(held_out, batch_size=1, window=1)
    except BaseException:
        _remove(folder, missing)
        raise
    sized = job.sized(len(tokenizer))
    write_config(folder, LanguageModel.model_type, sized.model, job_tables(sized))


def _remove(folder: Path, made: Iterable[Path]) -> None:
    """Take back what `_prepare` wrote: a text that cannot be used leaves no folder in the way of the next."""
    for name in (VOCABULARY, TOKENS, VALIDATION_TOKENS):
        (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # another one has put something there
        for path in made:
            path.rmdir()


def _check_resumed(job: LanguageModelJob | None, folder: Path) -> None:
    if not (folder / CONFIG).exists():
        raise FileNotFoundError(f"there is no run to resume in {folder}: {CONFIG} is missing")
    if job is not None and (differences := read_job(folder).differences(job)):
        raise ValueError(
            f"{folder} is a run with other settings: {'; '.join(differences)}. Resume it with its own, or "
            "start a new run in another folder"
        )


def _entries(folder: Path) -> Iterable[Path]:
    return folder.iterdir() if folder.exists() else ()
