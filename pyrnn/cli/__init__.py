"""The command line: one file a command, each a thin shell over an importable function."""

from pyrnn.cli.app import app, main

__all__ = ["app", "main"]
