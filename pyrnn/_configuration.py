"""Configuration dataclasses from the mappings that JSON, TOML and the command line give: strictly checked."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, Literal, TypeVar

Config = TypeVar("Config")

#: The largest integer of 64 bits.
LARGEST = 2**63 - 1

_LONGEST_SHOWN = 100  # characters of a value in a message


def from_mapping(kind: type[Config], mapping: Any, *, where: str) -> Config:
    """An instance of the dataclass `kind` with the fields that `mapping` names; others keep their defaults.

    A field that is itself a dataclass is read from a nested mapping. An integer is accepted for a float, a
    list for a tuple; nothing else is converted. Of several types the first that fits is taken.

    Args:
        kind: a dataclass; its `__post_init__` checks ranges.
        mapping: names to values.
        where: what the mapping is, for messages: a file, a table of it.

    Raises:
        ValueError: not a mapping, a name that `kind` lacks, a missing one, or a value that does not fit; the
            message starts with `where`.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Size:
        ...     width: int = 1
        >>> from_mapping(Size, {"width": "2"}, where="here")
        Traceback (most recent call last):
        ValueError: here: width must be int, got '2'
    """
    if not isinstance(mapping, Mapping):
        raise ValueError(f"{where}: expected a table of settings, got {type(mapping).__name__}")
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(str(name) for name in mapping if name not in known):
        raise ValueError(f"{where}: unknown settings {', '.join(unknown)}; known are {', '.join(known)}")
    required = [n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING]
    if missing := [name for name in required if name not in mapping]:
        raise ValueError(f"{where}: the settings {', '.join(missing)} are missing")
    hints = typing.get_type_hints(kind)
    values = {name: _value(hints[name], value, f"{where}: {name}") for name, value in mapping.items()}
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def require_range(config: Any, names: Iterable[str], *, least: float, most: float = LARGEST) -> None:
    """Refuse a configuration that has one of the named numbers outside [least, most], or as NaN.

    Args:
        config: a dataclass, in its `__post_init__`.
        names: of its fields.
        least: the smallest number.
        most: the largest; by default the one that 64 bits hold, beyond which neither torch nor memory goes.

    Raises:
        ValueError: which field, the bound, and what it is.

    Example:
        >>> from types import SimpleNamespace
        >>> require_range(SimpleNamespace(width=0), ["width"], least=1)
        Traceback (most recent call last):
        ValueError: width must be at least 1, got 0
    """
    for name in names:
        value = getattr(config, name)
        if not least <= value:
            bound = "not be negative" if least == 0 else f"be at least {least}"
        elif not value <= most:
            bound = f"be at most {most}"
        else:
            continue
        raise ValueError(f"{name} must {bound}, got {_shown(value)}")


def require_choices(config: Any, names: Iterable[str]) -> None:
    """Refuse a configuration that has something else in the named fields than their `Literal` allows.

    Args:
        config: a dataclass, in its `__post_init__`.
        names: of its fields.

    Raises:
        ValueError: which field, what it may be, and what it is.
    """
    hints = typing.get_type_hints(type(config))
    for name in names:
        choices, value = typing.get_args(hints[name]), getattr(config, name)
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}, got {_shown(value)}")


def _value(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`: a plain type, Literal, a union, a tuple, a list, a dict, or a dataclass."""
    if isinstance(hint, type) and is_dataclass(hint):
        return from_mapping(hint, value, where=where)
    kind, arguments = typing.get_origin(hint), typing.get_args(hint)
    if kind is Literal:
        if value not in arguments or isinstance(value, bool):
            raise ValueError(f"{where} must be one of {', '.join(map(repr, arguments))}, got {_shown(value)}")
        return value
    if kind in (typing.Union, types.UnionType):
        return None if value is None and type(None) in arguments else _any_of(arguments, value, where)
    if kind is tuple:
        return _tuple(arguments, value, where)
    if kind is list:
        if not isinstance(value, list):
            raise ValueError(f"{where} must be a list, got {_shown(value)}")
        return [_value(arguments[0], item, f"{where}, item {n}") for n, item in enumerate(value)]
    if kind is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where} must be a table, got {_shown(value)}")
        return {str(name): _value(arguments[1], v, f"{where}: {name}") for name, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) <= LARGEST:
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{where} must be {hint.__name__}, got {_shown(value)}")
    return value


def _any_of(hints: tuple[Any, ...], value: Any, where: str) -> Any:
    """`value` as the first of several types that it fits."""
    kinds = [hint for hint in hints if hint is not type(None)]
    if len(kinds) == 1:
        return _value(kinds[0], value, where)
    for kind in kinds:
        with suppress(ValueError):
            return _value(kind, value, where)
    raise ValueError(f"{where} must be {' or '.join(map(_name, kinds))}, got {_shown(value)}")


def _tuple(hints: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    """`value` as a tuple of the types `hints`, or of any length where they are a type and `...`."""
    if hints[1:] == (...,):
        if not isinstance(value, (list, tuple)):
            raise ValueError(f"{where} must be a list, got {_shown(value)}")
        return tuple(_value(hints[0], item, f"{where}, item {n}") for n, item in enumerate(value))
    if not isinstance(value, (list, tuple)) or len(value) != len(hints):
        raise ValueError(f"{where} must be {len(hints)} values, got {_shown(value)}")
    return tuple(_value(a, v, where) for a, v in zip(hints, value, strict=True))


def _shown(value: Any) -> str:
    """A value as messages show it: of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}..."


def _name(hint: Any) -> str:
    """A type as messages call it."""
    arguments = typing.get_args(hint)
    return f"a list of {arguments[0].__name__}" if arguments else hint.__name__
