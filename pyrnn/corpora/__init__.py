"""Texts and pairs that come with the package; SOURCES.md beside them names each one's origin and licence."""

from pyrnn.corpora.corpora import (
    BIBLE,
    SHAKESPEARE,
    bible,
    bible_path,
    shakespeare,
    shakespeare_path,
    text_path,
    text_paths,
)
from pyrnn.corpora.dates import DATE_SPLITS, DateSplit, dates
from pyrnn.corpora.named import PAIRS, named_pairs

__all__ = [
    "BIBLE",
    "DATE_SPLITS",
    "DateSplit",
    "PAIRS",
    "SHAKESPEARE",
    "bible",
    "bible_path",
    "dates",
    "named_pairs",
    "shakespeare",
    "shakespeare_path",
    "text_path",
    "text_paths",
]
