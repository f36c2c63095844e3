"""Flags made from configuration dataclasses: a field, its docstring and its default are written once."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Optional

from pyrnn.cli.help import in_words, option


def with_settings(
    groups: Mapping[str, type],
    *,
    leave_out: tuple[str, ...] = (),
    default: Callable[[str], str] | None = None,
) -> Callable[..., Any]:
    """Let a command take every field of the dataclasses as a flag; those given arrive as `settings`.

    A flag that was not given does not appear, so that a file or a dataclass can supply its value.

    Args:
        groups: dataclasses by the heading under which help lists them. A field that several have, for they
            derive from one of them, is a flag of the first.
        leave_out: fields that are no flags.
        default: what help shows as a field's default; None shows the dataclass's.
    """
    known = {field.name for kind in groups.values() for field in dataclasses.fields(kind)}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"
        ]
        flags: list[inspect.Parameter] = []
        for group, kind in groups.items():
            others = (*leave_out, *(flag.name for flag in flags))
            flags += _flags(kind, group, others, default or _default_of(kind), known)

        def run(**values: Any) -> None:
            settings = {f.name: values.pop(f.name) for f in flags}
            given = {name: _given(value) for name, value in settings.items() if value not in (None, [])}
            command(**values, settings=given)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + flags
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _flags(
    kind: type, group: str, leave_out: tuple[str, ...], default: Callable[[str], str], known: set[str]
) -> list[inspect.Parameter]:
    hints, texts = typing.get_type_hints(kind), _argument_texts(kind)
    flags = []
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        # typer shows a default only where there is one: None here stands for "not given".
        shown = option(
            _of_help(texts[field.name], known),
            metavar=_metavar(hints[field.name]),
            default=default(field.name) or False,
            group=group,
        )
        hint = _of_flag(hints[field.name])
        flags.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, shown]
            )
        )
    return flags


def _default_of(kind: type) -> Callable[[str], str]:
    values = {f.name: f.default for f in dataclasses.fields(kind) if f.default is not dataclasses.MISSING}
    return lambda name: in_words(values.get(name))


def _of_help(text: str, known: set[str]) -> str:
    """A docstring's text in help: its fields are flags there."""

    def flag(match: re.Match[str]) -> str:
        return f"--{match[1].replace('_', '-')}" if match[1] in known else match[1]

    text = re.sub(r"`(\w+)`", flag, text)
    return text[:1].upper() + text[1:]


def _metavar(hint: Any) -> str | None:
    """What stands for a field's value in help."""
    kinds = [kind for kind in typing.get_args(hint) if kind not in (type(None), ...)]
    if typing.get_origin(hint) is Literal:
        return "|".join(map(str, kinds))
    if typing.get_origin(hint) is tuple:
        return " ".join(_metavar(kind) or "" for kind in kinds)
    if kinds:  # a union
        return _metavar(kinds[0])
    return {bool: None, int: "N", float: "X"}.get(hint, "TEXT")


def _of_flag(hint: Any) -> Any:
    """A field's type as a flag's, which need not be given; one that takes many values is given repeatedly."""
    kinds = [hint, *typing.get_args(hint)]
    if any(typing.get_args(kind)[1:] == (...,) for kind in kinds):
        return Optional[list[str]]
    return hint if type(None) in kinds else Optional[hint]


def _given(value: Any) -> Any:
    """A flag's value; that of one which may be given several times is a list only where it was."""
    if isinstance(value, list):
        return tuple(value) if len(value) > 1 else value[0]
    return value


def _argument_texts(kind: type) -> dict[str, str]:
    """The text of each entry under "Args:" of a class's docstring, inherited fields' included."""
    found: dict[str, str] = {}
    for owner in reversed(kind.__mro__):
        section = re.search(
            r"^Args:\n((?:    .*\n?|\n)*)", inspect.cleandoc(owner.__doc__ or ""), re.MULTILINE
        )
        entries = re.findall(
            r"^    (\w+): ((?:.*\n?)(?:        .*\n?)*)", section[1] if section else "", re.MULTILINE
        )
        found |= {name: " ".join(text.split("Source:")[0].split()) for name, text in entries}
    return found
