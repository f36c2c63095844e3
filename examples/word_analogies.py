"""Learn word vectors from the plays and verses that come with the package, or take others, and ask analogies.

OMP_NUM_THREADS=1 python examples/word_analogies.py words
python examples/word_analogies.py glove.txt

A folder that is not there is made, by a short training; a file or folder of vectors is asked at once. The
shipped texts have less than a million words, which are few for this.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from pyrnn.corpora import bible, shakespeare_path
from pyrnn.embeddings import Neighbour, WordVectors, train_word2vec
from pyrnn.tasks import open_word_vectors

QUESTIONS = [
    ("he", "she", "his"),
    ("man", "woman", "father"),
    ("day", "night", "light"),
    ("give", "gave", "come"),
    ("see", "saw", "come"),
    ("take", "took", "give"),
    ("speak", "spake", "see"),
]


def learn(**settings: object) -> WordVectors:
    """Train on the shipped texts."""
    with tempfile.TemporaryDirectory() as folder:
        verses = Path(folder, "verses.txt")
        verses.write_text("".join(f"{pair.source}\n" for pair in bible()), encoding="utf-8")
        options = {"lowercase": True, "epochs": 50, **settings}
        trained = train_word2vec([shakespeare_path(), verses], **options)
    return WordVectors(trained.vocabulary.words, trained.word_matrix())


def main(source: str, **settings: object) -> dict[tuple[str, str, str], list[Neighbour]]:
    """Print and return the three best answers to each question whose words are known."""
    if not Path(source).exists():
        learn(**settings).save(source)
    vectors = open_word_vectors(source)
    questions = [question for question in QUESTIONS if all(word in vectors for word in question)]
    answers = dict(zip(questions, vectors.analogies(questions, 3), strict=True))
    for (a, b, c), found in answers.items():
        print(f"{a} : {b} = {c} : {', '.join(f'{word} ({score:.2f})' for word, score in found)}")
    return answers


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("source", help="vectors, or a folder to make")
    main(parser.parse_args().source)
