"""What `--help` looks like, the same for every command: flags in groups, one style of defaults, no Python.

The text is made here and not by typer, whose own changes from release to release.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup


class HelpCommand(TyperCommand):
    """A command whose help lists its options by the group that each belongs to."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Options, then the arguments by their names."""
        return ["[OPTIONS]", *(_argument(p) for p in self.get_params(ctx) if _is_argument(p))]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments and options, those of a group together."""
        _write_parameters(self.get_params(ctx), formatter)


class HelpGroup(TyperGroup):
    """Commands under one name; each is told by its first sentence, not cut off."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the options, then the commands."""
        _write_parameters(self.get_params(ctx), formatter)
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, _first_sentence(found)) for name, found in commands if found])


def option(
    help: str,
    *names: str,
    metavar: str | None = None,
    default: str | bool = True,
    group: str | None = None,
    min: int | None = None,
    max: int | None = None,
) -> Any:
    """An option of a command.

    Args:
        help: what it does.
        names: as it is written; by default the parameter's name.
        metavar: what stands for its value in help: N a number, PATH, TEXT.
        default: its default in words; False has none to show, True shows the parameter's.
        group: the heading under which help lists it.
        min: the smallest number.
        max: the largest number.
    """
    return typer.Option(
        *names, help=help, metavar=metavar, show_default=default, rich_help_panel=group, min=min, max=max
    )


def argument(help: str, metavar: str) -> Any:
    """A positional argument of a command, called `metavar` in help."""
    return typer.Argument(help=help, metavar=metavar, show_default=False)


RunFolder = Annotated[Path, argument("Folder of a training run.", "RUN")]


def in_words(value: object) -> str:
    """A default as help shows it.

    Example:
        >>> in_words((0.9, 0.99)), in_words(False), in_words(""), in_words(None)
        ('0.9 0.99', 'no', '', '')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (tuple, list)):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _write_parameters(parameters: list[Any], formatter: Any) -> None:
    groups: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        if getattr(parameter, "hidden", False):
            continue
        kind = "Arguments" if _is_argument(parameter) else "Options"
        group = getattr(parameter, "rich_help_panel", None) or kind
        groups.setdefault(group, []).append((_name(parameter), _text(parameter)))
    for group, records in groups.items():
        with formatter.section(group):
            formatter.write_dl(records)


def _is_argument(parameter: Any) -> bool:
    return parameter.param_type_name == "argument"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name.upper()) + ("..." if parameter.nargs == -1 else "")
    return name if parameter.required else f"[{name}]"


def _name(parameter: Any) -> str:
    if _is_argument(parameter):
        return _argument(parameter).strip("[]")
    names = ", ".join(sorted(parameter.opts, key=len))
    if parameter.secondary_opts:
        names += f" / {', '.join(parameter.secondary_opts)}"
    return names if parameter.is_flag else f"{names} {parameter.metavar or 'VALUE'}"


def _text(parameter: Any) -> str:
    text, shown = parameter.help or "", getattr(parameter, "show_default", False)
    if isinstance(shown, str):
        default = shown
    else:  # that a flag is not set goes without saying, but for one that can be set to either
        both = not getattr(parameter, "is_flag", False) or parameter.secondary_opts
        default = in_words(parameter.default) if shown and both else ""
    if default:
        return f"{text}  [default: {default}]"
    return f"{text}  [required]" if parameter.required else text


def _first_sentence(command: Any) -> str:
    text = " ".join((command.help or "").split("\n\n")[0].replace("\b", "").split())
    first = text.split(". ")[0].split("; ")[0]
    return first if first.endswith(".") else f"{first}."
