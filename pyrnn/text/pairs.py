"""Parallel text: sentences and their translations, in two columns of a file or in two files."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from pyrnn.text.columns import read_lines
from pyrnn.text.files import Source, text_files
from pyrnn.text.tables import TABLE_FORMATS, Row, TableFormat, column_place, read_rows, shown


class SentencePair(NamedTuple):
    """A sentence and what it is to become.

    Example:
        >>> SentencePair("so be it", "así sea").target
        'así sea'
    """

    source: str
    target: str


class PlacedPair(NamedTuple):
    """A pair, and where it stands.

    Example:
        >>> str(PlacedPair("a.tsv", 3, SentencePair("so be it", "así sea")))
        'a.tsv, line 3'
    """

    file: str
    line: int
    pair: SentencePair

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}"


class PairSplit(NamedTuple):
    """Pairs to train on, to tune by, and to test with.

    Example:
        >>> PairSplit([SentencePair("so be it", "así sea")], [], []).train[0].source
        'so be it'
    """

    train: list[SentencePair]
    validation: list[SentencePair]
    test: list[SentencePair]


def read_pairs(
    source: Source,
    target: Source | None = None,
    *,
    format: TableFormat = "tsv",
    columns: tuple[int | str, int | str] | None = None,
    swap: bool = False,
) -> Iterator[SentencePair]:
    r"""The pairs of parallel text (UTF-8, plain or gzip), without white space at the ends of sentences.

    Either lines "source TAB target", or rows of CSV (commas, quotes as the csv module reads them), or, with
    `target`, files of the same number of lines: line n of one is the translation of line n of the other.
    Several files, or those of a folder, come one after another. Lines without a sentence on either side are
    passed over.

    Args:
        source: files of pairs, or of source sentences.
        target: files of their translations, as many as of sources.
        format: of files of pairs: "tsv" knows no quotes.
        columns: which two columns, where a file has more: their numbers, counted from 1, or their names in
            its first line.
        swap: translate the other way.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, not UTF-8, no pairs, an empty side, not two columns, none of a name, other
            numbers of lines or of files; the message has the file and the line's number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.tsv")
        ...     _ = file.write_text("so be it\tasí sea\nno\tno\n", encoding="utf-8")
        ...     next(read_pairs(file))
        SentencePair(source='so be it', target='así sea')
    """
    found = read_placed_pairs(source, target, format=format, columns=columns, swap=swap)
    return (placed.pair for placed in found)


def read_placed_pairs(
    source: Source,
    target: Source | None = None,
    *,
    format: TableFormat = "tsv",
    columns: tuple[int | str, int | str] | None = None,
    swap: bool = False,
) -> Iterator[PlacedPair]:
    r"""`read_pairs`, each pair with its file and line.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile("w") as file:
        ...     print("\nso be it\tasí sea", file=file, flush=True)
        ...     [placed.line for placed in read_placed_pairs(file.name)]
        [2]
    """
    if format not in TABLE_FORMATS:
        raise ValueError(f"format must be one of {', '.join(TABLE_FORMATS)}, got {format!r}")
    if target is not None and (columns is not None or format != "tsv"):
        raise ValueError(
            "files of sources and of targets have a sentence a line: leave format and columns out"
        )
    if target is None:
        for path in text_files(source):
            yield from _pairs(path, _chosen(path, read_rows(path, format), columns), swap=swap)
        return
    sources, targets = text_files(source), text_files(target)
    if len(sources) != len(targets):
        raise ValueError(
            f"{len(sources)} files of sources need as many of targets, got {len(targets)}: file n of one "
            "side is the translation of file n of the other"
        )
    for left, right in zip(sources, targets, strict=True):
        yield from _pairs(f"{left} and {right}", _side_by_side(left, right), swap=swap)


def split_pairs(
    pairs: Iterable[SentencePair], *, validation: int = 500, test: int = 500, seed: int = 0
) -> PairSplit:
    """Pairs to train on and two parts held out, chosen by what they say, not by their places.

    A pair is held out only if no other one has either of its sides: what is tuned by or tested with was not
    seen in training. The same pairs in another order are split alike.

    Args:
        pairs: all of them; each part keeps their order.
        validation: how many to tune by.
        test: how many to test with.
        seed: of the choice.

    Raises:
        ValueError: a negative number, or too few pairs.

    Example:
        >>> pairs = [SentencePair(f"{n}", f"no. {n}") for n in range(9)]
        >>> [len(part) for part in split_pairs(pairs, validation=2, test=3)]
        [4, 2, 3]
    """
    pairs, held_out = list(pairs), validation + test
    if min(validation, test) < 0:
        raise ValueError(f"validation and test must be at least 0, got {validation} and {test}")
    sources, targets = Counter(pair.source for pair in pairs), Counter(pair.target for pair in pairs)
    alone = [pair for pair in pairs if sources[pair.source] == targets[pair.target] == 1]
    if held_out > len(alone) or held_out >= len(pairs):
        raise ValueError(
            f"of {len(pairs)} pairs {len(alone)} share no side with another, too few to hold out {held_out} "
            "and train on others: hold out fewer, or give more"
        )
    alone.sort(key=lambda pair: hashlib.sha256("\t".join((str(seed), *pair)).encode()).digest())
    tuned, tested = set(alone[:validation]), set(alone[validation:held_out])
    return PairSplit(
        [pair for pair in pairs if pair not in tuned and pair not in tested],
        [pair for pair in pairs if pair in tuned],
        [pair for pair in pairs if pair in tested],
    )


def _pairs(name: str | Path, rows: Iterable[Row], *, swap: bool) -> Iterator[PlacedPair]:
    """The pairs of rows with two fields, or none."""
    found = False
    for number, fields in rows:
        left, right = (field.strip() for field in fields)
        if not (left or right):
            continue
        if not (left and right):
            side, other = ("source", right) if right else ("target", left)
            raise ValueError(f"{name}, line {number}: the {side} is empty, the other side is {other[:80]!r}")
        if "\n" in left + right:
            raise ValueError(f"{name}, line {number}: a sentence must not have several lines")
        yield PlacedPair(str(name), number, SentencePair(*((right, left) if swap else (left, right))))
        found = True
    if not found:
        raise ValueError(f"{name}: there are no pairs, expected a sentence and its translation in each line")


def _chosen(path: Path, rows: Iterator[Row], columns: tuple[int | str, int | str] | None) -> Iterator[Row]:
    """Two fields of each row."""
    if columns is None:
        for number, fields in rows:
            if len(fields) != 2:
                raise ValueError(
                    f"{path}, line {number}: expected two columns, a sentence and its translation, got "
                    f"{len(fields)}: {shown(fields)}; name the two with columns where there are more"
                )
            yield number, fields
        return
    places = [column - 1 for column in columns if isinstance(column, int)]
    if len(places) < 2:
        _, names = next(rows, (1, []))
        places = [column_place(path, names, column) for column in columns]
    if min(places) < 0:
        raise ValueError(f"columns are counted from 1, got {columns}")
    for number, fields in rows:
        if max(places) >= len(fields):
            raise ValueError(
                f"{path}, line {number}: expected {max(places) + 1} columns or more, got {len(fields)}: "
                f"{shown(fields)}"
            )
        yield number, [fields[place] for place in places]


def _side_by_side(left: Path, right: Path) -> Iterator[Row]:
    """The lines of two files."""
    counts = [0, 0]
    for number, sides in enumerate(zip_longest(read_lines(left), read_lines(right)), 1):
        for side, line in enumerate(sides):
            counts[side] += line is not None
        if None not in sides and counts[0] == counts[1]:
            yield number, list(sides)
    if counts[0] != counts[1]:
        raise ValueError(
            f"{left} has {counts[0]:,} lines, {right} has {counts[1]:,}: line n of one has to be the "
            "translation of line n of the other"
        )
