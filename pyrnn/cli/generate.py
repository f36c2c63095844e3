"""pyrnn generate: text from a trained model."""

from __future__ import annotations

import secrets
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional, cast

import pyrnn
from pyrnn.cli.devices import Device, Threads, device_of, use_threads
from pyrnn.cli.help import RunFolder, in_words, option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.standard_input import read_prompt
from pyrnn.cli.terminal import Raw, tell, write
from pyrnn.search.config import OutputConfig, SamplingConfig, SearchConfig
from pyrnn.tasks.conditional import ConditionalRun

if TYPE_CHECKING:
    from pyrnn.tasks.language_model import TextRun
    from pyrnn.text import Tokenizer

_MOST_SAMPLES = 10_000  # they are drawn side by side
# Without --beam-width there is no beam: what help shows is no default of the command.
_DEFAULTS = {
    field.name: None if field.name == "beam_width" else field.default
    for kind in (SamplingConfig, SearchConfig)
    for field in fields(kind)
}
_SEEDS = 1 << 32  # those that are drawn: short enough to be typed again


@with_settings(
    {"Output": OutputConfig, "Sampling": SamplingConfig, "Beam search": SearchConfig},
    leave_out=("forbidden", "max_tokens_per_source", "coverage_penalty"),
    default=lambda name: in_words(_DEFAULTS[name]),
)
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
    label: Annotated[
        list[str],
        option(
            "What a text is to be, of a conditional language model; may be given several times, and is all "
            "of its labels unless given.",
            metavar="LABEL",
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

    With --beam-width nothing is drawn: the likeliest continuations are searched, and told with their scores.

    A conditional language model writes lines "label TAB text", each of which has ended or is --max-tokens
    long.

    \b
      pyrnn generate runs/book --prompt 'HAMLET:' --temperature 0.8 --max-tokens 500
      pyrnn generate runs/words --prompt 'the king' --prompt 'the queen' --top-p 0.9 --stop-at-eos
      pyrnn generate runs/book --prompt-file opening.txt --seed 1
      pyrnn generate runs/words --prompt 'the king' --beam-width 8 --n-best 3 --stop-at-eos
      pyrnn generate runs/names --label Irish --samples 10
    """
    use_threads(threads)
    search = _search_config(settings, samples=samples, seed=seed)
    config = SamplingConfig(**settings) if search is None else SamplingConfig()
    loaded = pyrnn.tasks.load_run(run, verb="generate", device=device_of(device))
    if isinstance(loaded, ConditionalRun):
        given = [*prompt, *map(read_prompt, prompt_file)] or [""]
        _labelled(loaded, given, label, config if search is None else search, samples, seed, raw)
        return
    if label:
        raise ValueError(
            f"{run} is a run of the task {loaded.job.task.name}, which has no labels: leave --label out"
        )
    loaded = cast("TextRun", loaded)
    model, tokenizer = loaded.model, loaded.tokenizer
    given = [*prompt, *map(read_prompt, prompt_file)] or [""]
    if search is not None:
        stop_at_eos = settings.get("stop_at_eos", False)
        found = pyrnn.search.search_text(model, tokenizer, given, search, stop_at_eos=stop_at_eos)
        _tell(given, tokenizer, None)
        for number, (text, results) in enumerate(zip(given, found, strict=True), 1):
            for rank, each in enumerate(results, 1):
                scores = f"score {each.score:.4f}, log-probability {each.log_probability:.4f}"
                write(f"--- {number}.{rank}: {scores}\n{text}{each.text}\n", raw=raw)
        return
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


def _labelled(
    run: ConditionalRun,
    prompts: list[str],
    labels: list[str],
    config: SamplingConfig | SearchConfig,
    samples: int,
    seed: int | None,
    raw: bool,
) -> None:
    """Texts of each label, and of it for each prompt: one a line, as a classifier reads them."""
    wanted = [(label, text) for label in labels or run.labels.labels for text in prompts]
    wanted = [pair for pair in wanted for _ in range(samples)]
    if len(wanted) > _MOST_SAMPLES:
        raise ValueError(
            f"{len(wanted):,} texts are drawn side by side, at most {_MOST_SAMPLES:,}: ask for fewer"
        )
    names, begun = [label for label, _ in wanted], [text for _, text in wanted]
    if isinstance(config, SearchConfig):
        found = pyrnn.tasks.search_texts(run, names, config, prompts=begun)
        for (label, text), results in zip(wanted, found, strict=True):
            for each in results:
                write(f"{label}\t{text}{each.text}\n", raw=raw)
        return
    drawn = seed is None and config.temperature > 0
    seed = secrets.randbelow(_SEEDS) if seed is None else seed
    texts = pyrnn.tasks.draw_texts(run, names, config, prompts=begun, seed=seed)
    _tell(prompts, run.tokenizer, seed if drawn else None)
    for (label, text), rest in zip(wanted, texts, strict=True):
        write(f"{label}\t{text}{rest}\n", raw=raw)


def _search_config(settings: dict[str, Any], *, samples: int, seed: int | None) -> SearchConfig | None:
    """What to search with, if that is wanted: then nothing is drawn, and settings of draws are refused."""
    known = {field.name for field in fields(SearchConfig)}
    own = known - {field.name for field in fields(OutputConfig)}
    if "beam_width" not in settings:
        if stray := sorted(_flag(name) for name in own & settings.keys()):
            raise ValueError(f"{', '.join(stray)}: these belong to beam search; give --beam-width too")
        return None
    drawing = [_flag(name) for name in settings if name not in known and name != "stop_at_eos"]
    drawing += ["--samples"] * (samples > 1) + ["--seed"] * (seed is not None)
    if drawing:
        raise ValueError(
            f"--beam-width searches, and {', '.join(drawing)} is for text that is drawn: leave one of the "
            "two out"
        )
    return SearchConfig(**{name: value for name, value in settings.items() if name in known})


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _tell(prompts: list[str], tokenizer: Tokenizer, seed: int | None) -> None:
    """To standard error: standard output holds the text alone."""
    for number, prompt in enumerate(prompts, 1):
        ids = tokenizer.encode(prompt)
        if unknown := 0 if tokenizer.unk_id is None else int((ids == tokenizer.unk_id).sum()):
            which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
            tell(f"{which} has {unknown} tokens that the model does not know, of {len(ids)}")
    if seed is not None:
        tell(f"seed {seed}: --seed {seed} gives the same text again")
