"""Rows of results: columns for a terminal, tabs between them for programs, or JSON lines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated

from pyrnn._files import to_json
from pyrnn.cli.help import option
from pyrnn.cli.terminal import write

AsJson = Annotated[bool, option("Print a JSON object a line.", "--json")]

Value = str | int | float | None


def show(rows: Iterable[Mapping[str, Value]], *, as_json: bool, raw: bool) -> None:
    """Write rows that have the same names, those that are there together.

    A terminal is shown columns under their names; what is no terminal gets values with tabs between them, and
    a tab, newline or backslash in a value as JSON has it.

    Args:
        rows: a value for each name; None is an empty one, and null in JSON.
        as_json: write JSON lines, with numbers as they are.
        raw: as of `write`.
    """
    if as_json:
        for row in rows:
            write(to_json(row) + "\n", raw=raw)
    elif sys.stdout.isatty():
        _show_columns(list(rows), raw=raw)
    else:
        for row in rows:
            write("\t".join(map(_field, row.values())) + "\n", raw=raw)


def _show_columns(rows: list[Mapping[str, Value]], *, raw: bool) -> None:
    if not rows:
        return
    lines = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    numbers = [isinstance(value, int | float) for value in rows[0].values()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        )
        write("  ".join(cells).rstrip() + "\n", raw=raw)


def _field(value: Value) -> str:
    return _text(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")


def _text(value: Value) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
