"""Written dates mean what stands beside them, and nothing else."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from pyrnn.corpora import DATE_SPLITS, DateSplit, dates
from pyrnn.corpora._calendars import CALENDARS, EVERYWHERE, Calendar
from pyrnn.corpora.dates import FIRST, LAST, needs_tag, written
from pyrnn.text import SentencePair

TAG = re.compile(r"<(\w\w)-(\w\w)> ")
#: What the names of months mean, whatever the language; their abbreviations have no dots here.
MONTHS = {
    name.rstrip("."): number
    for calendar in CALENDARS
    for names in (calendar.months, calendar.short_months)
    for number, name in enumerate(names, 1)
}
#: Likewise of weekdays, which Swedish writes with an article too.
WEEKDAYS = {
    name + ending: number
    for calendar in CALENDARS
    for number, name in enumerate(calendar.weekdays)
    for ending in (("", "en") if calendar.tag == "<sv-SE>" else ("",))
}


def parsed(source: str) -> date:
    """The date that a reader makes of it: a name of a month and a day before the year, or numbers."""
    tag = TAG.match(source)
    text = source[tag.end() :].lower() if tag else source.lower()
    named = [MONTHS[word] for word in re.findall(r"[^\W\d_]+", text) if word in MONTHS]
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if re.search(r"\d{4}$|\d{4} r\.$|^\d{4}|'?\d\d$", text) is None:
        raise AssertionError(f"no year in {source!r}")
    if named:
        day, year = numbers
        # Spanish and Italian "mar" is a weekday too; the month stands after it, or is another word.
        return date(full(year), named[-1], day)
    if len(numbers) == 1:  # 980303
        number = numbers[0]
        return date(full(number // 10_000), number // 100 % 100, number % 100)
    first, second, third = numbers
    if first > 31 or (tag and tag[2] == "SE"):
        return date(full(first), second, third)
    month_first = tag[2] == "US" if tag else second > 12
    return date(full(third), *((first, second) if month_first else (second, first)))


def full(year: int) -> int:
    return year if year > 99 else 1900 + year if year >= 50 else 2000 + year


def every_form(day: date) -> list[SentencePair]:
    """All that can be written of a day."""
    return [
        written(calendar, form, day, tagged=tagged, capitals=False)
        for calendar in CALENDARS
        for form in (*calendar.spelled, *calendar.numeric, *EVERYWHERE)
        for tagged in (False, True)
        if tagged or not needs_tag(calendar, form, day)
    ]


def days_of(*years: int) -> list[date]:
    return [day for n in range(366 * 100) if (day := FIRST + timedelta(n)) <= LAST and day.year in years]


def test_no_words_mean_two_dates() -> None:
    meanings: dict[str, str] = {}
    for day in days_of(1950, 1998, 2001, 2012, 2049):
        for source, target in every_form(day):
            assert meanings.setdefault(source, target) == target, source


def test_months_of_one_name_are_one_month() -> None:
    named = [
        (name.rstrip("."), number)
        for calendar in CALENDARS
        for names in (calendar.months, calendar.short_months)
        for number, name in enumerate(names, 1)
    ]
    assert all(MONTHS[name] == number for name, number in named)


@pytest.mark.parametrize("calendar", CALENDARS, ids=[calendar.tag for calendar in CALENDARS])
def test_calendars_are_whole(calendar: Calendar) -> None:
    for names, count in (
        (calendar.months, 12),
        (calendar.short_months, 12),
        (calendar.weekdays, 7),
        (calendar.short_weekdays, 7),
    ):
        assert len(names) == len(set(names)) == count
        assert all(name == name.lower() for name in names)
    assert TAG.fullmatch(calendar.tag + " ")


@pytest.mark.parametrize("split", DATE_SPLITS)
def test_every_pair_reads_back(split: DateSplit) -> None:
    for source, target in dates(20_000, split=split, seed=3):
        day = date.fromisoformat(target)
        assert FIRST <= day <= LAST
        assert parsed(source) == day, source
        told = [word for word in re.findall(r"[^\W\d_]+(?:-feira)?", source.lower()) if word in WEEKDAYS]
        assert all(WEEKDAYS[word] == day.weekday() for word in told), source


def test_splits_share_no_day_whatever_the_seeds() -> None:
    seen = {
        split: {pair.target for seed in range(3) for pair in dates(5000, split=split, seed=seed)}
        for split in DATE_SPLITS
    }
    assert not seen["train"] & seen["validation"]
    assert not seen["train"] & seen["test"]
    assert not seen["validation"] & seen["test"]


def test_the_seed_decides() -> None:
    assert list(dates(50, seed=1)) == list(dates(50, seed=1))
    assert list(dates(50, seed=1)) != list(dates(50, seed=2))
    assert list(dates(9, seed=1)) == list(dates(50, seed=1))[:9]
    assert list(dates(0)) == []


@pytest.mark.parametrize(
    ("tag", "form", "capitals", "source"),
    [
        ("<en-US>", "{month} {nth}, {year}", True, "March 3rd, 1998"),
        ("<en-GB>", "{weekday} {day} {month} {year}", False, "tuesday 3 march 1998"),
        ("<de-DE>", "{weekday}, den {day}. {month} {year}", True, "Dienstag, den 3. März 1998"),
        ("<de-DE>", "{day}.{m}.{yy}", False, "3.3.98"),
        ("<es-ES>", "el {day} de {month} de {year}", False, "el 3 de marzo de 1998"),
        ("<sv-SE>", "{weekday}en den {day} {month} {year}", False, "tisdagen den 3 mars 1998"),
        ("<pl-PL>", "{day} {month} {year} r.", False, "3 marca 1998 r."),
    ],
)
def test_forms_as_people_write_them(tag: str, form: str, capitals: bool, source: str) -> None:
    (calendar,) = (calendar for calendar in CALENDARS if calendar.tag == tag)
    assert form in calendar.spelled + calendar.numeric
    day = date(1998, 3, 3)
    assert written(calendar, form, day, tagged=False, capitals=capitals) == (source, "1998-03-03")
    tagged = written(calendar, form, day, tagged=True, capitals=capitals)
    assert tagged.source == f"{tag} {source}"


@pytest.mark.parametrize(
    ("day", "form", "needs"),
    [
        (date(1998, 3, 4), "{day}/{m}/{yy}", True),
        (date(1998, 3, 13), "{day}/{m}/{yy}", False),
        (date(1998, 3, 3), "{day}/{m}/{yy}", False),
        (date(1998, 3, 4), "{day} {month} {year}", False),
        (date(1998, 3, 4), "{year}-{mm}-{dd}", False),
    ],
)
def test_only_what_is_not_clear_needs_a_tag(day: date, form: str, needs: bool) -> None:
    (british,) = (calendar for calendar in CALENDARS if calendar.tag == "<en-GB>")
    assert needs_tag(british, form, day) == needs


def test_ordinals() -> None:
    english, french = CALENDARS[0].ordinal, CALENDARS[3].ordinal
    told = [english(day) for day in (1, 2, 3, 4, 11, 12, 13, 21, 22, 23, 30, 31)]
    assert told == [
        "1st",
        "2nd",
        "3rd",
        "4th",
        "11th",
        "12th",
        "13th",
        "21st",
        "22nd",
        "23rd",
        "30th",
        "31st",
    ]
    assert [french(1), french(2)] == ["1er", "2"]


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="count must be at least 0, got -1"):
        dates(-1)
    with pytest.raises(ValueError, match="split must be one of train, validation, test, got 'all'"):
        dates(1, split="all")  # pyright: ignore[reportArgumentType]
