"""pyrnn generate: text from a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from pyrnn.cli.settings import with_settings
from pyrnn.search import SamplingConfig, generate_text, stream_text
from pyrnn.train import load_run

_MOST_SAMPLES = 10_000  # they are drawn side by side


@with_settings(SamplingConfig)
def generate(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    prompt: Annotated[list[str], typer.Option(help="What to continue; may be given several times.")] = [""],  # noqa: B006
    samples: Annotated[int, typer.Option(help="Continuations of each prompt.", min=1, max=_MOST_SAMPLES)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    *,
    settings: dict[str, Any],
) -> None:
    """Continue prompts with text drawn from a model; one continuation appears while it is being drawn.

    \b
      pyrnn generate runs/book --prompt 'HAMLET:' --temperature 0.8 --max-symbols 500
      pyrnn generate runs/words --prompt 'the king' --prompt 'the queen' --top-p 0.9 --stop-at-eos
    """
    loaded, config = load_run(run), SamplingConfig(**settings)
    prompts = [text for text in prompt for _ in range(samples)]
    if len(prompts) == 1:
        sys.stdout.write(prompts[0])
        for piece in stream_text(loaded.model, loaded.tokenizer, prompts[0], config, seed=seed):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    for number, text in enumerate(
        generate_text(loaded.model, loaded.tokenizer, prompts, config, seed=seed), start=1
    ):
        print(f"--- {number}\n{prompts[number - 1]}{text}")
