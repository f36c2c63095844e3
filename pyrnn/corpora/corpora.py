"""The shipped corpora, each a function that returns its text."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

#: The name by which settings call the shipped text.
SHAKESPEARE = "shakespeare"


def shakespeare() -> str:
    """Six tragedies of Shakespeare: 839,045 characters, 65 distinct, with speakers and stage directions.

    Example:
        >>> from pyrnn.corpora import shakespeare
        >>> shakespeare()[:6]
        'Hamlet'
    """
    return gzip.decompress(shakespeare_path().read_bytes()).decode("utf-8")


def shakespeare_path() -> Path:
    """The file of `shakespeare`: UTF-8, gzip.

    Example:
        >>> shakespeare_path().name
        'shakespeare.txt.gz'
    """
    return Path(__file__).with_name("shakespeare.txt.gz")


def text_path(text: str | Path) -> Path:
    """The file of a text that a user names: a path, or the name of a shipped one.

    Example:
        >>> text_path("shakespeare").name, text_path("book.txt").name
        ('shakespeare.txt.gz', 'book.txt')
    """
    return shakespeare_path() if text == SHAKESPEARE else Path(text)


def text_paths(texts: str | Path | Sequence[str | Path]) -> list[Path]:
    """`text_path` of one text, or of each of several.

    Example:
        >>> [path.name for path in text_paths(("book.txt", "shakespeare"))]
        ['book.txt', 'shakespeare.txt.gz']
    """
    return [text_path(text) for text in ([texts] if isinstance(texts, str | Path) else texts)]
