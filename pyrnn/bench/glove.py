"""GloVe on the Shakespeare text: pairs a second and loss, against torch's operators on batches of pairs.

Torch's side takes the same counts, the same loss and AdaGrad. A step of it is a batch: rows are looked up,
and squared gradients and updates are added at their rows by `index_add_`. Both sides go through all pairs
once an epoch, each in its own shuffled order and from the same vectors; epochs are timed in alternation, and
after each one the loss over all pairs is computed for both. Counting is timed alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._files import to_json
from pyrnn.bench import record
from pyrnn.bench.arguments import whole
from pyrnn.bench.harness import Spread
from pyrnn.bench.quiet import Watch
from pyrnn.corpora import shakespeare
from pyrnn.embeddings import Cooccurrences, Glove, GloveConfig, PairBatches, count_cooccurrences, make_corpus

WINDOW = 10
CONFIG = GloveConfig(x_max=10.0)


class TorchGlove:
    """The same training by torch's operators, a batch of pairs at a time.

    Args:
        glove: whose vectors it begins with.
        pairs: the counts.
        batch_size: pairs of a step.
    """

    def __init__(self, glove: Glove, pairs: Cooccurrences, batch_size: int) -> None:
        self.batch_size = batch_size
        self.parameters = [table.clone() for table in glove.parts]
        self.sums = [torch.ones_like(table) for table in self.parameters]
        rows = np.concatenate(list(pairs.blocks()))
        self.i, self.j = (torch.from_numpy(rows[name].astype(np.int64)) for name in ("row", "column"))
        counts = torch.from_numpy(rows["count"].copy())
        self.log_counts = counts.log().float()
        self.weights = (counts / CONFIG.x_max).pow(CONFIG.alpha).clamp(max=1).float()
        self.generator = torch.Generator().manual_seed(0)

    def epoch(self) -> None:
        """All pairs once."""
        for chosen in torch.randperm(len(self.i), generator=self.generator).split(self.batch_size):
            self._step(self.i[chosen], self.j[chosen], self.log_counts[chosen], self.weights[chosen])

    def _step(self, i: Tensor, j: Tensor, log_counts: Tensor, weights: Tensor) -> None:
        words, contexts, word_biases, context_biases = self.parameters
        w, c = words.index_select(0, i), contexts.index_select(0, j)
        error = torch.linalg.vecdot(w, c) + word_biases[i] + context_biases[j] - log_counts
        slope = weights * error
        gradients = (slope[:, None] * c, slope[:, None] * w, slope, slope)
        for table, sums, rows, gradient in zip(
            self.parameters, self.sums, (i, j, i, j), gradients, strict=True
        ):
            sums.index_add_(0, rows, gradient.square())
            step = gradient / sums.index_select(0, rows).sqrt_()
            table.index_add_(0, rows, step, alpha=-CONFIG.learning_rate)

    def copy_to(self, glove: Glove) -> Glove:
        """`glove` with these vectors."""
        for table, own in zip(glove.parts, self.parameters, strict=True):
            table.copy_(own)
        return glove


def measure(dimension: int, epochs: int, batch_size: int, folder: Path) -> record.Row:
    """One row of the benchmark."""
    corpus = make_corpus([shakespeare().lower().split()], folder / "ids.bin", min_count=2)
    V = len(corpus.vocabulary)
    counting = _seconds(
        lambda: count_cooccurrences(
            corpus.ids.blocks(), folder / "pairs.bin", vocabulary_size=V, window=WINDOW
        )
    )
    pairs = Cooccurrences(folder / "pairs.bin", V)
    glove, batches = Glove(V, dimension), PairBatches(pairs, seed=1)
    other, measured = TorchGlove(glove, pairs, batch_size), Glove(V, dimension)
    times: dict[str, list[float]] = {"pyrnn": [], "torch": []}
    losses: dict[str, list[float]] = {"pyrnn": [], "torch": []}
    watch = Watch()
    for epoch in range(epochs):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        times["pyrnn"].append(
            _seconds(lambda own=steps: [glove.train(batches[step], CONFIG) for step in own])
        )
        times["torch"].append(_seconds(other.epoch))
        losses["pyrnn"].append(glove.loss(pairs, CONFIG))
        losses["torch"].append(other.copy_to(measured).loss(pairs, CONFIG))
    spreads = {name: Spread.of(own) for name, own in times.items()}
    return {
        "benchmark": "glove",
        "dimension": dimension,
        "vocabulary": V,
        "tokens": corpus.words,
        "pairs": len(pairs),
        "window": WINDOW,
        "batch_size": batch_size,
        "epochs": epochs,
        "tokens_counted_a_second": round(corpus.words / counting),
        "pairs_a_second": {name: round(len(pairs) / spread.median) for name, spread in spreads.items()},
        "epoch_s": {name: asdict(spread) for name, spread in spreads.items()},
        "ratio": spreads["torch"].median / spreads["pyrnn"].median,
        "loss": losses,
        "background_load": watch.background_load(),
        "includes": "an epoch: order, look-up, loss, AdaGrad; of pyrnn reading the file and logarithms, too",
    }


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main(argv: list[str] | None = None) -> None:
    """Measure and print one JSON object a row; record them unless told otherwise."""
    parser = argparse.ArgumentParser(prog="bench glove", description=__doc__)
    parser.add_argument("--dimension", nargs="+", type=whole(1), default=[100], metavar="D")
    parser.add_argument("--epochs", type=whole(2), default=5, help="of each side (default 5)")
    parser.add_argument(
        "--batch-size", nargs="+", type=whole(1), default=[4096], help="pairs of torch's steps"
    )
    threads = whole(1, _native.MOST_THREADS)
    parser.add_argument("--threads", type=threads, default=1, help="for both sides (default 1)")
    parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    environment = record.environment()
    for dimension in options.dimension:
        for batch_size in options.batch_size:
            with tempfile.TemporaryDirectory() as folder:
                row = measure(dimension, options.epochs, batch_size, Path(folder))
            row |= environment
            print(to_json(row), flush=True)
            if record.IN_CHECKOUT and not options.no_record:
                record.append(record.results_file("glove", environment), row)


if __name__ == "__main__":
    main()
