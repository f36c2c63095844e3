"""Learn word vectors from the plays and verses that come with the package, or take others, and ask analogies.

python examples/word_analogies.py runs/words
python examples/word_analogies.py glove.txt

A folder that is not there is trained into; a file or folder of vectors is asked at once. A text of a million
words is small for this: ask vectors of a billion words and compare.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pyrnn.corpora import bible, shakespeare_path
from pyrnn.embeddings import Neighbour, WordVectors, open_vectors
from pyrnn.tasks import load_run, make_job
from pyrnn.train import reporter_for, train

QUESTIONS = [
    ("man", "woman", "father"),
    ("man", "woman", "brother"),
    ("man", "woman", "king"),
    ("he", "she", "his"),
    ("day", "night", "light"),
    ("hand", "hands", "eye"),
    ("give", "gave", "come"),
]


def learn(run: Path, **settings: object) -> WordVectors:
    """Train on shipped texts, and return the vectors."""
    verses = run.with_name(f"{run.name}-verses.txt")
    verses.parent.mkdir(parents=True, exist_ok=True)
    verses.write_text("".join(f"{pair.source}\n" for pair in bible()), encoding="utf-8")
    texts = (str(shakespeare_path()), str(verses))
    job = make_job("word-vectors", {"text": texts, "lowercase": True, "epochs": 15, **settings})
    with reporter_for() as reporter:
        train(job, run, reporter=reporter)
    trained = load_run(run)
    return WordVectors(trained.vocabulary.words, trained.word_matrix())


def main(source: str, **settings: object) -> dict[tuple[str, str, str], list[Neighbour]]:
    """Print and return the three best answers to each question whose words are known."""
    path = Path(source)
    vectors = open_vectors(path) if path.exists() else learn(path, **settings)
    questions = [question for question in QUESTIONS if all(word in vectors for word in question)]
    answers = dict(zip(questions, vectors.analogies(questions, 3), strict=True))
    for (a, b, c), found in answers.items():
        print(f"{a} : {b} = {c} : {', '.join(f'{word} ({score:.2f})' for word, score in found)}")
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="folder to train into, or vectors")
    main(parser.parse_args().source)
