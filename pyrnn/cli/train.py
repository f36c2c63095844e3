"""pyrnn train: one command for each task of the list."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

import pyrnn
from pyrnn.cli.devices import Device, device_of
from pyrnn.cli.settings import SettingsCommand, with_settings
from pyrnn.cli.terminal import tell
from pyrnn.tasks.registry import TASKS, find_task
from pyrnn.train.config import TrainConfig
from pyrnn.train.task import Task

app = typer.Typer(help="Train a model and keep it in a folder.", no_args_is_help=True)

_HELP = """{summary}

    \b
{lines}

    On a terminal a progress bar shows how it goes, elsewhere JSON lines do. Ctrl-C saves and stops; --resume
    goes on exactly there.
    """


def _command(task: Task) -> Callable[..., None]:
    """The command that trains `task`: its settings are the fields of its configurations."""
    tables = {"data": task.data_config, "model": task.model_config, "train": TrainConfig}

    @with_settings(tables, leave_out=task.sizes)
    def command(
        run: Annotated[Path, typer.Argument(help="Folder of the run: made, or with --resume continued.")],
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on with the run that was stopped.")
        ] = False,
        config: Annotated[
            Optional[Path],
            typer.Option(help="TOML or JSON file with tables [data], [model], [train]; flags override it."),
        ] = None,
        device: Device = "auto",
        threads: Annotated[
            Optional[int],
            typer.Option(help="CPU threads; as torch decides by default."),
        ] = None,
        *,
        settings: dict[str, Any],
    ) -> None:
        _train(task, run, resume, config, device, threads, settings)

    calls = [f"pyrnn train {task.name} {example}" for example in (*task.examples, "RUN --resume")]
    calls.append(f"torchrun --nproc-per-node 2 -m {calls[0]}")
    command.__doc__ = _HELP.format(summary=task.summary, lines="\n".join(f"      {call}" for call in calls))
    return command


for _name in TASKS:
    app.command(_name, cls=SettingsCommand)(_command(find_task(_name)))


def _train(
    task: Task,
    run: Path,
    resume: bool,
    config: Path | None,
    device: str,
    threads: int | None,
    settings: dict[str, Any],
) -> None:
    if threads is not None:
        from pyrnn import _native

        _native.set_num_threads(threads)
    if config is not None:
        job = pyrnn.train.Job.from_file(task, config)
    elif resume:
        job = pyrnn.train.resumed_job(task, run)
    else:
        job = pyrnn.tasks.make_job(task.name)
    job = job.updated(settings)
    before = pyrnn.train.read_run_metrics(run) if resume else []
    place = pyrnn.train.local_device(device_of(device))
    with pyrnn.train.process_group(place) as processes, _news_on_stderr():
        shows = pyrnn.train.reporter_for(sys.stdout) if processes.is_first else nullcontext()
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
        word = "lowest" if task.objective.direction == "min" else "highest"
        tell(
            f"{run}: {word} validation {task.objective.metric} {best.score:.4f}{task.score_unit}, "
            f"in epoch {best.epoch}"
        )
        following = next(iter(task.verbs), "evaluate")
        tell(f"{result.seconds:.0f} s of training; next: pyrnn {following} {run} ...")


@contextmanager
def _news_on_stderr() -> Iterator[None]:
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
