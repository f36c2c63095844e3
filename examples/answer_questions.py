"""Answer questions about stories: the last state of a GRU against attention whose query is the question.

OMP_NUM_THREADS=1 python examples/answer_questions.py runs

It prints the accuracy on held-out stories of each kind, in per cent.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyrnn.corpora import STORY_KINDS, stories
from pyrnn.tasks import evaluate, make_job
from pyrnn.text import story_lines
from pyrnn.train import train


def main(folder: str, *, count: int = 5000, epochs: int = 6) -> dict[str, dict[str, float]]:
    """Write stories, train both readers, and return their scores."""
    files: dict[str, list[str]] = {"train": [], "test": []}
    for split, many in (("train", count), ("test", max(1, count // 10))):
        for kind in STORY_KINDS:
            path = Path(folder, split, f"{kind}.txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            made = stories(kind, many, split="train" if split == "train" else "test")
            path.write_text("".join(f"{line}\n" for each in made for line in story_lines(each)))
            files[split].append(str(path))
    scores = {}
    for pooling in ("last", "question"):
        job = make_job("questions", {"text": files["train"], "pooling": pooling, "epochs": epochs})
        scores[pooling] = evaluate(train(job, Path(folder, pooling)), files["test"])
    return scores


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", help="for stories and runs")
    for pooling, own in main(parser.parse_args().folder).items():
        print(pooling, *(f"{kind} {100 * own[f'accuracy_{kind}']:.1f}" for kind in STORY_KINDS))
