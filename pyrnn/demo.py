"""Train a two-layer character model on Shakespeare, let it write, and compare its speed with torch.nn's.

Run as `python -m pyrnn.demo`; `--help` lists the options.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rich.console import Console
from rich.table import Table

from pyrnn.bench.arguments import whole
from pyrnn.bench.speed import SpeedRow, compare_layers, compare_training
from pyrnn.cli.errors import telling
from pyrnn.corpora import shakespeare
from pyrnn.machine import describe_machine
from pyrnn.models import LanguageModel
from pyrnn.search import SamplingConfig, generate_text
from pyrnn.tasks import make_job
from pyrnn.tasks.language_model import VOCABULARY, TextRun
from pyrnn.text import Tokenizer
from pyrnn.train import (
    EpochMetrics,
    GradientTrainer,
    Job,
    Reporter,
    Start,
    StepResult,
    Trainer,
    reporter_for,
    train,
)

PROMPT = "HAMLET:\n"
QUICK_CHARACTERS = 30_000
QUICK = {"epochs": 1, "warmup_steps": 10}
EPOCHS, FULL_EPOCHS = 2, 6


class SamplingReporter:
    """Passes on what it is told, and lets the model write a few lines after every epoch but the last.

    Args:
        reporter: the one that shows the training.
        job: what is trained.
        folder: of the run.
        console: where to write.
    """

    def __init__(self, reporter: Reporter, job: Job, folder: Path, console: Console) -> None:
        self._reporter, self._job, self._folder, self._console = reporter, job, folder, console
        self._model: LanguageModel | None = None

    def on_start(self, start: Start) -> None:
        """Pass it on."""
        self._reporter.on_start(start)

    def on_step(self, trainer: Trainer, result: StepResult) -> None:
        """Note whose steps they are."""
        self._model = cast(LanguageModel, cast(GradientTrainer, trainer).model)
        self._reporter.on_step(trainer, result)

    def on_epoch(self, metrics: EpochMetrics) -> None:
        """Show the epoch, and what the model writes by now."""
        self._reporter.on_epoch(metrics)
        if self._model is None or metrics.epoch == self._job.train.epochs:
            return
        tokenizer = Tokenizer.load(self._folder / VOCABULARY)
        sample = write(self._model, tokenizer, characters=200, seed=self._job.train.seed)
        self._console.print(f"\nafter epoch {metrics.epoch}:\n{sample}\n", markup=False)


def write(model: LanguageModel, tokenizer: Tokenizer, *, characters: int, seed: int) -> str:
    """What the model makes of the prompt."""
    config = SamplingConfig(temperature=0.8, max_tokens=characters)
    (passage,) = generate_text(model, tokenizer, [PROMPT], config, seed=seed)
    return PROMPT + passage


def speed_rows(run: TextRun, text: str, *, rounds: int) -> list[SpeedRow]:
    """Both backends at the shapes of `run`, alternating."""
    job = run.job
    return [
        compare_layers(job.model, steps=job.data.bptt_steps, batch=job.train.batch_size, rounds=rounds),
        compare_training(job, run.tokenizer.encode(text), rounds=rounds),
    ]


def speed_table(rows: Sequence[SpeedRow]) -> Table:
    """The rows as they are printed."""
    table = Table("characters a second", "pyrnn", "torch.nn", "ratio", title=describe_machine())
    for row in rows:
        ours, theirs = (f"{row.tokens_per_second[backend]:,.0f}" for backend in ("pyrnn", "torch"))
        table.add_row(row.work, ours, theirs, f"{row.ratio:.2f}x")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parse(argv)
    with tempfile.TemporaryDirectory(prefix="pyrnn-demo-") as scratch:
        text = shakespeare()
        settings: dict[str, Any] = {
            "architecture": options.cell,
            "hidden_size": options.hidden,
            "seed": options.seed,
        }
        if options.quick:
            text = text[:QUICK_CHARACTERS]
            path = Path(scratch) / "text.txt"
            path.write_text(text, encoding="utf-8")
            settings |= {"text": str(path), **QUICK}
        else:
            settings["epochs"] = FULL_EPOCHS if options.full else EPOCHS
        if options.epochs is not None:
            settings["epochs"] = options.epochs
        _show(make_job("language-model", settings), options.run or Path(scratch) / "run", text, options)
    return 0


def _show(job: Job, folder: Path, text: str, options: argparse.Namespace) -> None:
    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Training on {len(text):,} characters: {describe_machine()}")
    with reporter_for(sys.stdout) as reporter:
        samples = SamplingReporter(reporter, job, folder, console)
        run = cast(TextRun, train(job, folder, reporter=samples))
    loss = run.best.score
    console.print(f"\nvalidation loss {loss:.4f} nats a character after {run.seconds:.0f} s of training")
    sample = write(run.model, run.tokenizer, characters=500, seed=options.seed)
    console.print(f"\n{sample}\n", markup=False)
    rounds = 3 if options.quick else 30 if options.full else 10
    console.print(speed_table(speed_rows(run, text, rounds=rounds)))
    if options.run is not None:
        console.print(f"the run is in {options.run}: pyrnn generate {options.run} --prompt 'MACBETH:'")


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pyrnn.demo", description=__doc__)
    parser.add_argument(
        "--cell", choices=("rnn", "gru", "lstm"), default="lstm", help="recurrent cell (%(default)s)"
    )
    parser.add_argument("--hidden", type=whole(1), default=256, help="units of a layer (%(default)s)")
    parser.add_argument(
        "--epochs", type=whole(1), help=f"passes over the text ({EPOCHS}, with --full {FULL_EPOCHS})"
    )
    parser.add_argument(
        "--seed", type=whole(0), default=1, help="of weights, dropout, sampling (%(default)s)"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help="a short text and one epoch: about ten seconds")
    length.add_argument(
        "--full", action="store_true", help="train until it writes well, compare longer: about ten minutes"
    )
    parser.add_argument("--run", type=Path, metavar="FOLDER", help="keep the run there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(telling(main))
