"""The shipped corpora, each a function that returns its text."""

from __future__ import annotations

import gzip
from pathlib import Path


def shakespeare() -> str:
    """Six tragedies of Shakespeare: 839,045 characters, 65 distinct, with speakers and stage directions.

    Example:
        >>> from pyrnn.data import shakespeare
        >>> shakespeare()[:6]
        'Hamlet'
    """
    return gzip.decompress(shakespeare_path().read_bytes()).decode("utf-8")


def shakespeare_path() -> Path:
    """The file of `shakespeare`: UTF-8, gzip."""
    return Path(__file__).with_name("shakespeare.txt.gz")
