"""Numbers on the command lines of benchmarks: an error of argparse, not of what they are used for."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from pyrnn._configuration import LARGEST


def whole(least: int, most: int = LARGEST) -> Callable[[str], int]:
    """A `type` of argparse: an integer in [least, most].

    Example:
        >>> whole(1)("3")
        3
    """

    def number(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected an integer in [{least}, {most}], got {text}")
        return value

    return number


def seconds(text: str) -> float:
    """A `type` of argparse: a time that is finite and not negative."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected seconds, finite and not negative, got {text}")
    return value
