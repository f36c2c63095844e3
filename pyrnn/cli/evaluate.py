"""pyrnn evaluate: the scores of a trained model on a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import pyrnn
from pyrnn._files import to_json
from pyrnn.cli.devices import Device, device_of


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    text: Annotated[
        list[str],
        typer.Option(
            help="A file or folder of the kind that the run was trained on, or the name of a shipped text; "
            "several are joined."
        ),
    ],
    device: Device = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print the scores of a model on a file, for instance loss, perplexity and bits per token.

    \b
      pyrnn evaluate runs/book --text other.txt
    """
    scores = pyrnn.tasks.evaluate(pyrnn.tasks.load_run(run, device=device_of(device)), text)
    if as_json:
        print(to_json(scores))
        return
    width = max(map(len, scores))
    for name, value in scores.items():
        print(f"{name:{width}}  {value:,.0f}" if value.is_integer() else f"{name:{width}}  {value:.4f}")
