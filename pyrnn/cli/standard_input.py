"""The standard input of a command, as text."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pyrnn

if TYPE_CHECKING:
    from pyrnn.text import LineReader


def standard_input() -> LineReader:
    """Its lines, as they come: UTF-8 whatever the locale says.

    Raises:
        ValueError: it is closed.
    """
    return pyrnn.text.LineReader(_stream())


def read_prompt(path: Path) -> str:
    r"""All of a file, or of the standard input where the path is "-", as a prompt.

    A last newline, which editors and `echo` write, is left out: what ends with two asks for one.

    Raises:
        ValueError: it is empty, or no text.
        FileNotFoundError: there is no such file.
    """
    if str(path) == "-":
        text = "\n".join(standard_input())
    else:
        text = "".join(pyrnn.text.read_text(path)).removesuffix("\n")
    if not text:
        raise ValueError(f"--prompt-file {path}: there is nothing to continue; give a text, or no prompt")
    return text


def _stream() -> BinaryIO:
    # Of a closed descriptor Python makes None.
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison]
        raise ValueError("standard input is closed: give a file or a pipe to read from")
    return sys.stdin.buffer
