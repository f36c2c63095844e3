"""Words for numbers."""

from __future__ import annotations


def counted(number: int, one: str, many: str = "") -> str:
    """A number and its noun.

    Example:
        >>> counted(1, "step"), counted(2000, "step"), counted(2, "process", "processes")
        ('1 step', '2,000 steps', '2 processes')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"
