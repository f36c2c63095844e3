"""pyrnn generate: text from a trained model."""

from __future__ import annotations

import secrets
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import pyrnn
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.standard_input import read_prompt
from pyrnn.cli.terminal import Raw, tell, write
from pyrnn.search.config import SamplingConfig

if TYPE_CHECKING:
    from pyrnn.tasks.language_model import TextRun
    from pyrnn.text import Tokenizer

_MOST_SAMPLES = 10_000  # they are drawn side by side
_SEEDS = 1 << 32  # those that are drawn: short enough to be typed again


@with_settings({"Sampling": SamplingConfig})
def generate(
    run: RunFolder,
    prompt: Annotated[
        list[str], option("What to continue; may be given several times.", metavar="TEXT")
    ] = [],  # noqa: B006
    prompt_file: Annotated[
        list[Path],
        option(
            "A file whose whole text is a prompt, without its last newline; - is standard input. May be "
            "given several times.",
            metavar="PATH",
        ),
    ] = [],  # noqa: B006
    samples: Annotated[
        int,
        option(
            f"Continuations of each prompt, at most {_MOST_SAMPLES:,}.", metavar="N", min=1, max=_MOST_SAMPLES
        ),
    ] = 1,
    seed: Annotated[
        Optional[int],
        option(
            "The same seed gives the same text; another one each time, and told, unless given.", metavar="N"
        ),
    ] = None,
    device: Device = "auto",
    threads: Threads = None,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Continue prompts with text drawn from a model; one continuation appears while it is being drawn.

    \b
      pyrnn generate runs/book --prompt 'HAMLET:' --temperature 0.8 --max-tokens 500
      pyrnn generate runs/words --prompt 'the king' --prompt 'the queen' --top-p 0.9 --stop-at-eos
      pyrnn generate runs/book --prompt-file opening.txt --seed 1
    """
    use_threads(threads)
    config = SamplingConfig(**settings)
    loaded = cast("TextRun", pyrnn.tasks.load_run(run, verb="generate", device=device_of(device)))
    model, tokenizer = loaded.model, loaded.tokenizer
    given = [*prompt, *map(read_prompt, prompt_file)] or [""]
    prompts = [text for text in given for _ in range(samples)]
    drawn = seed is None and config.temperature > 0
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    if len(prompts) == 1:
        pieces = pyrnn.search.stream_text(model, tokenizer, prompts[0], config, seed=seed)
        first = next(pieces, "")  # before anything is printed: the model may have nothing to say
        _tell(given, tokenizer, seed if drawn else None)
        for piece in chain([prompts[0] + first], pieces, ["\n"]):
            write(piece, raw=raw)
        return
    texts = pyrnn.search.generate_text(model, tokenizer, prompts, config, seed=seed)
    _tell(given, tokenizer, seed if drawn else None)
    for number, text in enumerate(texts, start=1):
        write(f"--- {number}\n{prompts[number - 1]}{text}\n", raw=raw)


def _tell(prompts: list[str], tokenizer: Tokenizer, seed: int | None) -> None:
    """To standard error: standard output holds the text alone."""
    for number, prompt in enumerate(prompts, 1):
        ids = tokenizer.encode(prompt)
        if unknown := 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum()):
            which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
            tell(f"{which} has {unknown} tokens that the model does not know, of {len(ids)}")
    if seed is not None:
        tell(f"seed {seed}: --seed {seed} gives the same text again")
