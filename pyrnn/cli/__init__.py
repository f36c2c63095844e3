"""The command line: one file a command, each a thin shell over an importable function."""

from __future__ import annotations

from pyrnn.cli.interrupts import INTERRUPTED, interruptible_imports


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    with interruptible_imports():
        try:
            from pyrnn.cli.app import app
            from pyrnn.cli.errors import telling

            return telling(app)
        except KeyboardInterrupt:
            return INTERRUPTED


__all__ = ["main"]
