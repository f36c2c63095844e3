"""Draws rows of a benchmark against torch as one picture of ratios."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.lines import Line2D

from pyrnn.bench.record import Row
from pyrnn.bench.report import MODE_NAMES, Layout, machine
from pyrnn.plot.drawing import COLOURS, picture


def draw(path: Path, rows: Sequence[Row], layout: Layout) -> None:
    """Save the ratios: a panel per dtype and mode, a line per case, a point with its spread per column."""
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    modes = [mode for mode in MODE_NAMES if any(row["mode"] == mode for row in rows)]
    ordered = sorted(rows, key=lambda row: row["variant"] != "plain")
    names = list(dict.fromkeys(layout.case_name(row) for row in ordered))
    across = {
        name: colour
        for name, colour in zip(layout.names, COLOURS, strict=False)
        if any(row[layout.across] == name for row in rows)
    }
    # A machine and four names stand side by side above the panels.
    width, height = max(8.2, 1.8 + 4.2 * len(modes)), (1.2 + 0.3 * len(names)) * len(dtypes)
    with picture(path, width=width, height=height) as figure:
        axes = figure.subplots(len(dtypes), len(modes), sharex=True, sharey=True, squeeze=False)
        for (i, dtype), (j, mode) in itertools.product(enumerate(dtypes), enumerate(modes)):
            axis = axes[i][j]
            axis.axvline(1, color="0.35", linewidth=1)
            for offset, (name, colour) in enumerate(across.items()):
                shown = [r for r in rows if (r["dtype"], r["mode"], r[layout.across]) == (dtype, mode, name)]
                heights = [names.index(layout.case_name(row)) for row in shown]
                _draw_column(axis, shown, heights, colour, shift=0.22 * (offset - (len(across) - 1) / 2))
            axis.set_title(f"{dtype}, {MODE_NAMES[mode]}", fontsize=10)
            axis.set_xscale("log", base=2)
            axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
            axis.set_yticks(range(len(names)), names, fontsize=8)
            axis.grid(visible=False, axis="y")
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="x", labelsize=8)
            axis.tick_params(axis="y", length=0)
        axes[0][0].invert_yaxis()  # shared: the first case stands on top everywhere
        points = [
            Line2D([], [], color=colour, marker="o", linestyle="", label=layout.names[name])
            for name, colour in across.items()
        ]
        figure.legend(handles=points, loc="outside upper right", ncols=len(across))
        figure.supxlabel(f"time of {layout.torch} / time of pyrnn (right of 1x: pyrnn is faster)", fontsize=9)
        figure.supylabel(" ".join(layout.shape), fontsize=9)
        figure.suptitle(machine(rows[-1]).replace("; ", "\n"), x=0.01, ha="left", fontsize=7)


def _draw_column(
    axis: Any, rows: Sequence[Row], heights: Sequence[float], colour: str, *, shift: float
) -> None:
    """Points of one column in one panel; the bars span the 20th to the 80th percentile of the rounds."""
    places = [height + shift for height in heights]
    spreads = [row["ratio_spread"] for row in rows]
    low, high = [spread["p20"] for spread in spreads], [spread["p80"] for spread in spreads]
    axis.hlines(places, low, high, color=colour, alpha=0.45, linewidth=2)
    axis.plot([row["ratio"] for row in rows], places, "o", color=colour, markersize=4.5)
