"""Annotated sentences in columns: a token and its tag a line, a blank line after each sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from pyrnn.text.files import Source, read_text, text_files
from pyrnn.text.lines import LONGEST_LINE


class TaggedSentence(NamedTuple):
    """The tokens of a sentence and the tag of each.

    Example:
        >>> TaggedSentence(["time", "flies"], ["NOUN", "VERB"]).tags[1]
        'VERB'
    """

    tokens: list[str]
    tags: list[str]


def read_columns(source: Source) -> Iterator[TaggedSentence]:
    r"""The sentences of files (UTF-8, plain or gzip) whose lines are "token TAB tag".

    Several files, or those of a folder, come one after another; the end of a file ends a sentence.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, not UTF-8, no sentences, or a line that is not two columns; the message has its
            number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.tsv")
        ...     _ = file.write_text("the\tDET\nend\tNOUN\n\nyes\tINTJ\n")
        ...     [sentence.tags for sentence in read_columns(file)]
        [['DET', 'NOUN'], ['INTJ']]
    """
    for path in text_files(source):
        any_sentence = False
        for sentence in _sentences_of(path):
            yield sentence
            any_sentence = True
        if not any_sentence:
            raise ValueError(f"{path} has no sentences: expected lines with a token, a tab and its tag")


def _sentences_of(path: Path) -> Iterator[TaggedSentence]:
    sentence = TaggedSentence([], [])
    for number, line in enumerate(read_lines(path), 1):
        if not line.strip():
            if sentence.tokens:
                yield sentence
                sentence = TaggedSentence([], [])
            continue
        token, separator, tag = line.partition("\t")
        if not (separator and token and tag) or "\t" in tag:
            raise ValueError(f"{path}, line {number}: expected a token, a tab and its tag, got {line[:80]!r}")
        sentence.tokens.append(token)
        sentence.tags.append(tag)
    if sentence.tokens:
        yield sentence


def read_lines(path: str | Path) -> Iterator[str]:
    r"""The lines of a text file without their ends, as `read_text` reads it.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as file:
        ...     print("to be", "or not", sep="\n", file=file, flush=True)
        ...     list(read_lines(file.name))
        ['to be', 'or not']
    """
    yield from split_lines(read_text(path), name=path)


def split_lines(pieces: Iterable[str], *, name: str | Path = "the text") -> Iterator[str]:
    """The lines of a text that comes in pieces, without their ends.

    Raises:
        ValueError: one has more than `LONGEST_LINE` characters, which would have to be in memory.
    """
    rest, number = "", 1
    for piece in pieces:
        *lines, rest = (rest + piece).split("\n")
        yield from lines
        number += len(lines)
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"{name}, line {number} has more than {LONGEST_LINE:,} characters")
    if rest:
        yield rest


def read_sentences(lines: Iterable[str]) -> Iterator[list[str]]:
    """Sentences of one token a line, a blank line after each.

    Example:
        >>> list(read_sentences(["the", "end", "", "yes"]))
        [['the', 'end'], ['yes']]
    """
    tokens: list[str] = []
    for line in lines:
        if token := line.strip("\r\n"):
            tokens.append(token)
        elif tokens:
            yield tokens
            tokens = []
    if tokens:
        yield tokens
