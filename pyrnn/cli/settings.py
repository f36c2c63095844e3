"""Flags made from configuration dataclasses: a field, its docstring and its default are written once."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable
from typing import Annotated, Any, Optional

import typer


def with_settings(*kinds: type, leave_out: tuple[str, ...] = ()) -> Callable[[Callable[..., None]], Any]:
    """Let a command take every field of the dataclasses as a flag; those given arrive as `settings`.

    A flag that was not given does not appear, so that a file or a dataclass can supply its value.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"
        ]
        flags = [flag for kind in kinds for flag in _flags(kind, leave_out)]

        def run(**values: Any) -> None:
            settings = {f.name: values.pop(f.name) for f in flags}
            given = {name: value for name, value in settings.items() if value is not None}
            command(**values, settings=given)

        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own] + flags
        run.__doc__ = command.__doc__
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {p.name: p.annotation for p in parameters}
        return run

    return decorate


def _flags(kind: type, leave_out: tuple[str, ...]) -> list[inspect.Parameter]:
    hints, texts = typing.get_type_hints(kind), _argument_texts(kind)
    flags = []
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        # typer shows a default only where there is one: None here stands for "not given".
        default = "" if field.default in (dataclasses.MISSING, None) else _shown(field.default)
        option = typer.Option(help=texts[field.name], show_default=default or False)
        hint = hints[field.name] if _takes_none(hints[field.name]) else Optional[hints[field.name]]
        flags.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, option]
            )
        )
    return flags


def _takes_none(hint: Any) -> bool:
    return type(None) in typing.get_args(hint)


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


def _argument_texts(kind: type) -> dict[str, str]:
    """The text of each entry under "Args:" of a class's docstring."""
    section = re.search(r"^Args:\n((?:    .*\n?|\n)*)", inspect.getdoc(kind) or "", re.MULTILINE)
    entries = re.findall(
        r"^    (\w+): ((?:.*\n?)(?:        .*\n?)*)", section[1] if section else "", re.MULTILINE
    )
    return {name: " ".join(text.split("Source:")[0].split()) for name, text in entries}
