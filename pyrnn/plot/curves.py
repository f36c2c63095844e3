"""Learning curves: losses of training runs against optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pyrnn.plot.drawing import COLOURS, MARKERS, picture, shown

#: Losses by step, ascending.
_Curve = dict[int, float]

_TRAINING = {"linewidth": 1, "alpha": 0.6, "zorder": 1.5}
_MOST_POINTS = 150


def plot_curves(runs: Mapping[str, Sequence[Mapping[str, Any]]], path: str | Path) -> None:
    """Draw training loss (thin) and validation loss (with markers) of runs against steps, into one picture.

    Where a run has more than 150 training losses, the means of neighbouring ones stand for them.

    Losses are in nats per token; the right-hand axis gives them as perplexity, e^loss. What a diverging run
    reaches beyond the largest first loss leaves the picture at its top.

    Args:
        runs: names to metrics rows in any order: {"step": int, "loss": float, ...} during training,
            {"step": int, "train_loss": float, "validation_loss": float, ...} at each epoch's end; other
            entries are not read, and a loss may be None. Of two rows for one step the later one counts, as in
            a run that was resumed. Without rows of the first kind, `train_loss` is drawn instead.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        ValueError: no runs, a run without a finite loss, a row whose step or loss has another type, or a
            name with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> rows = [{"step": 10 * n, "loss": 3 / n} for n in range(1, 9)]
        >>> rows += [{"epoch": 1, "step": 80, "train_loss": 0.8, "validation_loss": 0.5}]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_curves({"lstm": rows}, f"{folder}/curves.png")
    """
    if not runs:
        raise ValueError("there are no runs to draw; give at least one")
    curves = {name: _curves(name, rows) for name, rows in runs.items()}
    with picture(path, width=8, height=4.8) as figure:
        axis = figure.subplots()
        handles = []
        for n, (name, (training, validation)) in enumerate(curves.items()):
            colour, marker = COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]
            lonely = {"marker": marker, "fillstyle": "none"} if len(training) == 1 else {}
            axis.plot(*_thinned(training), color=colour, **_TRAINING, **lonely)
            label = shown(name)
            if validation:
                label += f": best validation {min(validation.values()):.3f}"
            points = list(validation), list(validation.values())
            handles += axis.plot(*points, color=colour, marker=marker, label=label)
        thinned = any(len(training) > _MOST_POINTS for training, _ in curves.values())
        label = "training (means of neighbouring rows)" if thinned else "training"
        handles += axis.plot([], [], color="0.35", label=label, **_TRAINING)
        handles += axis.plot([], [], color="0.35", marker="o", label="validation")
        _limit(axis, [curve for pair in curves.values() for curve in pair if curve])
        axis.set_xlabel("optimizer steps")
        axis.set_ylabel("loss (nats per token)")
        axis.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x == round(x) else "")
        right = axis.secondary_yaxis("right")
        right.yaxis.set_major_formatter(lambda y, _: f"{math.exp(min(y, 700)):.3g}")
        right.set_ylabel("perplexity")
        figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _curves(name: str, rows: Sequence[Mapping[str, Any]]) -> tuple[_Curve, _Curve]:
    """(training, validation) losses of a run, those that are finite."""
    found: dict[str, _Curve] = {"loss": {}, "train_loss": {}, "validation_loss": {}}
    for row in rows:
        for kind, curve in found.items():
            loss, step = row.get(kind), row.get("step")
            if loss is None:
                continue
            if not isinstance(step, int) or not isinstance(loss, (int, float)):
                raise ValueError(
                    f"run {name!r}: step must be an int and {kind} a number, got step {step!r} and "
                    f"{kind} {loss!r}"
                )
            curve[step] = loss
    finite = {
        kind: {step: curve[step] for step in sorted(curve) if math.isfinite(curve[step])}
        for kind, curve in found.items()
    }
    training, validation = finite["loss"] or finite["train_loss"], finite["validation_loss"]
    if not training and not validation:
        raise ValueError(
            f"run {name!r} has no finite loss to draw in its {len(rows)} rows; expected rows with 'step' and "
            "'loss', 'train_loss' or 'validation_loss'"
        )
    return training, validation


def _thinned(curve: _Curve) -> tuple[list[float], list[float]]:
    """Steps and losses, or the means of neighbours where there are too many to see one from another."""
    points = list(curve.items())
    size = -(-len(points) // _MOST_POINTS) or 1
    parts = [points[start : start + size] for start in range(0, len(points), size)]
    means = [[math.fsum(values) / len(part) for values in zip(*part, strict=True)] for part in parts]
    return [step for step, _ in means], [loss for _, loss in means]


def _limit(axis: Any, curves: Sequence[_Curve]) -> None:
    """Cut the picture off above the first losses, lest one diverging run flatten all others."""
    first = max(next(iter(curve.values())) for curve in curves)
    highest = max(max(curve.values()) for curve in curves)
    lowest = min(min(curve.values()) for curve in curves)
    top = min(highest, first)
    margin = 0.05 * (top - lowest) or 0.05 * abs(top) or 0.05
    axis.set_ylim(lowest - margin, top + margin)
