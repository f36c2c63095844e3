"""What the errors of a command look like: one line, and an exit code that says of what kind they are."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from pyrnn.cli.terminal import tell

#: What the user can put right, and what he cannot.
_WRONG_INPUT = (ValueError, FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError)
_FAILED = (OSError, FloatingPointError, ImportError, MemoryError)
_FAULT_OF_OURS = 70  # EX_SOFTWARE of sysexits.h
_FLAG = "--traceback"


def telling(work: Callable[[], object]) -> int:
    """Run `work`, tell its errors in one line each, and return the exit code.

    With --traceback anywhere on the command line, which is taken out of it, the way to the error is shown.
    """
    shows_way = _FLAG in sys.argv
    sys.argv = [argument for argument in sys.argv if argument != _FLAG]
    if (problem := _closed_streams()) is not None:
        return _end(problem, 2)
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except Exception as error:  # noqa: BLE001  the outermost place: nothing that happens is a raw traceback
        if shows_way:
            traceback.print_exc()
        return _told(error)
    return 0


def _told(error: Exception) -> int:
    if isinstance(error, _WRONG_INPUT):
        return _end(_words(error), 2)
    if isinstance(error, _FAILED) or _of_other_processes(error):
        return _end(_words(error), 1)
    if _no_memory(error):
        return _end(f"there is not enough memory: use smaller sizes or a smaller batch ({error})", 1)
    return _end(
        f"a fault of pyrnn's own, {type(error).__name__}: {error}. The same command with {_FLAG} shows "
        "where; please report that",
        _FAULT_OF_OURS,
    )


def _words(error: Exception) -> str:
    """An error's message; of the system's errors without their numbers."""
    if isinstance(error, OSError) and error.strerror:
        files = [str(name) for name in (error.filename, error.filename2) if name is not None]
        return f"{' -> '.join(files)}{': ' if files else ''}{error.strerror.lower()}"
    return str(error) or f"{type(error).__name__} without a message"


def _no_memory(error: Exception) -> bool:
    """Whether memory could not be had; on a CPU torch has no class of its own for it."""
    return type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def _of_other_processes(error: Exception) -> bool:
    """Whether those that train together could not be reached; torch has several classes for it."""
    return type(error).__name__.startswith("Dist") or "gloo" in str(error)


def _closed_streams() -> str | None:
    """Refuse to run without a standard output: the next file to be opened would take its descriptor."""
    # Of a closed descriptor Python makes None.
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123  as long as the process
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison]
        return "standard output is closed: connect it to a file, or to /dev/null"
    return None


def _end(what: str, code: int) -> int:
    tell(f"error: {' '.join(what.splitlines())}")
    return code
