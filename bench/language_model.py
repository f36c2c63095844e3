"""Trains one language model on this package's layers and on torch.nn's in alternation: symbols/s and loss.

Both start from the same weights and read the same windows of the Shakespeare text.
"""

from __future__ import annotations

import argparse
import json

import torch

from bench import record
from pyrnn.data import shakespeare
from pyrnn.models import LanguageModelConfig
from pyrnn.text import Vocabulary, split_validation
from pyrnn.train import TrainConfig
from pyrnn.train.speed import compare_layers, compare_training


def measure(cell: str, *, rounds: int, threads: int, seed: int = 1) -> list[record.Row]:
    """One row for the layers alone and one for the whole training step."""
    text = shakespeare()
    vocabulary = Vocabulary.from_text(text)
    ids, _ = split_validation(vocabulary.encode(text))
    config, train = LanguageModelConfig(len(vocabulary), cell=cell), TrainConfig()  # type: ignore[arg-type]
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    measured = [
        compare_layers(config, steps=train.window, batch=train.batch_size, rounds=rounds),
        compare_training(config, train, ids, rounds=rounds),
    ]
    return [
        {
            "bench": "language_model",
            "cell": cell,
            "work": row.work,
            "steps": train.window,
            "batch": train.batch_size,
            "hidden": config.hidden_size,
            "layers": config.num_layers,
            "rounds": rounds,
            "symbols_per_second": {name: round(speed) for name, speed in row.symbols_per_second.items()},
            "ratio": round(row.ratio, 3),
            "loss": row.loss,
        }
        for row in measured
    ]


def main(argv: list[str] | None = None) -> None:
    """Measure and print one JSON object a row; record them unless told otherwise."""
    parser = argparse.ArgumentParser(prog="dev.py bench language_model", description=__doc__)
    parser.add_argument("--cell", nargs="+", choices=("rnn", "gru", "lstm"), default=["lstm", "gru", "rnn"])
    parser.add_argument("--rounds", type=int, default=100, help="training steps of each side (default 100)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="for both sides")
    parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
    options = parser.parse_args(argv)
    environment = record.environment()
    for cell in options.cell:
        for row in measure(cell, rounds=options.rounds, threads=options.threads):
            print(json.dumps(row), flush=True)
            if not options.no_record:
                record.append(record.results_file("language_model", environment), {**row, **environment})


if __name__ == "__main__":
    main()
