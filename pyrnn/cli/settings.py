"""Flags made from configuration dataclasses: a field, its docstring and its default are written once."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Optional

import typer
from typer.core import TyperCommand


class SettingsCommand(TyperCommand):
    """A command whose help lists its options by the table that each belongs to."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, those of a table together."""
        sections: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                panel = getattr(parameter, "rich_help_panel", None)
                kind = "Options" if parameter.param_type_name == "option" else "Arguments"
                sections.setdefault(f"[{panel}]" if panel else kind, []).append(record)
        for name, records in sections.items():
            with formatter.section(name):
                formatter.write_dl(records)


def with_settings(tables: Mapping[str, type], *, leave_out: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Let a command take every field of the dataclasses as a flag; those given arrive as `settings`.

    A flag that was not given does not appear, so that a file or a dataclass can supply its value.

    Args:
        tables: dataclasses by the name of the table under which help lists them; "" for none.
        leave_out: fields that are no flags.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [
            p for p in inspect.signature(command, eval_str=True).parameters.values() if p.name != "settings"
        ]
        flags = [flag for table, kind in tables.items() for flag in _flags(kind, table, leave_out)]

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


def _flags(kind: type, table: str, leave_out: tuple[str, ...]) -> list[inspect.Parameter]:
    hints, texts = typing.get_type_hints(kind), _argument_texts(kind)
    flags = []
    for field in dataclasses.fields(kind):
        if field.name in leave_out:
            continue
        # typer shows a default only where there is one: None here stands for "not given".
        default = "" if field.default in (dataclasses.MISSING, None) else _shown(field.default)
        option = typer.Option(
            help=texts[field.name], show_default=default or False, rich_help_panel=table or None
        )
        hint = _of_flag(hints[field.name])
        flags.append(
            inspect.Parameter(
                field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[hint, option]
            )
        )
    return flags


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


def _shown(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, tuple) else str(value).lower()


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
