"""Files that are whole or not there: written beside their place, then moved into it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a path to write to; on success its file takes the place of `path` in one step.

    Whoever reads `path`, and a process killed at any moment, finds the old file or the new one.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the old file stays.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 in the place of `path`."""
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def to_json(value: Any, *, indent: int | None = None) -> str:
    r"""`value` as JSON that every reader takes: a number that is not finite, which JSON lacks, becomes null.

    Example:
        >>> to_json({"loss": 2.0, "perplexity": float("inf")})
        '{"loss": 2.0, "perplexity": null}'
    """
    return json.dumps(_finite(value), ensure_ascii=False, indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    """`value` with None for numbers that are not finite."""
    if isinstance(value, dict):
        return {name: _finite(own) for name, own in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """What the file holds.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON in UTF-8; the message names the file.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
