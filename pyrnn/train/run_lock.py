"""One training at a time in a folder."""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

try:
    _fcntl: Any = importlib.import_module("fcntl")
except ImportError:  # Windows
    _fcntl = None


@contextmanager
def run_lock(folder: Path) -> Generator[None, None, None]:
    """Hold `folder` for one training. The kernel keeps the lock and lets go of it when the process ends,
    however it ends: nothing stale is left.

    Args:
        folder: is there.

    Raises:
        BlockingIOError: another training holds it.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, run_lock(Path(folder)):
        ...     pass
    """
    if _fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            _fcntl.flock(handle, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
        except BlockingIOError:
            raise BlockingIOError(
                f"another training is writing to {folder}: wait for its end, or name another folder"
            ) from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.EBADF):  # a file system without locks
                raise
        yield
    finally:
        os.close(handle)
