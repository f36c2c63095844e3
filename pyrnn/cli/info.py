"""pyrnn info: what is installed here, and what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

import pyrnn
from pyrnn.cli.terminal import Raw, write

if TYPE_CHECKING:
    from pyrnn.train import Run


def info(
    run: Annotated[
        Optional[Path],
        typer.Argument(help="Folder of a training run.", show_default=False),
    ] = None,
    raw: Raw = False,
) -> None:
    """Describe this installation, or a training run.

    \b
      pyrnn info
      pyrnn info runs/book
    """
    _print(_of_installation() if run is None else _of_run(pyrnn.tasks.load_run(run)), raw=raw)


def _of_installation() -> dict[str, str]:
    from pyrnn import _native
    from pyrnn.machine import describe_machine

    why = _native.why_no_cuda()
    return {
        "pyrnn": pyrnn.__version__,
        "machine": describe_machine(),
        "kernels": f"{_native.isa()} in use, this processor runs {', '.join(_native.isas())}",
        "threads": str(_native.num_threads()),
        "CUDA": f"no kernels: {why}" if why else f"kernels for {_native.cuda.architectures}",
    }


def _of_run(run: Run) -> dict[str, str]:
    job, epochs = run.job, run.epochs
    parameters = sum(p.numel() for p in run.model.parameters())
    standard = pyrnn.tasks.make_job(job.task.name, {"architecture": job.model.architecture}).tables()
    sizes = job.model
    facts = {
        "task": f"{job.task.name}: {job.task.summary}",
        "architecture": f"{sizes.num_layers}-layer {sizes.architecture.upper()}, {sizes.hidden_size} units",
        "parameters": f"{parameters:,}",
    }
    for table, settings in job.tables().items():
        changed = {k: v for k, v in settings.items() if v != standard[table][k]}
        facts[table] = ", ".join(f"{k} {v}" for k, v in changed.items()) or "as by default"
    facts["epochs"] = f"{len(epochs)} of {job.train.epochs}"
    if epochs:
        best, weight = run.best, sum(epoch.weight for epoch in epochs)
        name, unit = best.objective.metric, job.task.score_unit
        facts["best"] = f"validation {name} {best.score:.4f}{unit} in epoch {best.epoch}"
        if run.seconds:
            facts["speed"] = f"{weight / run.seconds:,.0f} {best.unit}/s"
    return facts


def _print(facts: dict[str, str], *, raw: bool) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        write(f"{name:{width}}  {value}\n", raw=raw)
