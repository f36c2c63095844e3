"""pyrnn evaluate: the loss of a trained model on a text."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from pyrnn.train import evaluate_file, load_run


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    text: Annotated[
        str, typer.Option(help='A file, or "shakespeare" for the text that comes with the package.')
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Print loss, perplexity and bits a symbol of a model on a text.

    \b
      pyrnn evaluate runs/book --text other.txt
    """
    result = evaluate_file(load_run(run), text)
    if as_json:
        print(json.dumps({**asdict(result), "perplexity": result.perplexity, "bits": result.bits}))
        return
    print(f"loss        {result.loss:.4f} nats a symbol")
    print(f"perplexity  {result.perplexity:.2f}")
    print(f"bits        {result.bits:.4f} a symbol")
    print(f"symbols     {result.symbols:,}, of which unknown {result.unknown:,}")
