"""The command line: one file a command, each a thin shell over an importable function."""

from __future__ import annotations


def main() -> int:
    """Run the command of sys.argv; returns the exit code."""
    try:  # the imports, too, take long enough to be interrupted
        from pyrnn.cli.app import app
        from pyrnn.cli.errors import telling

        return telling(app)
    except KeyboardInterrupt:
        return 130


__all__ = ["main"]
