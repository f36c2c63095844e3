"""Train a two-layer character model on Shakespeare, let it write, and compare its speed with torch.nn's.

Run as `python -m pyrnn.train.demo`; `--help` lists the options.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table

from pyrnn.data import shakespeare
from pyrnn.models import LanguageModel, LanguageModelConfig, recurrent_class, sample_text
from pyrnn.models.language_model import Backend, Cell
from pyrnn.text import Vocabulary, split_validation
from pyrnn.train.config import TrainConfig
from pyrnn.train.language_model import fit
from pyrnn.train.progress import reporter_for
from pyrnn.train.run_folder import Run, save_run
from pyrnn.train.speed import SpeedRow, compare_layers, compare_training, describe_machine

PROMPT = "HAMLET:\n"
QUICK_CHARACTERS = 30_000


def train_on(
    text: str, config: TrainConfig, *, cell: Cell, hidden_size: int, seed: int, backend: Backend
) -> Run:
    """Train a two-layer character model on `text`, showing progress; the last tenth of the text validates.

    Raises:
        ValueError: a text too short for one window, or with a single distinct character.
    """
    vocabulary = Vocabulary.from_text(text)
    train_ids, validation_ids = split_validation(vocabulary.encode(text))
    torch.manual_seed(seed)
    model = LanguageModel(
        LanguageModelConfig(len(vocabulary), cell=cell, hidden_size=hidden_size),
        recurrent=recurrent_class(cell, backend),
    )
    with reporter_for(sys.stdout) as reporter:
        history = fit(model, train_ids, validation_ids, config, reporter=reporter)
    return Run(model, vocabulary, config, history)


def speed_rows(run: Run, text: str, *, rounds: int) -> list[SpeedRow]:
    """Both backends at the shapes of `run`, alternating."""
    config, train = run.model.config, run.train_config
    ids = run.vocabulary.encode(text)
    return [
        compare_layers(config, steps=train.window, batch=train.batch_size, rounds=rounds),
        compare_training(config, train, ids, rounds=rounds),
    ]


def speed_table(rows: Sequence[SpeedRow]) -> Table:
    """The rows as they are printed."""
    table = Table("characters a second", "pyrnn", "torch.nn", "ratio", title=describe_machine())
    for row in rows:
        ours, theirs = (f"{row.symbols_per_second[backend]:,.0f}" for backend in ("pyrnn", "torch"))
        table.add_row(row.work, ours, theirs, f"{row.ratio:.2f}x")
    return table


def main(argv: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parse(argv)
    text = shakespeare()
    train_config = TrainConfig()
    if options.quick:
        text = text[:QUICK_CHARACTERS]
        train_config = replace(train_config, epochs=1, window=64, warmup_steps=10)
    if options.epochs is not None:
        train_config = replace(train_config, epochs=options.epochs)

    console = Console(soft_wrap=True, highlight=False)
    console.print(f"Training on {len(text):,} characters with {options.backend} layers: {describe_machine()}")
    run = train_on(
        text,
        train_config,
        cell=options.cell,
        hidden_size=options.hidden,
        seed=options.seed,
        backend=options.backend,
    )
    seconds = sum(epoch.seconds for epoch in run.history)
    loss = run.history[-1].validation_loss
    console.print(f"\nvalidation loss {loss:.4f} nats a character after {seconds:.0f} s of training")
    passage = sample_text(run.model, run.vocabulary, PROMPT, 500, temperature=0.8, seed=options.seed)
    console.print(f"\n{PROMPT}{passage}\n", markup=False)
    console.print(speed_table(speed_rows(run, text, rounds=3 if options.quick else 30)))
    if options.save is not None:
        save_run(options.save, run)
        console.print(f"saved in {options.save}")
    return 0


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pyrnn.train.demo", description=__doc__)
    parser.add_argument(
        "--cell", choices=("rnn", "gru", "lstm"), default="lstm", help="recurrent cell (%(default)s)"
    )
    parser.add_argument(
        "--backend",
        choices=("pyrnn", "torch"),
        default="pyrnn",
        help="whose layers to train with (%(default)s)",
    )
    parser.add_argument("--hidden", type=int, default=256, help="units of a layer (%(default)s)")
    parser.add_argument("--epochs", type=int, help=f"passes over the text ({TrainConfig.epochs})")
    parser.add_argument("--seed", type=int, default=1, help="of weights, dropout and sampling (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="a short text and one epoch: about ten seconds")
    parser.add_argument("--save", metavar="FOLDER", help="write the trained model and its metrics there")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main())
