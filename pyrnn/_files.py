"""Files that are whole or not there, written beside their place and then moved into it; and read with care.

A folder may come from anybody: what is written follows no link that somebody planted, and what is read is a
regular file of a bounded size.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

#: Of a JSON file: far above what any configuration or vocabulary takes.
_LARGEST_JSON = 1 << 28

#: What `atomic_write` writes to.
_PARTIAL = re.compile(r"\..+\.[0-9a-f]{16}\.partial")

#: What it writes to now.
_unfinished: set[Path] = set()


@contextmanager
def atomic_write(path: Path) -> Generator[Path, None, None]:
    """Give a path to write to; on success its file takes the place of `path` in one step.

    Whoever reads `path`, and a process killed at any moment, finds the old file or the new one. The file has
    the mode that the process's umask gives.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the old file stays.
        ValueError: there is a device or a pipe, whose place no file should take.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ValueError(f"{path} is a device or a pipe, which a file would replace: give another path")
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    _unfinished.add(partial)
    try:
        # A name that nobody can know before, and a file that was not there: no link is followed.
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        os.close(handle)
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.chmod(mode)  # a library may have put a file of its own there
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
        _unfinished.discard(partial)


def remove_unfinished() -> None:
    """Remove what `atomic_write` is writing: for whoever is about to end the process on the spot."""
    for partial in list(_unfinished):
        partial.unlink(missing_ok=True)


@contextmanager
def nameless_file() -> Generator[tuple[Path, IO[bytes]], None, None]:
    """A temporary file for writing, and a path by which this process, and its forks, may open it meanwhile.

    Its bytes go with the last that has it open, so nothing is left behind: not after Ctrl-C at any moment,
    nor after `os._exit` or `kill -9`. Where a folder for temporary files cannot hold a file without a name
    (Linux's O_TMPFILE), the file has one until the next instruction.

    Raises:
        OSError: there is no room for temporary files.

    Example:
        >>> with nameless_file() as (path, file):
        ...     _ = file.write(b"to be")
        ...     file.flush()
        ...     path.read_bytes()
        b'to be'
    """
    with tempfile.TemporaryFile() as file:
        yield Path(f"/proc/self/fd/{file.fileno()}"), file


def remove_partials(folder: Path) -> None:
    """Remove what writes into `folder` left that were killed. Nobody else may be writing there."""
    for path in folder.iterdir():
        if _PARTIAL.fullmatch(path.name) and not path.is_dir():
            path.unlink(missing_ok=True)


def is_partial(path: Path) -> bool:
    """Whether a file is what `atomic_write` leaves when its process is killed."""
    return _PARTIAL.fullmatch(path.name) is not None


@contextmanager
def open_regular(path: Path, *, most: int | None = None) -> Generator[BufferedReader, None, None]:
    """Open a file for reading that is one: no pipe, which might never end, and no device.

    Args:
        path: the file, or a link to it.
        most: bytes that it may have.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: it is something else, or larger.
    """
    # A pipe that nobody writes to would be waited for.
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        told = os.fstat(handle)
        if stat.S_ISDIR(told.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(told.st_mode):
            raise ValueError(f"{path} is no regular file")
        if most is not None and told.st_size > most:
            raise ValueError(f"{path} has {told.st_size:,} bytes, more than the {most:,} that it may have")
        file = os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise
    with file:
        yield file


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
        ValueError: it is not JSON in UTF-8, no regular file, or too large; the message names the file.
    """
    with open_regular(path, most=_LARGEST_JSON) as file:
        content = file.read()
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
