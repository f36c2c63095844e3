"""Ctrl-C while a command starts: most of that time modules are imported, torch above all."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 130  # exit code: 128 + SIGINT


@contextmanager
def interruptible_imports() -> Iterator[None]:
    """Within, Ctrl-C raises KeyboardInterrupt as ever, but during an import it ends the process at once.

    The exception would not get far: native code that is being set up may abort over it, and a module half
    imported fails later in a way that nobody understands. Little is there to be put away by then; what is
    (copies of texts, an empty folder) stays.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # somebody else's to decide
        yield
        return
    signal.signal(signal.SIGINT, _on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _on_interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
