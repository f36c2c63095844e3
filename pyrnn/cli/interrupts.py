"""Ctrl-C while a command starts: most of that time modules are imported, torch above all."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType

from pyrnn._files import remove_unfinished

INTERRUPTED = 130  # exit code: 128 + SIGINT


@contextmanager
def interruptible_imports() -> Generator[None, None, None]:
    """Within, Ctrl-C raises KeyboardInterrupt as ever, but during an import it ends the process at once.

    The exception would not get far: native code that is being set up may abort over it, and a module half
    imported fails later in a way that nobody understands. Files that are being written are removed first, and
    copies of texts have no name that could stay; an empty folder of a run may.
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
            remove_unfinished()
            os._exit(INTERRUPTED)
        frame = frame.f_back
    raise KeyboardInterrupt
