"""pyrnn train: one command for each kind of model."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Optional

import torch
import typer

from pyrnn import _native
from pyrnn.cli.settings import with_settings
from pyrnn.models import LanguageModelConfig
from pyrnn.train import (
    LanguageModelJob,
    TextConfig,
    TrainConfig,
    joined_processes,
    own_device,
    read_job,
    reporter_for,
)
from pyrnn.train.run import train_language_model
from pyrnn.train.run_folder import CONFIG

_COMMAND = "pyrnn train language-model"

app = typer.Typer(help="Train a model and keep it in a folder.", no_args_is_help=True)


@app.command("language-model")
@with_settings(TextConfig, LanguageModelConfig, TrainConfig, leave_out=("vocabulary_size",))
def language_model(
    run: Annotated[Path, typer.Argument(help="Folder of the run: made, or with --resume continued.")],
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run that was stopped.")] = False,
    config: Annotated[
        Optional[Path],
        typer.Option(help="TOML or JSON file with tables [text], [model], [train]; flags override it."),
    ] = None,
    device: Annotated[str, typer.Option(help='"cpu", "cuda", or "auto": cuda where there is one.')] = "auto",
    threads: Annotated[
        Optional[int],
        typer.Option(help="CPU threads; as torch decides by default."),
    ] = None,
    *,
    settings: dict[str, Any],
) -> None:
    """Train a language model on a text: an RNN, GRU or LSTM, or a transformer.

    \b
      pyrnn train language-model runs/book --text book.txt
      pyrnn train language-model runs/words --text book.txt --level word --max-vocabulary 10000
      pyrnn train language-model runs/attention --text book.txt --cell transformer
      pyrnn train language-model runs/book --resume
      torchrun --nproc-per-node 2 -m pyrnn train language-model runs/book --text book.txt

    On a terminal a progress bar shows how it goes, elsewhere JSON lines do. Ctrl-C saves and stops; --resume
    goes on exactly there.
    """
    if threads is not None:
        _native.set_num_threads(threads)
    job = None
    if not resume or config or settings:
        start = (
            LanguageModelJob.from_file(config) if config else read_job(run) if resume else LanguageModelJob()
        )
        job = start.updated(settings)
    place = own_device(_device(device))
    with joined_processes(place) as processes:
        shows = reporter_for(sys.stdout) if processes.is_first else nullcontext()
        try:
            with shows as reporter:
                result = train_language_model(
                    job, run, resume=resume, device=place, reporter=reporter, processes=processes
                )
        except KeyboardInterrupt:
            saved = (run / CONFIG).exists()  # else the text was still being read
            _tell(f"stopped and saved; go on with: {_COMMAND} {run} --resume" if saved else "stopped")
            raise typer.Exit(130) from None
    if processes.is_first:
        loss, epoch = result.best.validation_loss, result.best.epoch
        _tell(f"{run}: lowest validation loss {loss:.4f} nats a symbol, in epoch {epoch}")
        _tell(f"{result.seconds:.0f} s of training; next: pyrnn generate {run} --prompt ...")


def _tell(line: str) -> None:
    """To standard error: standard output holds the metrics alone."""
    print(line, file=sys.stderr)


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"--device {name}: {error}") from error
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f'--device {name}: expected "cpu", "cuda" or "auto"')
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {name}: torch sees no GPU here; use --device cpu")
    return device
