"""Dates in many written forms and languages, each with its ISO form: a translation task made in code."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from datetime import date, timedelta
from functools import cache
from typing import Literal, get_args

from pyrnn.corpora._calendars import CALENDARS, EVERYWHERE, Calendar
from pyrnn.text import SentencePair

DateSplit = Literal["train", "validation", "test"]
DATE_SPLITS: tuple[DateSplit, ...] = get_args(DateSplit)

#: A hundred years, so that two digits tell which.
FIRST, LAST = date(1950, 1, 1), date(2049, 12, 31)

#: Of 256: days for validation, and as many to test with; the others are for training.
_HELD_OUT = 26
#: How often a tag stands before a date that needs none.
_NEEDLESS_TAGS = 0.25
_CAPITALS = 0.5


def dates(count: int, *, split: DateSplit = "train", seed: int = 0) -> Iterator[SentencePair]:
    """Dates from 1950 to 2049 as people write them, and in ISO form.

    Eleven countries, ten languages, with and without weekdays, with short names, ordinals and two-digit
    years. What is not clear by itself (3/4/98) begins with its country's tag (<en-US>); a tag stands before
    some others too. The same words never mean two dates.

    Args:
        count: how many; chance may write a date twice.
        split: each day belongs to one of them, whatever the seed: about 10 % each to validation and test.
        seed: of the choice.

    Raises:
        ValueError: a negative count, or another split.

    Example:
        >>> for pair in dates(3, seed=1):
        ...     print(pair.source, "->", pair.target)
        <de-DE> 24.12.94 -> 1994-12-24
        <fr-FR> 7 Mai 48 -> 2048-05-07
        22.3.91 -> 1991-03-22
    """
    if count < 0:
        raise ValueError(f"count must be at least 0, got {count}")
    if split not in DATE_SPLITS:
        raise ValueError(f"split must be one of {', '.join(DATE_SPLITS)}, got {split!r}")
    return _drawn(count, split, seed)


def _drawn(count: int, split: DateSplit, seed: int) -> Iterator[SentencePair]:
    draw, days = random.Random(f"{split} {seed}"), _days(split)
    for _ in range(count):
        day, calendar = draw.choice(days), draw.choice(CALENDARS)
        form = draw.choice((*calendar.spelled, *calendar.numeric, *EVERYWHERE))
        tagged = needs_tag(calendar, form, day) or draw.random() < _NEEDLESS_TAGS
        yield written(calendar, form, day, tagged=tagged, capitals=draw.random() < _CAPITALS)


def written(calendar: Calendar, form: str, day: date, *, tagged: bool, capitals: bool) -> SentencePair:
    """A day in a form of a calendar.

    Args:
        calendar: whose names are used.
        form: one of its forms, or of `EVERYWHERE`.
        day: from `FIRST` to `LAST`.
        tagged: whether the calendar's tag comes first.
        capitals: whether names have capital letters.
    """
    names = {
        "weekday": calendar.weekdays[day.weekday()],
        "wd": calendar.short_weekdays[day.weekday()],
        "month": calendar.months[day.month - 1],
        "mon": calendar.short_months[day.month - 1],
    }
    if capitals:
        names = {field: name.capitalize() for field, name in names.items()}
    text = form.format(
        **names,
        day=day.day,
        dd=f"{day.day:02}",
        nth=calendar.ordinal(day.day),
        m=day.month,
        mm=f"{day.month:02}",
        year=day.year,
        yy=f"{day.year % 100:02}",
    )
    return SentencePair(f"{calendar.tag} {text}" if tagged else text, day.isoformat())


def needs_tag(calendar: Calendar, form: str, day: date) -> bool:
    """Whether a form could be read as another date elsewhere.

    Day and month are told apart if the day is no month, or if they are the same number; a year of two digits
    that comes first is not told from a day.
    """
    if form not in calendar.numeric:
        return False
    return form.startswith("{yy}") or (day.day <= 12 and day.day != day.month)


@cache
def _days(split: DateSplit) -> list[date]:
    """The days of a split: chosen by a hash, so that no library's random numbers decide."""
    every = (FIRST + timedelta(days) for days in range((LAST - FIRST).days + 1))
    return [day for day in every if _split_of(day) == split]


def _split_of(day: date) -> DateSplit:
    place = hashlib.sha256(day.isoformat().encode()).digest()[0]
    if place < _HELD_OUT:
        return "test"
    return "validation" if place < 2 * _HELD_OUT else "train"
