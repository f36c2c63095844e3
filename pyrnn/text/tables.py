"""Files of rows and columns: lines with tabs between their fields, or CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, get_args

from pyrnn.text.columns import read_lines
from pyrnn.text.files import Source, text_files
from pyrnn.text.lines import LONGEST_LINE

TableFormat = Literal["tsv", "csv"]
TABLE_FORMATS: tuple[TableFormat, ...] = get_args(TableFormat)

#: A row: the line where it begins, and its fields.
Row = tuple[int, list[str]]


def table_format(source: Source) -> TableFormat:
    """What files are by their names, those of folders too: "csv" where they end with .csv or .csv.gz.

    Raises:
        ValueError: some are, and others are not.

    Example:
        >>> table_format("a.CSV.gz"), table_format(["a.tsv", "b.txt"])
        ('csv', 'tsv')
    """
    files = text_files(source)
    tables = [path for path in files if str(path).lower().removesuffix(".gz").endswith(".csv")]
    if others := [path for path in files if tables and path not in tables]:
        raise ValueError(
            f"expected files of one kind, got CSV, as {tables[0]}, and others, as {others[0]}: give those of "
            "one kind, or convert the others"
        )
    return "csv" if tables else "tsv"


def read_rows(path: Path, format: TableFormat) -> Iterator[Row]:
    """Fields of each line that has any; "tsv" knows no quotes.

    Raises:
        ValueError: no text, not UTF-8, or no CSV; the message has the file and the line's number.
        FileNotFoundError: there is no such file.
    """
    lines = read_lines(path)
    if format == "tsv":
        yield from ((number, line.split("\t")) for number, line in enumerate(lines, 1) if line.strip())
        return
    csv.field_size_limit(LONGEST_LINE)  # of the process: the usual one is shorter than texts may be
    reader = csv.reader((line + "\n" for line in lines), strict=True)
    before = 0
    try:
        for fields in reader:
            if fields:
                yield before + 1, fields
            before = reader.line_num  # a row in quotes may have several lines
    except csv.Error as error:
        raise ValueError(f"{path}, line {before + 1} is not CSV: {error}") from error


def column_place(path: Path, names: Sequence[str], column: int | str) -> int:
    """The place of a column that is given by its number, counted from 1, or by its name in the first line.

    Raises:
        ValueError: there is no such name, or it is there twice.
    """
    if isinstance(column, int):
        return column - 1
    if names.count(column) != 1:
        raise ValueError(
            f"{path}, line 1: expected the names of columns, among them {column!r} once, got {shown(names)}"
        )
    return names.index(column)


def as_column(name: str) -> int | str:
    """A column as settings name it: digits are its number.

    Example:
        >>> as_column("2"), as_column("label")
        (2, 'label')
    """
    return int(name) if name.isdecimal() else name


def shown(fields: Sequence[str]) -> str:
    """Fields as messages show them."""
    return ", ".join(repr(field[:40]) for field in fields[:5]) or "nothing"
