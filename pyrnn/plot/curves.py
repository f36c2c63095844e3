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
#: Tokens whose lengths differ by less than this factor are of one kind.
_SAME_LENGTH = 1.05
#: A tick on the edge of the picture is in it.
_ROUNDING = 1e-9


def plot_curves(
    runs: Mapping[str, Sequence[Mapping[str, Any]]],
    path: str | Path,
    *,
    bytes_per_token: Mapping[str, float] | None = None,
) -> None:
    """Draw training loss (thin) and validation loss (with markers) of runs against steps, into one picture.

    Where a run has more than 150 training losses, the means of neighbouring ones stand for them.

    Losses are in nats per token; the right-hand axis gives them as perplexity, e^loss. Runs whose tokens are
    of different lengths, characters and words, cannot be compared by it: where that is so a second panel
    shows the same curves in bits per byte. What a diverging run reaches beyond the largest first loss leaves
    the picture at its top.

    Args:
        runs: names to metrics rows in any order: {"step": int, "loss": float, ...} during training,
            {"step": int, "train_loss": float, "validation_loss": float, ...} at each epoch's end; other
            entries are not read, and a loss may be None. Of two rows for one step the later one counts, as in
            a run that was resumed. Without rows of the first kind, `train_loss` is drawn instead.
        path: the file to write; its name ends in .png, .svg or .pdf.
        bytes_per_token: of the validation text of each run, by its name; a run that is not there has no curve
            in bits per byte.

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
    lengths = {name: length for name, length in (bytes_per_token or {}).items() if name in curves}
    beside = len(lengths) > 1 and max(lengths.values()) > _SAME_LENGTH * min(lengths.values())
    with picture(path, width=13 if beside else 8, height=4.8) as figure:
        axes = figure.subplots(1, 2 if beside else 1, squeeze=False)[0]
        handles = _draw(axes[0], curves, dict.fromkeys(curves, 1.0))
        axes[0].set_ylabel("loss (nats per token)")
        _mark_perplexity(axes[0])
        if beside:
            _draw(axes[1], curves, {name: 1 / (math.log(2) * length) for name, length in lengths.items()})
            axes[1].set_ylabel("loss (bits per byte)")
        for line, (name, (_, validation)) in zip(handles, curves.items(), strict=True):
            line.set_label(_label(name, validation, lengths.get(name) if beside else None))
        thinned = any(len(training) > _MOST_POINTS for training, _ in curves.values())
        label = "training (means of neighbouring rows)" if thinned else "training"
        handles += axes[0].plot([], [], color="0.35", label=label, **_TRAINING)
        handles += axes[0].plot([], [], color="0.35", marker="o", label="validation")
        figure.legend(handles=handles, loc="outside upper center", ncols=2)


def _draw(axis: Any, curves: Mapping[str, tuple[_Curve, _Curve]], factors: Mapping[str, float]) -> list[Any]:
    """Draw the runs that have a factor, their losses multiplied by it; the lines of their validation."""
    handles, scaled = [], []
    for n, (name, pair) in enumerate(curves.items()):
        if name not in factors:
            continue
        training, validation = ({step: loss * factors[name] for step, loss in own.items()} for own in pair)
        scaled += [curve for curve in (training, validation) if curve]
        colour, marker = COLOURS[n % len(COLOURS)], MARKERS[n % len(MARKERS)]
        lonely = {"marker": marker, "fillstyle": "none"} if len(training) == 1 else {}
        axis.plot(*_thinned(training), color=colour, **_TRAINING, **lonely)
        handles += axis.plot(list(validation), list(validation.values()), color=colour, marker=marker)
    _limit(axis, scaled)
    axis.set_xlabel("optimizer steps")
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x == round(x) else "")
    return handles


def _label(name: str, validation: _Curve, length: float | None) -> str:
    """A run as the legend has it."""
    label = shown(name)
    if not validation:
        return label
    best = min(validation.values())
    label += f": best validation {best:.3f}"
    return label if length is None else f"{label} ({best / math.log(2) / length:.3f} bits per byte)"


def _mark_perplexity(axis: Any) -> None:
    """A right-hand axis with round perplexities at the places of their losses."""
    low, high = axis.get_ylim()
    ticks = _round_between(math.exp(min(max(low, 0.0), 700)), math.exp(min(high, 700)))
    right = axis.secondary_yaxis("right")
    right.set_yticks([math.log(tick) for tick in ticks], [f"{tick:g}" for tick in ticks])
    right.minorticks_off()
    right.set_ylabel("perplexity")


def _round_between(low: float, high: float) -> list[float]:
    """A few round numbers in [low, high], low >= 1: 1, 2, 5, 10, ..., or closer ones if they are too few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        every = (digit * 10.0**power for power in decades for digit in digits)
        found = [number for number in every if low <= number <= high]
        if 4 <= len(found) <= 9:
            return found
        if len(found) < 4:
            break
    else:
        return found[:: math.ceil(len(found) / 9)]
    step = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(step)) if step > 0 else 1.0
    step = next(power * digit for digit in (1, 2, 5, 10) if power * digit >= step)
    first, last = math.ceil(low / step - _ROUNDING), math.floor(high / step + _ROUNDING)
    return [round(n * step, 12) for n in range(first, last + 1)]


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
