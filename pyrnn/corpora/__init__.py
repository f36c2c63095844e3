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
from pyrnn.corpora.stories import STORIES, STORY_KINDS, STORY_NAMES, StoryKind, named_stories, stories

__all__ = [
    "BIBLE",
    "DATE_SPLITS",
    "DateSplit",
    "PAIRS",
    "SHAKESPEARE",
    "STORIES",
    "STORY_KINDS",
    "STORY_NAMES",
    "StoryKind",
    "bible",
    "bible_path",
    "dates",
    "named_pairs",
    "named_stories",
    "shakespeare",
    "shakespeare_path",
    "stories",
    "text_path",
    "text_paths",
]
