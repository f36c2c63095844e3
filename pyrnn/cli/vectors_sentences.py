"""pyrnn vectors sentences: the sentences of a text that are nearest to others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pyrnn
from pyrnn._words import counted
from pyrnn.cli.devices import Threads, use_threads
from pyrnn.cli.help import option
from pyrnn.cli.settings import with_settings
from pyrnn.cli.standard_input import standard_input
from pyrnn.cli.table import AsJson, Value, show
from pyrnn.cli.terminal import Raw, tell
from pyrnn.cli.vectors import FILES, Count, Source

if TYPE_CHECKING:
    from pyrnn.embeddings import SentenceVectors

_AT_ONCE = 256  # lines of the standard input, answered together where they are there


@with_settings(FILES)
def sentences(
    vectors: Source,
    text: Annotated[
        list[str],
        option(
            "A file or folder of sentences, one a line; may be given several times, and then they are "
            "joined.",
            metavar="TEXT",
        ),
    ],
    count: Count = 5,
    method: Annotated[
        Literal["sif", "mean"],
        option(
            'How words make a sentence: "sif" weighs them by their rarity and takes out what all sentences '
            'have in common, "mean" does neither.',
            metavar="sif|mean",
        ),
    ] = "sif",
    sif_weight: Annotated[
        float, option("a of the weights a / (a + p(w)) of SIF; p is counted in the text.", metavar="X")
    ] = 1e-3,
    threads: Threads = None,
    as_json: AsJson = False,
    raw: Raw = False,
    *,
    settings: dict[str, Any],
) -> None:
    """Print the sentences of a text that are most similar to each line of the standard input.

    \b
      echo 'a warm and funny film' | pyrnn vectors sentences runs/words --text reviews.txt -k 3

    Sentences are means of their words' vectors, and similarity is the cosine. A line without a known word is
    told and passed over.
    """
    use_threads(threads)
    words = pyrnn.tasks.open_word_vectors(vectors, pyrnn.embeddings.Reading(**settings))
    lines = [line for line in "".join(pyrnn.text.read_text(text)).split("\n") if line.strip()]
    a = sif_weight if method == "sif" else None
    found = pyrnn.embeddings.SentenceVectors(words, [_words(line) for line in lines], a=a)
    if unknown := int((~found.matrix.any(1)).sum()):
        tell(f"{unknown:,} of {counted(len(lines), 'sentence')} have no known word, and are near to nothing")
    show(_rows(found, lines, count), as_json=as_json, raw=raw)


def _rows(found: SentenceVectors, lines: list[str], count: int) -> Iterator[dict[str, Value]]:
    """The nearest sentences of each line of the standard input.

    Raises:
        ValueError: a line had none, or there are no lines: after the others.
    """
    reader = standard_input()
    failed = total = 0
    asked = (line for line in pyrnn.text.numbered_lines(reader) if line.problem or line.text.strip())
    for part in pyrnn.text.gathered(asked, lambda: reader.ready, most=_AT_ONCE):
        questions = [_words(line.text) for line in part]
        known = found.vectors_of(questions).any(1).tolist()
        nearest = found.nearest(questions, count)
        for line, is_known, results in zip(part, known, nearest, strict=True):
            total += 1
            if not is_known:
                failed += 1
                tell(line.problem or f"line {line.number}: no word of it has a vector")
                continue
            for result in results:
                yield {"text": line.text, "nearest": lines[result.number], "similarity": result.score}
    if not total:
        raise ValueError("there are no sentences to compare: give lines on the standard input")
    if failed:
        raise ValueError(f"{failed:,} of {counted(total, 'line')} had no answer, for the reasons above")


def _words(line: str) -> list[str]:
    return [word for words in pyrnn.text.read_words([line]) for word in words]
