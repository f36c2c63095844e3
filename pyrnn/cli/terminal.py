"""What a terminal is shown of text that others wrote: none of it moves the cursor or changes a colour."""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from typing import Annotated, TextIO

from pyrnn.cli.help import option

Raw = Annotated[bool, option("Control characters go to a terminal as they are, as to a file.", "--raw")]

#: C0 and C1 but for newline and tab, delete, marks and overrides of the writing direction, which can make a
#: line read as another one, and halves of surrogate pairs, which no terminal can be sent.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def escaped(text: str) -> str:
    r"""`text` with its control characters as Python writes them; newlines and tabs stay.

    Example:
        >>> escaped("a\x1b[31m\tb")
        'a\\x1b[31m\tb'
    """
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def write(text: str, *, raw: bool = False, stream: TextIO | None = None) -> None:
    """Write to `stream`, by default the standard output, at once; to a terminal escaped unless `raw`.

    Errors and notes, which are no data, are escaped everywhere: `tell` writes them.
    """
    target = sys.stdout if stream is None else stream
    target.write(text if raw or not target.isatty() else escaped(text))
    target.flush()


def tell(line: str) -> None:
    """A line to the standard error: the standard output holds the results alone. Nobody has to read it."""
    with suppress(BrokenPipeError):
        print(escaped(line), file=sys.stderr, flush=True)
