"""Gradient flow: norms of a loss's gradient against the time lag, on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrnn.diagnostics import GradientFlow
from pyrnn.plot.drawing import COLOURS, MARKERS, picture, shown


def plot_gradients(flows: Mapping[str, GradientFlow], path: str | Path) -> None:
    """Draw |dL/dh_{T-k}| against the lag k, a line for each flow with its rate and verdict.

    A norm that shrinks by a constant factor a step is a straight line: falling where gradients vanish,
    rising where they explode. Norms that are zero or not finite have no place on the scale; where some fall
    below the smallest normal number of their dtype, a dotted line marks it.

    Args:
        flows: names to what `pyrnn.diagnostics.gradient_flow` or `compare_cells` measured.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        ValueError: no flows, or another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch, pyrnn
        >>> from pyrnn.diagnostics import compare_cells
        >>> flows = compare_cells({"GRU": pyrnn.GRU(3, 8), "LSTM": pyrnn.LSTM(3, 8)}, torch.randn(20, 4, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_gradients(flows, f"{folder}/gradients.png")
    """
    plot_gradient_panels({"": flows}, path)


def plot_gradient_panels(panels: Mapping[str, Mapping[str, GradientFlow]], path: str | Path) -> None:
    """Draw several pictures of `plot_gradients` side by side on one scale; a name keeps its colour.

    Args:
        panels: titles to what `plot_gradients` takes, for instance the same cells with recurrent weights of
            several scales.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        As `plot_gradients`.

    Example:
        >>> import tempfile, torch, pyrnn
        >>> from pyrnn.diagnostics import compare_cells
        >>> flows = compare_cells({"GRU": pyrnn.GRU(3, 8), "LSTM": pyrnn.LSTM(3, 8)}, torch.randn(20, 4, 3))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_gradient_panels({"as drawn": flows, "again": flows}, f"{folder}/gradients.png")
    """
    if not panels or not all(panels.values()):
        raise ValueError("there is no gradient flow to draw; give at least one in each panel")
    names = list(dict.fromkeys(name for flows in panels.values() for name in flows))
    rows = max(map(len, panels.values()))
    with picture(path, width=max(7.0, 4.0 * len(panels)), height=4.2 + 0.2 * rows) as figure:
        axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
        # Before the lines: the linear scale of a new axis overflows with large numbers.
        _scale(axes[0], [flow for flows in panels.values() for flow in flows.values()])
        for axis, (title, flows) in zip(axes, panels.items(), strict=True):
            for name, flow in flows.items():
                _draw(axis, name, flow, number=names.index(name))
            _mark_underflow(axis, flows)
            axis.set_title(shown(title))
            axis.set_xlabel("time lag k (steps)")
            axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14))
        axes[0].set_ylabel(f"gradient norm |∂L/∂h| at step T − k{_of_how_many(panels)}")


def _of_how_many(panels: Mapping[str, Mapping[str, GradientFlow]]) -> str:
    """How many sequences each mean is of, as a line of its own."""
    counts = sorted({flow.sequences for flows in panels.values() for flow in flows.values()})
    if counts == [1]:
        return ""
    number = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"\n(geometric mean of {number} sequences)"


def _draw(axis: Any, name: str, flow: GradientFlow, *, number: int) -> None:
    axis.plot(
        flow.lags,
        [norm if _has_place(norm) else math.nan for norm in flow.norms],
        color=COLOURS[number % len(COLOURS)],
        marker=MARKERS[number % len(MARKERS)],
        markevery=max(len(flow.lags) // 8, 1),
        label=f"{shown(name)}: ×{flow.rate:.4g} a step, {flow.verdict}",
    )


def _has_place(norm: float) -> bool:
    """Whether a logarithmic scale can show it."""
    return math.isfinite(norm) and norm > 0


def _scale(axis: Any, flows: Sequence[GradientFlow]) -> None:
    """A logarithmic scale with about eight ticks, at equal powers of ten from 1 on.

    matplotlib's own begin anywhere, and it has no scale where there is nothing to show.
    """
    shown_norms = [norm for flow in flows for norm in flow.norms if _has_place(norm)]
    limits = [*shown_norms, *(flow.underflow for flow in flows if _underflows(flow))]
    low, high = (math.log10(limit(limits, default=1.0)) for limit in (min, max))
    if high - low < 2:  # whole decades, so that a flat line looks flat
        low, high = math.floor(low - 0.01), math.ceil(high + 0.01)
    margin = 0.04 * (high - low)
    low, high = max(low - margin, -300), min(high + margin, 300)  # floats hold little more
    axis.set_yscale("log")
    axis.set_ylim(10.0**low, 10.0**high)
    stride = max(math.ceil((high - low) / 9), 1)
    exponents = range(math.ceil(low / stride), math.floor(high / stride) + 1)
    if len(exponents) > 1:
        axis.set_yticks([10.0 ** (stride * exponent) for exponent in exponents])


def _underflows(flow: GradientFlow) -> bool:
    return any(norm < flow.underflow for norm in flow.norms)


def _mark_underflow(axis: Any, flows: Mapping[str, GradientFlow]) -> None:
    """Say below which norm the numbers are no longer whole, where one lies there."""
    reached = {flow.underflow for flow in flows.values() if _underflows(flow)}
    for underflow in reached:
        axis.axhline(underflow, color="0.35", linestyle=":", linewidth=1)
        axis.annotate(
            f"underflow below {underflow:.0e}",
            (0.01, underflow),
            xycoords=("axes fraction", "data"),
            xytext=(0, 3),
            textcoords="offset points",
            fontsize=8,
            color="0.35",
        )
