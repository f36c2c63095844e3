"""pyrnn train: one command for each task of the list."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import pyrnn
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import HelpCommand, HelpGroup, argument, in_words, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.terminal import tell
from pyrnn.tasks.registry import TASKS, find_task
from pyrnn.train.config import TrainConfig
from pyrnn.train.job import Job
from pyrnn.train.task import ANY, Task

app = typer.Typer(cls=HelpGroup, help="Train a model and keep it in a folder.", no_args_is_help=True)

_HELP = """{summary}

    \b
{lines}

    On a terminal a progress bar shows how it goes, elsewhere JSON lines do. Ctrl-C saves and stops; --resume
    goes on exactly there.
    """


def _command(task: Task) -> Callable[..., None]:
    """The command that trains `task`: its settings are the fields of its configurations."""
    groups = {"[data]": task.data_config, "[model]": task.model_config, "[train]": TrainConfig}

    @with_settings(groups, leave_out=(*task.sizes, *task.unused), default=_default_of(task))
    def command(
        run: Annotated[Path, argument("Folder of the run: made, or with --resume continued.", "RUN")],
        resume: Annotated[bool, option("Go on with the run that was stopped.", "--resume")] = False,
        config: Annotated[
            Optional[Path],
            option(
                "TOML or JSON file with tables [data], [model], [train]; flags override it.", metavar="PATH"
            ),
        ] = None,
        device: Device = "auto",
        threads: Threads = None,
        log_to: Annotated[
            Optional[Path],
            option("Folder for TensorBoard's event files (needs pyrnn[tensorboard]).", metavar="PATH"),
        ] = None,
        *,
        settings: dict[str, Any],
    ) -> None:
        use_threads(threads)
        _train(task, run, resume, config, device, log_to, settings)

    calls = [f"pyrnn train {task.name} {example}" for example in (*task.examples, "RUN --resume")]
    if task.several_processes:
        calls.append(f"torchrun --nproc-per-node 2 -m {calls[0]}")
    command.__doc__ = _HELP.format(summary=task.summary, lines="\n".join(f"      {call}" for call in calls))
    return command


def _default_of(task: Task) -> Callable[[str], str]:
    """What help shows as a setting's default: that of the task, and those of kinds of models that differ."""
    tables = Job.from_mapping(task, {}, where="defaults").tables()
    others = {
        name: Job.from_mapping(task, {"model": {task.kind_setting: name}}, where="defaults").tables()
        for name in task.defaults
        if name != ANY
    }

    def default(name: str) -> str:
        (table,) = (table for table, settings in tables.items() if name in settings)
        own = tables[table][name]
        differing = [
            f"{other}: {in_words(settings[table][name])}"
            for other, settings in others.items()
            if settings[table][name] != own and name != task.kind_setting
        ]
        return "; ".join(filter(None, [in_words(own), *differing]))

    return default


for _name in TASKS:
    app.command(_name, cls=HelpCommand)(_command(find_task(_name)))


def _train(
    task: Task,
    run: Path,
    resume: bool,
    config: Path | None,
    device: str,
    log_to: Path | None,
    settings: dict[str, Any],
) -> None:
    if config is not None:
        job = pyrnn.train.Job.from_file(task, config)
    elif resume:
        job = pyrnn.train.resumed_job(task, run)
    else:
        job = pyrnn.tasks.make_job(task.name)
    job = job.updated(settings)
    before = pyrnn.train.read_run_metrics(run) if resume else []
    if device == "auto" and "cuda" not in task.devices:
        device = "cpu"
    place = pyrnn.train.local_device(device_of(device))
    with pyrnn.train.process_group(place) as processes, _news_on_stderr():
        shows = _reporters(log_to) if processes.is_first else nullcontext()
        try:
            with shows as reporter:
                result = pyrnn.train.train(
                    job, run, resume=resume, device=place, reporter=reporter, processes=processes
                )
        except KeyboardInterrupt:
            saved = (run / "config.json").exists()  # else the data were still being read
            again = f"pyrnn train {task.name} {run} --resume"
            tell(f"stopped and saved; go on with: {again}" if saved else "stopped")
            raise typer.Exit(130) from None
    if processes.is_first:
        best = result.best
        if resume and result.metrics == before:
            tell(
                f"{run} had ended already, after {before[-1]['step']:,} steps: more --epochs or --max-steps, "
                "or another --patience, lets it go on"
            )
        word = {"min": "lowest", "max": "highest", "last": "last"}[best.objective.direction]
        tell(
            f"{run}: {word} validation {best.objective.metric} {best.score:.4f}{task.score_unit_of(job)}, "
            f"in epoch {best.epoch}"
        )
        following = next(iter(task.verbs), "evaluate")
        tell(f"{result.seconds:.0f} s of training; next: pyrnn {following} {run} ...")


@contextmanager
def _reporters(log_to: Path | None) -> Generator[pyrnn.train.Reporter, None, None]:
    """What shows the training, and with a folder what keeps it for TensorBoard."""
    with ExitStack() as stack:
        told: list[pyrnn.train.Reporter] = [stack.enter_context(pyrnn.train.reporter_for(sys.stdout))]
        if log_to is not None:
            told.append(stack.enter_context(pyrnn.train.TensorBoardReporter(log_to)))
        yield pyrnn.train.Reporters(told)


@contextmanager
def _news_on_stderr() -> Generator[None, None, None]:
    """Within, what the package tells of its progress goes to standard error, also where nobody watches."""
    logger, handler = logging.getLogger("pyrnn"), _Teller()
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _Teller(logging.Handler):
    """Each message a line."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())
