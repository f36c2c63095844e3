"""Word vectors by this package and by gensim, with the same settings: words a second, and what is learned.

gensim (4.4.0 was measured) is no dependency of pyrnn: install it for this benchmark alone. Both train from
the same sentences with the same window, noise, thinning and rates, in alternation; gensim reads them from a
file by its fastest way (`corpus_file`), pyrnn from its file of ids. Times include reading and training, on
neither side counting the words. "text" is what ships with the package (or --text), repeated; "zipf" is drawn,
with a vocabulary of 200,000, whose matrices are larger than the caches.

--quality trains both on the text, but for its last sentences, and judges both pairs of matrices by one
program: the loss of negative sampling on those sentences, and by what gensim ships: Spearman's correlation
with WordSim-353 and SimLex-999, over the pairs whose words the text has, and the grammar sections of
questions-words.txt. --seeds N trains both N times, with the seeds 1 to N.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import importlib.util
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from pyrnn import _native
from pyrnn._files import to_json
from pyrnn.bench import record
from pyrnn.bench.arguments import whole
from pyrnn.bench.quiet import Watch
from pyrnn.bench.word_vectors_quality import Side, quality_row
from pyrnn.corpora import bible, text_paths
from pyrnn.embeddings import (
    Corpus,
    CorpusBlocks,
    Word2VecTrainer,
    make_corpus,
    read_sentences,
)
from pyrnn.models import Word2VecConfig, Word2VecModel
from pyrnn.train import TrainConfig

MISSING = "this benchmark needs gensim: .venv/bin/python -m pip install gensim==4.4.0"

#: By name: settings of ours, and of gensim's class.
MODES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "skipgram": ({}, {"sg": 1, "negative": 5}),
    "skipgram-shared": ({"shared_negatives": True}, {"sg": 1, "negative": 5}),
    "skipgram-hierarchical": ({"loss": "hierarchical-softmax"}, {"sg": 1, "hs": 1, "negative": 0}),
    "cbow": ({"model": "cbow"}, {"sg": 0, "negative": 5}),
}
VOCABULARY = 200_000
WORDS = {"all": 5_000_000, "quick": 300_000}
_JUDGED = 0.02


class Stream(NamedTuple):
    """Sentences, in both forms."""

    name: str
    corpus: Corpus
    lines: Path


def sentences_of(name: str, words: int, text: list[str]) -> Iterator[list[str]]:
    """About so many running words; 0: the text once."""
    if name == "zipf":
        rng = np.random.default_rng(1)
        chances = 1 / np.arange(1, VOCABULARY + 1)
        ids = rng.choice(VOCABULARY, words, p=chances / chances.sum())
        yield from ([f"w{id}" for id in part] for part in np.array_split(ids, words // 20))
        return
    own = list(read_sentences(text_paths(text or ["shakespeare"]), lowercase=True))
    if not text:
        own += [pair.source.lower().split() for pair in bible()]
    count = 0
    for sentence in itertools.cycle(own) if words else own:
        yield sentence
        count += len(sentence)
        if words and count >= words:
            return


def stream_of(name: str, words: int, text: list[str], folder: Path) -> Stream:
    """Written to a folder."""
    lines = folder / f"{name}.txt"
    with lines.open("w", encoding="utf-8") as file:
        for sentence in sentences_of(name, words, text):
            file.write(" ".join(sentence) + "\n")
    least = 5 if name == "text" else 1
    corpus = make_corpus(lines, folder / f"{name}.bin", words="spaces", min_count=least)
    return Stream(name, corpus, lines)


def config_of(mode: str, corpus: Corpus, dimension: int) -> Word2VecConfig:
    """Ours."""
    return Word2VecConfig(len(corpus.vocabulary), vector_size=dimension, **MODES[mode][0])


def trainer_of(mode: str, corpus: Corpus, dimension: int, epochs: int, seed: int = 1) -> Word2VecTrainer:
    """Ours, before its first step."""
    model = Word2VecModel(config_of(mode, corpus, dimension), seed=seed)
    recipe = TrainConfig(epochs=epochs, learning_rate=0.025, seed=seed)
    return Word2VecTrainer(model, CorpusBlocks(corpus.ids, corpus.vocabulary, 100_000), recipe)


def gensim_of(mode: str, stream: Stream, dimension: int, workers: int, seed: int = 1) -> Any:
    """Its model with a vocabulary, before its training."""
    least = int(stream.corpus.vocabulary.counts[-1]) if stream.name == "zipf" else 5
    model = importlib.import_module("gensim.models").Word2Vec(
        vector_size=dimension,
        min_count=least,
        window=5,
        sample=1e-3,
        workers=workers,
        seed=seed,
        **MODES[mode][1],
    )
    model.build_vocab(corpus_file=str(stream.lines))
    return model


def train_gensim(model: Any, lines: Path, epochs: int) -> None:
    """All of it."""
    model.train(
        corpus_file=str(lines),
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=epochs,
    )


def held_out(stream: Stream, folder: Path) -> tuple[Stream, Corpus]:
    """The first sentences of a stream, and the last ones in their vocabulary."""
    lines = stream.lines.read_text(encoding="utf-8").splitlines(keepends=True)
    count = round(len(lines) * _JUDGED)
    path = folder / "train.txt"
    path.write_text("".join(lines[:-count]), encoding="utf-8")
    corpus = make_corpus(path, folder / "train.bin", words="spaces")
    last = [line.split() for line in lines[-count:]]
    rest = make_corpus(last, folder / "rest.bin", vocabulary=corpus.vocabulary)
    return Stream(stream.name, corpus, path), rest


def trained_sides(mode: str, stream: Stream, dimension: int, epochs: int, seed: int) -> dict[str, Side]:
    """Both trained, with one thread each."""
    torch.set_num_threads(1)
    trainer = trainer_of(mode, stream.corpus, dimension, epochs, seed)
    for _ in range(trainer.total_steps):
        trainer.step()
    trainer.end_epoch()
    theirs = gensim_of(mode, stream, dimension, workers=1, seed=seed)
    train_gensim(theirs, stream.lines, epochs)
    order = [theirs.wv.key_to_index[word] for word in stream.corpus.vocabulary.words]
    sampled = trainer.model.config.loss == "negative-sampling"  # nodes of a tree have other numbers there
    config, input, output = trainer.model.config, trainer.model.input.detach(), trainer.model.output.detach()
    return {
        "pyrnn": Side(config, input, output if sampled else None),
        "gensim": Side(
            config,
            torch.tensor(theirs.wv.vectors[order]),
            torch.tensor(theirs.syn1neg[order]) if sampled else None,
        ),
    }


def seconds_of(run: Callable[[], object]) -> float:
    """Wall time."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def measure_speed(mode: str, stream: Stream, dimension: int, workers: int, rounds: int) -> record.Row:
    """Running words a second of an epoch on both sides, in alternation."""
    torch.set_num_threads(workers)
    words, watch = stream.corpus.words, Watch()
    theirs = gensim_of(mode, stream, dimension, workers)
    ours: list[float] = []
    others: list[float] = []
    for _ in range(rounds):
        trainer = trainer_of(mode, stream.corpus, dimension, epochs=1)
        ours.append(seconds_of(lambda t=trainer: [t.step() for _ in range(t.total_steps)]))
        others.append(seconds_of(lambda: train_gensim(theirs, stream.lines, epochs=1)))
    return {
        "what": "speed",
        "stream": stream.name,
        "mode": mode,
        "dimension": dimension,
        "workers": workers,
        "words": words,
        "vocabulary": len(stream.corpus.vocabulary),
        "rounds": rounds,
        "words_per_second": {
            "pyrnn": round(words / statistics.median(ours)),
            "gensim": round(words / statistics.median(others)),
        },
        "ratio": round(statistics.median(others) / statistics.median(ours), 3),
        "ratios": [round(b / a, 3) for a, b in zip(ours, others, strict=True)],
        "background_load": watch.background_load(),
        "includes": "reading the sentences and training on them; not: counting words",
    }


def rows_of(options: argparse.Namespace, folder: Path) -> Iterator[record.Row]:
    """As they are measured."""
    if options.quality:  # a text that is repeated would hold out what it trains on
        stream, rest = held_out(stream_of("text", 0, options.text, folder), folder)
        for mode, dimension in itertools.product(options.mode, options.dimension):
            yield quality_row(
                {"what": "quality", "stream": stream.name, "mode": mode, "dimension": dimension}
                | {"epochs": options.epochs, "words": stream.corpus.words},
                functools.partial(trained_sides, mode, stream, dimension, options.epochs),
                rest,
                seeds=range(1, options.seeds + 1),
            )
        return
    words = options.words or WORDS[options.shapes]
    streams = [stream_of(name, words, options.text, folder) for name in options.stream]
    cases = (
        (mode, stream, dimension, workers)
        for stream in streams
        for dimension in options.dimension
        for workers in options.workers
        for mode in options.mode
    )
    for mode, stream, dimension, workers in cases:
        yield measure_speed(mode, stream, dimension, workers, options.rounds)


def main(argv: list[str] | None = None) -> None:
    """Measure and print one JSON object a row; record them unless told otherwise.

    Raises:
        SystemExit: gensim is not installed.
    """
    parser = argparse.ArgumentParser(prog="bench word-vectors", description=__doc__)
    choose: dict[str, Any] = {"nargs": "+"}
    parser.add_argument("--shapes", choices=tuple(WORDS), default="all", help="5 million words, or 300,000")
    parser.add_argument("--stream", choices=("text", "zipf"), default=["text", "zipf"], **choose)
    parser.add_argument("--mode", choices=tuple(MODES), default=[*MODES], **choose)
    parser.add_argument("--dimension", type=whole(1), default=[100, 300], **choose)
    parser.add_argument("--workers", type=whole(1, _native.MOST_THREADS), default=[1, 2], **choose)
    parser.add_argument("--rounds", type=whole(1), default=3, help="epochs of each side (default 3)")
    parser.add_argument("--words", type=whole(1000), help="running words, instead of those of --shapes")
    parser.add_argument("--text", default=[], help="files of the stream text", **choose)
    parser.add_argument("--quality", action="store_true", help="judge what is learned instead of timing it")
    parser.add_argument("--seeds", type=whole(1), default=1, help="trainings of each side of --quality")
    parser.add_argument("--epochs", type=whole(1), default=5, help="of --quality (default 5)")
    parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
    options = parser.parse_args(argv)
    if importlib.util.find_spec("gensim") is None:
        raise SystemExit(MISSING)
    environment = {**record.environment(), "gensim": importlib.import_module("gensim").__version__}
    with tempfile.TemporaryDirectory() as folder:
        for row in rows_of(options, Path(folder)):
            row = {"benchmark": "word_vectors", **row, **environment}
            print(to_json(row), flush=True)
            if record.IN_CHECKOUT and not options.no_record:
                name = "word_vectors_quality" if options.quality else "word_vectors"
                record.append(record.results_file(name, environment), row)


if __name__ == "__main__":
    main()
