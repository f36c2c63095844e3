"""Labelled texts and labelled numbers: an example a row, of which one column is its label."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple, TypeVar

from pyrnn.text.files import Source, text_files
from pyrnn.text.tables import Row, column_place, read_rows, shown, table_format

LABEL, TEXT = "label", "text"
#: Beyond it sums of squares, and what a network makes of a number, leave float32.
LARGEST_FEATURE = 1e18


class LabelledText(NamedTuple):
    """A text and what it is.

    Args:
        label: its class.
        text: without white space at its ends.
        place: where it stands, for messages.

    Example:
        >>> LabelledText("good", "a fine film", "a.tsv, line 3").label
        'good'
    """

    label: str
    text: str
    place: str = ""


class LabelledFeatures(NamedTuple):
    """The numbers of an example and what it is.

    Args:
        label: its class.
        features: finite numbers.
        place: where it stands, for messages.

    Example:
        >>> LabelledFeatures("iris", (5.1, 3.5)).features
        (5.1, 3.5)
    """

    label: str
    features: tuple[float, ...]
    place: str = ""


Labelled = TypeVar("Labelled", LabelledText, LabelledFeatures)


def read_labelled_texts(
    source: Source, *, label: int | str | None = None, text: int | str | None = None
) -> Iterator[LabelledText]:
    r"""The examples of files (UTF-8, plain or gzip) with a label and a text in each row.

    Files whose names end with .csv or .csv.gz are CSV, others have tabs. Where the first line names a column
    "label" and one "text", or one of those given, these are read; else there are two columns, the label and
    the text. Several files, or those of a folder, come one after another; blank lines are passed over.

    Args:
        source: the files.
        label: the column of labels, by its number, counted from 1, or its name in the first line.
        text: the column of texts, likewise.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: no text, not UTF-8, no examples, other columns than in the first line, an empty label or
            text, or a column that is not there; the message has the file and the line's number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.tsv")
        ...     _ = file.write_text("text\tlabel\na fine film\tgood\n")
        ...     [(example.label, example.text) for example in read_labelled_texts(file)]
        [('good', 'a fine film')]
    """
    for path, rows in _tables(source):
        for number, fields, (label_place, text_place) in _with_columns(path, rows, (label, text)):
            place, found = f"{path}, line {number}", fields[text_place].strip()
            if not found:
                raise ValueError(f"{place}: the text is empty: give it some, or leave the line out")
            yield LabelledText(_label(fields[label_place], place), found, place)


def read_labelled_features(source: Source, *, label: int | str | None = None) -> Iterator[LabelledFeatures]:
    r"""The examples of files (UTF-8, plain or gzip) with a label and numbers in each row.

    As of `read_labelled_texts`, but all columns beside the label's are numbers. Without `label` and its name
    in the first line the label is in the first column.

    Args:
        source: the files.
        label: the column of labels, by its number, counted from 1, or its name in the first line.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: as of `read_labelled_texts`, or what is no finite number.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = Path(folder, "a.csv")
        ...     _ = file.write_text("height,width,label\n5.1,3.5,iris\n")
        ...     next(read_labelled_features(file)).features
        (5.1, 3.5)
    """
    width = 0
    for path, rows in _tables(source):
        for number, fields, (label_place,) in _with_columns(path, rows, (label,)):
            place = f"{path}, line {number}"
            found = as_features(fields[:label_place] + fields[label_place + 1 :], place)
            width = width or len(found)
            if len(found) != width:  # of another file
                raise ValueError(
                    f"{place}: expected {width} numbers as in the files before, got {len(found)}"
                )
            yield LabelledFeatures(_label(fields[label_place], place), found, place)


def as_features(fields: Sequence[str], place: str) -> tuple[float, ...]:
    """Fields as numbers.

    Raises:
        ValueError: there are none, or one is no finite number.

    Example:
        >>> as_features(["1", "nan"], "a.csv, line 2")
        Traceback (most recent call last):
        ValueError: a.csv, line 2: expected finite numbers, got 'nan' as number 2: mend it, or leave the...
    """
    if not fields:
        raise ValueError(f"{place}: expected numbers beside the label, got none")
    found: list[float] = []
    for n, field in enumerate(fields, 1):
        try:
            value = float(field)
        except ValueError:
            raise ValueError(
                f"{place}: expected a number, got {field[:40]!r} as number {n}; in a file label_column says "
                "which column is the label's"
            ) from None
        if not math.isfinite(value):
            raise ValueError(
                f"{place}: expected finite numbers, got {field[:40]!r} as number {n}: mend it, or leave the "
                "line out"
            )
        if abs(value) > LARGEST_FEATURE:
            raise ValueError(
                f"{place}: expected numbers of at most {LARGEST_FEATURE:g}, got {field[:40]!r} as number "
                f"{n}: give it in another unit"
            )
        found.append(value)
    return tuple(found)


def split_labelled(examples: Sequence[Labelled], fraction: float) -> tuple[list[Labelled], list[Labelled]]:
    """Examples to train on and others to validate on: of each class the fraction, chosen by what they say.

    Equal contents stay together, so what is validated on was not trained on. The same examples in another
    order are split alike.

    Args:
        examples: all of them; both parts keep their order.
        fraction: how many to validate on.

    Example:
        >>> examples = [LabelledText("ab"[n % 2], f"text {n}") for n in range(20)]
        >>> [len(part) for part in split_labelled(examples, 0.1)]
        [18, 2]
    """
    contents: dict[str, dict[object, None]] = {}
    for label, content, _ in examples:
        contents.setdefault(label, {})[content] = None
    counts: Counter[object] = Counter(content for _, content, _ in examples)
    held_out: set[object] = set()
    for own in contents.values():
        most, taken = round(sum(counts[content] for content in own) * fraction), 0
        for content in sorted(own, key=_digest)[:-1]:  # one is left to train on
            if taken + counts[content] <= most:
                held_out.add(content)
                taken += counts[content]
    return (
        [example for example in examples if example[1] not in held_out],
        [example for example in examples if example[1] in held_out],
    )


def _digest(content: object) -> bytes:
    return hashlib.sha256(repr(content).encode()).digest()


def _tables(source: Source) -> Iterator[tuple[Path, Iterator[Row]]]:
    """The rows of each file, of which there must be some."""
    format = table_format(source)
    for path in text_files(source):
        rows = read_rows(path, format)
        first = next(rows, None)
        if first is None:
            raise ValueError(f"{path} has no examples: expected a label and what it is of in each line")
        yield path, chain([first], rows)


def _with_columns(
    path: Path, rows: Iterator[Row], columns: tuple[int | str | None, ...]
) -> Iterator[tuple[int, list[str], tuple[int, ...]]]:
    """Number and fields of each row, and the places of the label's column and, of texts, of the text's."""
    first, names = next(rows)
    width, names = len(names), [name.strip() for name in names]
    usual = (LABEL, TEXT)[: len(columns)]
    wanted = [own if column is None else column for column, own in zip(columns, usual, strict=True)]
    unnamed = all(column is None for column in columns)
    # Where the line has the usual name of a column that was not asked for otherwise, it is no example.
    given = [names.count(own) == 1 for column, own in zip(columns, usual, strict=True) if column is None]
    header = any(isinstance(column, str) for column in columns) or (bool(given) and all(given))
    if not header and unnamed and width == len(columns) == 2 and any(given):
        header = True
        place = names.index(LABEL if given[0] else TEXT)
        wanted = [place + 1, 2 - place] if given[0] else [2 - place, place + 1]  # the other is the other one
    if not header:
        if unnamed and len(columns) == 2 and width != 2:
            raise ValueError(
                f"{path}, line {first}: expected two columns, a label and a text, got {width}: "
                f"{shown(names)}; where there are more, the first line names them, or label_column and "
                "text_column say which"
            )
        wanted = [n if c is None else c for n, c in enumerate(columns, 1)]
    places = tuple(column_place(path, names, column) for column in wanted)
    if not all(0 <= place < width for place in places) or len(set(places)) < len(places):
        raise ValueError(
            f"{path}, line {first}: expected {len(places)} different columns among 1 to {width}, got "
            f"{' and '.join(str(place + 1) for place in places)}"
        )
    if not header:
        rows = chain([(first, names)], rows)
    found = False
    for number, fields in rows:
        if len(fields) != width:
            raise ValueError(
                f"{path}, line {number}: expected {width} columns as in line {first}, got {len(fields)}: "
                f"{shown(fields)}"
            )
        yield number, fields, places
        found = True
    if not found:
        raise ValueError(f"{path} has no examples behind its first line, which names columns")


def _label(field: str, place: str) -> str:
    label = field.strip()
    if not label or "\t" in label or len(label.splitlines()) > 1:
        raise ValueError(f"{place}: expected a label of one line without tabs, got {label[:40]!r}")
    return label
