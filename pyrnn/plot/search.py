"""Beams of several widths: what they reach, and whose fault is what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from pyrnn.plot.drawing import COLOURS, MARKERS, picture


class WidthRow(NamedTuple):
    """What one width reached.

    Args:
        width: of the beam.
        bleu: of the best outputs.
        oracle_bleu: of those in each n-best list that are nearest to the reference.
        correct: outputs that are right.
        search: wrong ones whose reference the model likes better.
        model: other wrong ones.

    Example:
        >>> WidthRow(5, bleu=9.1, oracle_bleu=12.0, correct=12, search=8, model=80).width
        5
    """

    width: int
    bleu: float
    oracle_bleu: float
    correct: int
    search: int
    model: int


def plot_widths(rows: Sequence[WidthRow], path: str | Path) -> None:
    """Draw BLEU and oracle BLEU against the width, and beside it the shares of right and wrong outputs.

    Args:
        rows: one for each width.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        ValueError: no rows, or a name with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> rows = [WidthRow(1, 8.0, 8.0, 10, 30, 60), WidthRow(5, 9.1, 12.0, 12, 8, 80)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_widths(rows, f"{folder}/widths.png")
    """
    if not rows:
        raise ValueError("there is nothing to draw: give at least one width")
    places, names = range(len(rows)), [str(row.width) for row in rows]
    with picture(path, width=9.0, height=3.8) as figure:
        scores, shares = figure.subplots(1, 2)
        for number, (label, values) in enumerate(
            {
                "oracle: the best of each n-best list": [row.oracle_bleu for row in rows],
                "the translation found": [row.bleu for row in rows],
            }.items()
        ):
            colour = COLOURS[number]
            scores.plot(places, values, color=colour, marker=MARKERS[number], label=label)
        scores.set_ylabel("BLEU")
        scores.set_ylim(0, 1.08 * max(1.0, *(row.oracle_bleu for row in rows), *(row.bleu for row in rows)))
        below = [0.0] * len(rows)
        for colour, label, counts in (
            (COLOURS[2], "right", [row.correct for row in rows]),
            (COLOURS[1], "search errors", [row.search for row in rows]),
            (COLOURS[0], "model errors", [row.model for row in rows]),
        ):
            sizes = (row.correct + row.search + row.model for row in rows)
            heights = [100 * count / size for count, size in zip(counts, sizes, strict=True)]
            shares.bar(places, heights, bottom=below, color=colour, label=label, width=0.6)
            below = [low + height for low, height in zip(below, heights, strict=True)]
        shares.set_ylabel("sentences (%)")
        shares.set_ylim(0, 100)
        for axis in (scores, shares):
            axis.set_xticks(list(places), names)
            axis.set_xlabel("width of the beam")
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18))
