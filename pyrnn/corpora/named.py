"""The shipped pairs by the names that settings call them by."""

from __future__ import annotations

from pyrnn.corpora.corpora import BIBLE, bible
from pyrnn.corpora.dates import dates
from pyrnn.text import SentencePair, split_pairs

_DATES, _TEST = "dates", "-test"
_MANY, _TESTED = 20_000, 1_000  # dates: enough for every form of every country

#: The names of the shipped pairs: to train on, and to test with what was not trained on.
PAIRS = (BIBLE, BIBLE + _TEST, _DATES, _DATES + _TEST)


def named_pairs(name: str) -> list[SentencePair]:
    """Shipped pairs: verses of the Bible but for 500, those 500, dates, or dates of other days.

    Example:
        >>> [len(named_pairs(name)) for name in PAIRS]
        [10504, 500, 20000, 1000]
    """
    if name not in PAIRS:
        raise ValueError(f"shipped pairs are {', '.join(PAIRS)}, got {name!r}")
    if name.startswith(_DATES):
        return list(dates(_TESTED, split="test") if name.endswith(_TEST) else dates(_MANY))
    train, _, test = split_pairs(bible(), validation=0)
    return test if name.endswith(_TEST) else train
