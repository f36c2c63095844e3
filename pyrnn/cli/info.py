"""pyrnn info: what is installed here, and what a run holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from pyrnn import __version__, _native
from pyrnn.machine import describe_machine
from pyrnn.train import Run, load_run


def info(
    run: Annotated[
        Optional[Path],
        typer.Argument(help="Folder of a training run.", show_default=False),
    ] = None,
) -> None:
    """Describe this installation, or a training run.

    \b
      pyrnn info
      pyrnn info runs/book
    """
    if run is not None:
        _print(_of_run(load_run(run)))
        return
    why = _native.why_no_cuda()
    _print(
        {
            "pyrnn": __version__,
            "machine": describe_machine(),
            "kernels": f"{_native.isa()} in use, this processor runs {', '.join(_native.isas())}",
            "threads": str(_native.num_threads()),
            "CUDA": f"no kernels: {why}" if why else f"kernels for {_native.cuda.architectures}",
        }
    )


def _of_run(run: Run) -> dict[str, str]:
    model, train, epochs = run.job.model, run.job.train, run.epochs
    parameters = sum(p.numel() for p in run.model.parameters())
    facts = {
        "text": f"{run.job.text.text}, {run.job.text.level} level, {model.vocabulary_size:,} symbols",
        "model": f"{model.num_layers}-layer {model.cell.upper()}, {model.hidden_size} units",
        "parameters": f"{parameters:,}",
        "recipe": f"{train.optimizer}, learning rate {train.learning_rate}, "
        f"batch {train.batch_size}, window {train.window}",
        "epochs": f"{len(epochs)} of {train.epochs}",
    }
    if epochs:
        best, symbols = run.best, sum(epoch.symbols for epoch in epochs)
        facts["best"] = f"validation loss {best.validation_loss:.4f} nats a symbol in epoch {best.epoch}"
        facts["speed"] = f"{symbols / run.seconds:,.0f} symbols/s"
    return facts


def _print(facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {value}")
