"""The shipped pairs by the names that settings call them by."""

from __future__ import annotations

from pyrnn.corpora.corpora import BIBLE, bible
from pyrnn.corpora.dates import dates
from pyrnn.text import SentencePair

_DATES = "dates"
_MANY = 20_000  # dates: enough for every form of every country, and a few minutes of training

#: The names of the shipped pairs.
PAIRS = (BIBLE, _DATES)


def named_pairs(name: str) -> list[SentencePair]:
    """Shipped pairs: verses of the Bible, or dates to train on.

    Example:
        >>> len(named_pairs("dates"))
        20000
    """
    if name not in PAIRS:
        raise ValueError(f"shipped pairs are {' and '.join(PAIRS)}, got {name!r}")
    return bible() if name == BIBLE else list(dates(_MANY))
