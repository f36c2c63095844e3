"""pyrnn generate: text from a trained model."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

import pyrnn
from pyrnn.cli.devices import Device, device_of
from pyrnn.cli.settings import with_settings
from pyrnn.search.config import SamplingConfig

if TYPE_CHECKING:
    from pyrnn.tasks.language_model import TextRun

_MOST_SAMPLES = 10_000  # they are drawn side by side


@with_settings({"": SamplingConfig})
def generate(
    run: Annotated[Path, typer.Argument(help="Folder of a training run.")],
    prompt: Annotated[list[str], typer.Option(help="What to continue; may be given several times.")] = [""],  # noqa: B006
    samples: Annotated[int, typer.Option(help="Continuations of each prompt.", min=1, max=_MOST_SAMPLES)] = 1,
    seed: Annotated[int, typer.Option(help="The same seed gives the same text.")] = 0,
    device: Device = "auto",
    *,
    settings: dict[str, Any],
) -> None:
    """Continue prompts with text drawn from a model; one continuation appears while it is being drawn.

    \b
      pyrnn generate runs/book --prompt 'HAMLET:' --temperature 0.8 --max-tokens 500
      pyrnn generate runs/words --prompt 'the king' --prompt 'the queen' --top-p 0.9 --stop-at-eos
    """
    config = SamplingConfig(**settings)
    loaded = cast("TextRun", pyrnn.tasks.load_run(run, verb="generate", device=device_of(device)))
    model, tokenizer = loaded.model, loaded.tokenizer
    prompts = [text for text in prompt for _ in range(samples)]
    if len(prompts) == 1:
        sys.stdout.write(prompts[0])
        for piece in pyrnn.search.stream_text(model, tokenizer, prompts[0], config, seed=seed):
            sys.stdout.write(piece)
            sys.stdout.flush()
        sys.stdout.write("\n")
        return
    texts = pyrnn.search.generate_text(model, tokenizer, prompts, config, seed=seed)
    for number, text in enumerate(texts, start=1):
        print(f"--- {number}\n{prompts[number - 1]}{text}")
