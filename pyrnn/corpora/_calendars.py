"""How dates are written in several languages."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Calendar(NamedTuple):
    """The names and the forms of one language and country.

    Args:
        tag: what stands before a date to say which it is.
        months: their names from January on, as they stand in a date.
        short_months: abbreviated.
        weekdays: their names from Monday on.
        short_weekdays: abbreviated.
        spelled: forms with the month's name. Fields: {weekday}, {wd}, {month}, {mon}, {day}, {dd} with two
            digits, {nth}, {year}, {yy}.
        numeric: forms of numbers alone, also {m} and {mm}; what they mean depends on the country.
        ordinal: of a day, for {nth}.
    """

    tag: str
    months: list[str]
    short_months: list[str]
    weekdays: list[str]
    short_weekdays: list[str]
    spelled: tuple[str, ...]
    numeric: tuple[str, ...]
    ordinal: Callable[[int], str] = str


def _english(day: int) -> str:
    ending = "th" if 10 < day < 20 else {1: "st", 2: "nd", 3: "rd"}.get(day % 10, "th")
    return f"{day}{ending}"


def _first(written: str) -> Callable[[int], str]:
    """Only the first of a month has an ordinal."""
    return lambda day: written if day == 1 else str(day)


def _named(names: str) -> list[str]:
    return names.split()


_ENGLISH = (
    _named("january february march april may june july august september october november december"),
    _named("jan feb mar apr may jun jul aug sep oct nov dec"),
    _named("monday tuesday wednesday thursday friday saturday sunday"),
    _named("mon tue wed thu fri sat sun"),
)
_SLASHES = ("{day}/{m}/{year}", "{dd}/{mm}/{year}", "{dd}/{mm}/{yy}", "{day}/{m}/{yy}")
_DOTS = ("{day}.{m}.{year}", "{dd}.{mm}.{year}", "{dd}.{mm}.{yy}", "{day}.{m}.{yy}")

CALENDARS = (
    Calendar(
        "<en-US>",
        *_ENGLISH,
        (
            "{weekday}, {month} {day}, {year}",
            "{month} {day}, {year}",
            "{month} {nth}, {year}",
            "{mon} {day}, {year}",
            "{wd}, {mon} {day}, {year}",
            "{month} {day}, '{yy}",
            "{mon} {day} {yy}",
        ),
        ("{m}/{day}/{year}", "{mm}/{dd}/{year}", "{m}/{day}/{yy}", "{m}-{day}-{year}"),
        _english,
    ),
    Calendar(
        "<en-GB>",
        *_ENGLISH,
        (
            "{weekday} {day} {month} {year}",
            "{weekday}, {nth} {month} {year}",
            "{day} {month} {year}",
            "the {nth} of {month}, {year}",
            "{nth} {month} {yy}",
            "{wd} {day} {mon} {year}",
            "{dd}-{mon}-{yy}",
        ),
        _SLASHES,
        _english,
    ),
    Calendar(
        "<de-DE>",
        _named("januar februar märz april mai juni juli august september oktober november dezember"),
        _named("jan. feb. märz apr. mai juni juli aug. sept. okt. nov. dez."),
        _named("montag dienstag mittwoch donnerstag freitag samstag sonntag"),
        _named("mo di mi do fr sa so"),
        (
            "{weekday}, den {day}. {month} {year}",
            "{weekday}, {day}. {month} {year}",
            "{day}. {month} {year}",
            "{wd}, {day}. {mon} {year}",
            "{day}. {mon} {yy}",
        ),
        _DOTS,
    ),
    Calendar(
        "<fr-FR>",
        _named("janvier février mars avril mai juin juillet août septembre octobre novembre décembre"),
        _named("janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc."),
        _named("lundi mardi mercredi jeudi vendredi samedi dimanche"),
        _named("lun. mar. mer. jeu. ven. sam. dim."),
        (
            "{weekday} {nth} {month} {year}",
            "le {nth} {month} {year}",
            "{nth} {month} {year}",
            "{wd} {nth} {mon} {year}",
            "{day} {mon} {yy}",
        ),
        _SLASHES,
        _first("1er"),
    ),
    Calendar(
        "<es-ES>",
        _named("enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre"),
        _named("ene feb mar abr may jun jul ago sept oct nov dic"),
        _named("lunes martes miércoles jueves viernes sábado domingo"),
        _named("lun mar mié jue vie sáb dom"),
        (
            "{weekday}, {day} de {month} de {year}",
            "el {day} de {month} de {year}",
            "{day} de {month} de {year}",
            "{wd}, {day} {mon} {year}",
            "{day}-{mon}-{yy}",
        ),
        _SLASHES,
    ),
    Calendar(
        "<it-IT>",
        _named(
            "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre"
        ),
        _named("gen feb mar apr mag giu lug ago set ott nov dic"),
        _named("lunedì martedì mercoledì giovedì venerdì sabato domenica"),
        _named("lun mar mer gio ven sab dom"),
        (
            "{weekday} {nth} {month} {year}",
            "{nth} {month} {year}",
            "{wd} {day} {mon} {year}",
            "{day} {mon} {yy}",
        ),
        _SLASHES,
        _first("1º"),
    ),
    Calendar(
        "<pt-BR>",
        _named("janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro"),
        _named("jan fev mar abr mai jun jul ago set out nov dez"),
        _named("segunda-feira terça-feira quarta-feira quinta-feira sexta-feira sábado domingo"),
        _named("seg ter qua qui sex sáb dom"),
        (
            "{weekday}, {nth} de {month} de {year}",
            "{nth} de {month} de {year}",
            "{wd}, {day} de {mon}. de {year}",
            "{day}/{mon}/{yy}",
        ),
        _SLASHES,
        _first("1º"),
    ),
    Calendar(
        "<nl-NL>",
        _named("januari februari maart april mei juni juli augustus september oktober november december"),
        _named("jan feb mrt apr mei jun jul aug sep okt nov dec"),
        _named("maandag dinsdag woensdag donderdag vrijdag zaterdag zondag"),
        _named("ma di wo do vr za zo"),
        (
            "{weekday} {day} {month} {year}",
            "{day} {month} {year}",
            "{wd} {day} {mon} {year}",
            "{day} {mon}. '{yy}",
        ),
        ("{day}-{m}-{year}", "{dd}-{mm}-{year}", "{dd}-{mm}-{yy}"),
    ),
    Calendar(
        "<sv-SE>",
        _named("januari februari mars april maj juni juli augusti september oktober november december"),
        _named("jan feb mar apr maj jun jul aug sep okt nov dec"),
        _named("måndag tisdag onsdag torsdag fredag lördag söndag"),
        _named("mån tis ons tors fre lör sön"),
        (
            "{weekday}en den {day} {month} {year}",
            "{weekday} {day} {month} {year}",
            "den {day} {month} {year}",
            "{wd} {day} {mon} {year}",
        ),
        ("{yy}{mm}{dd}", "{yy}-{mm}-{dd}"),
    ),
    Calendar(
        "<da-DK>",
        _named("januar februar marts april maj juni juli august september oktober november december"),
        _named("jan. feb. mar. apr. maj jun. jul. aug. sep. okt. nov. dec."),
        _named("mandag tirsdag onsdag torsdag fredag lørdag søndag"),
        _named("man tir ons tor fre lør søn"),
        (
            "{weekday} den {day}. {month} {year}",
            "den {day}. {month} {year}",
            "{wd} {day}. {mon} {year}",
            "{day}. {mon} {yy}",
        ),
        ("{dd}-{mm}-{year}", "{day}.{m}.{year}", "{day}/{m}-{yy}"),
    ),
    Calendar(
        "<pl-PL>",
        _named(
            "stycznia lutego marca kwietnia maja czerwca lipca sierpnia września października "
            "listopada grudnia"
        ),
        _named("sty lut mar kwi maj cze lip sie wrz paź lis gru"),
        _named("poniedziałek wtorek środa czwartek piątek sobota niedziela"),
        _named("pon. wt. śr. czw. pt. sob. niedz."),
        (
            "{weekday}, {day} {month} {year}",
            "{day} {month} {year} r.",
            "{wd} {day} {mon} {year}",
            "{day} {mon} {yy}",
        ),
        _DOTS,
    ),
)

#: Numbers that mean the same everywhere: the year comes first, with four digits.
EVERYWHERE = ("{year}-{mm}-{dd}", "{year}/{mm}/{dd}")
