"""Draws rows of a benchmark against torch as one picture of ratios."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

from pyrnn.bench.record import Row
from pyrnn.bench.report import MODE_NAMES, SHAPE, case_name, machine

COLOURS = {"rnn": "#4c72b0", "gru": "#dd8452", "lstm": "#55a868"}


def draw(path: Path, rows: Sequence[Row]) -> None:
    """Save the ratios: a panel per dtype and mode, a line per case, a point with its spread per cell."""
    dtypes = list(dict.fromkeys(row["dtype"] for row in rows))
    modes = [mode for mode in MODE_NAMES if any(row["mode"] == mode for row in rows)]
    names = list(
        dict.fromkeys(case_name(row) for row in sorted(rows, key=lambda row: row["variant"] != "plain"))
    )
    cells = [cell for cell in COLOURS if any(row["cell"] == cell for row in rows)]
    figure, axes = plt.subplots(
        len(dtypes),
        len(modes),
        figsize=(1.8 + 4.2 * len(modes), (1.2 + 0.3 * len(names)) * len(dtypes)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for (i, dtype), (j, mode) in itertools.product(enumerate(dtypes), enumerate(modes)):
        axis = axes[i][j]
        axis.axvline(1, color="0.35", linewidth=1)
        for offset, cell in enumerate(cells):
            shown = [r for r in rows if (r["dtype"], r["mode"], r["cell"]) == (dtype, mode, cell)]
            _draw_cell(axis, shown, names, colour=COLOURS[cell], shift=0.22 * (offset - (len(cells) - 1) / 2))
        axis.set_title(f"{dtype}, {MODE_NAMES[mode]}", fontsize=10)
        axis.set_xscale("log", base=2)
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:g}x")
        axis.set_yticks(range(len(names)), names, fontsize=8)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
        for side in ("top", "right", "left"):
            axis.spines[side].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axes[0][0].invert_yaxis()  # shared: the first case stands on top everywhere
    points = [
        Line2D([], [], color=COLOURS[cell], marker="o", linestyle="", label=cell.upper()) for cell in cells
    ]
    figure.legend(handles=points, loc="outside upper right", ncols=len(cells), frameon=False, fontsize=9)
    figure.supxlabel("time of torch.nn / time of pyrnn (right of 1x: pyrnn is faster)", fontsize=9)
    figure.supylabel(" ".join(SHAPE), fontsize=9)
    figure.suptitle(machine(rows[-1]).replace("; ", "\n"), x=0.01, ha="left", fontsize=7)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_cell(axis: Any, rows: Sequence[Row], names: Sequence[str], *, colour: str, shift: float) -> None:
    """Points of one cell in one panel; the bars span the 20th to the 80th percentile of the rounds."""
    heights = [names.index(case_name(row)) + shift for row in rows]
    spreads = [row["ratio_spread"] for row in rows]
    axis.hlines(
        heights,
        [spread["p20"] for spread in spreads],
        [spread["p80"] for spread in spreads],
        color=colour,
        alpha=0.45,
        linewidth=2,
    )
    axis.plot([row["ratio"] for row in rows], heights, "o", color=colour, markersize=4.5)
