"""Invent names of a nationality, one to many: a language model that reads the nationality first.

python examples/write_names.py names.tsv
OMP_NUM_THREADS=1 python examples/generate_names.py names.tsv runs/names runs/nations

It trains the model, and a classifier that tells how often an invented name passes for one of its nation.
These commands printed, among others (the two trainings took minutes on one thread):
perplexity of a character 7.29, of other nations 15.15
of their nation: 0.78 of real names, 0.71 of drawn ones
Finnish: Berdrinen, Vartonen, Kormonen, Karpi, Kevisto, Kuarinen, Hurtonen, Harikonen, Vakkinen, Kurinen
Italian: Gulano, Saso, Salcani, Moni, Marnetti, Gassi, Sentoli, Pinacci, Manranca, Poriani
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import NamedTuple

from pyrnn.search import SamplingConfig
from pyrnn.tasks import classify_texts, draw_texts, evaluate, make_job
from pyrnn.text import read_labelled_texts, split_labelled
from pyrnn.train import train

COLUMNS = {"label_column": "2", "text_column": "1"}  # of lines name TAB nationality


class Result(NamedTuple):
    """Perplexity of a character of held-out names, with their nations and those of others; shares that the
    classifier takes for their nation, of held-out names and of drawn ones; ten of these a nation.
    """

    perplexity: float
    shuffled: float
    real: float
    passed: float
    drawn: dict[str, list[str]]


def main(file: str, names: str, nations: str, *, epochs: int = 12, hidden_size: int = 128) -> Result:
    """Train both, and ask them."""
    data = {"text": file, "level": "character", "epochs": epochs, "hidden_size": hidden_size, **COLUMNS}
    writer = train(make_job("conditional-language-model", data), names)
    judge = train(make_job("classifier", data), nations)
    examples = list(read_labelled_texts(file, label=2, text=1))
    _, held_out = split_labelled(examples, writer.job.data.validation_fraction)
    labels = [example.label for example in held_out]
    # The nations of the same names in another order, so that as many names are of each.
    others = labels[len(labels) // 2 :] + labels[: len(labels) // 2]
    scores: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        for own in (labels, others):
            part = Path(folder, "part.tsv")
            rows = (f"{a.text}\t{label}\n" for a, label in zip(held_out, own, strict=True))
            part.write_text("".join(rows), encoding="utf-8")
            scores.append(evaluate(writer, part))
            if own is labels:
                real = evaluate(judge, part)["accuracy"]
    all_labels = sorted(set(labels))
    wanted = [label for label in all_labels for _ in range(50)]
    texts = draw_texts(writer, wanted, SamplingConfig(temperature=0.7, max_tokens=30))
    taken = classify_texts(judge, texts)
    right = sum(found[0].label == label for found, label in zip(taken, wanted, strict=True))
    drawn = {label: texts[50 * n : 50 * n + 10] for n, label in enumerate(all_labels)}
    return Result(scores[0]["perplexity"], scores[1]["perplexity"], real, right / len(wanted), drawn)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("file", help="of lines name TAB nationality")
    parser.add_argument("names", help="folder for the language model")
    parser.add_argument("nations", help="folder for the classifier")
    found = main(**vars(parser.parse_args()))
    print(f"perplexity of a character {found.perplexity:.2f}, of other nations {found.shuffled:.2f}")
    print(f"of their nation: {found.real:.2f} of real names, {found.passed:.2f} of drawn ones")
    for nation, ten in found.drawn.items():
        print(f"{nation}: {', '.join(ten)}")
