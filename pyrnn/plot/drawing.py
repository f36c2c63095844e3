"""What all pictures share: matplotlib on demand, one style, and files that are whole or not there."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pyrnn._files import atomic_write

FORMATS = ("png", "svg", "pdf")

#: Colours that the colour-blind tell apart, and that differ in grey as well, dark ones first.
#: Source: Okabe and Ito, "Color universal design", 2008.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
#: They change with the colour, and go on when the colours start again.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "h")

_FONT = "DejaVu Sans"
_STYLE: dict[Any, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [_FONT],  # comes with matplotlib: the same picture everywhere
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "svg.hashsalt": "pyrnn",  # the same input gives the same bytes
}
#: Entries that would make two files of the same picture differ.
_NO_DATE: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
_LONGEST_NAME = 40


@contextmanager
def picture(path: str | Path, *, width: float, height: float) -> Generator[Any, None, None]:
    """Give a matplotlib Figure of `width` x `height` inches to draw on; on success it is saved at `path`.

    No window opens and the caller's matplotlib settings stay as they are.

    Raises:
        ValueError: the name ends in none of `FORMATS`.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.
    """
    path = Path(path)
    kind = path.suffix.lower().removeprefix(".")
    if kind not in FORMATS:
        raise ValueError(f"a picture's name must end in .{', .'.join(FORMATS)}, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; make it first")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install pyrnn[viz]") from error
    with matplotlib.rc_context(_STYLE):
        # A Figure of its own, not one of pyplot's, which would choose a backend for the whole process.
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        with atomic_write(path) as partial:
            figure.savefig(partial, format=kind, dpi=150, metadata=_NO_DATE[kind])


def shown(name: str) -> str:
    """A caller's name as matplotlib prints it unchanged: no formula, no hidden label, not too long."""
    name = name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"
    return f" {name}".replace("$", r"\$") if name.startswith("_") else name.replace("$", r"\$")


def has_letters(text: str) -> bool:
    """Whether the font has every letter; matplotlib warns of each other one, and prints a box."""
    return _letters().issuperset(map(ord, text))


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(_FONT)).get_charmap())
