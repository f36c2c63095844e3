"""Attention weights: which keys each query looks at, as heat maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pyrnn.plot.drawing import picture, shown

#: One hue from white to dark: the order is seen without colours as well.
_MAP = "Blues"
_COLUMNS = 4
_LONGEST_TOKEN = 16
_FONT = 8  # points

# Inches.
_LINE = 0.175  # from one label to the next, at least
_LETTER = 0.075
_CELL = 0.3  # of a key or query, at most
_SINGLE = 6.5  # of a map alone, at most
_PANEL = 3.2  # of one among others, at most
_SMALLEST = 1.4  # of any, at least
_SPACE = 0.1  # between labels side by side
_GAP = 0.35  # between panels, with a title
_NAME = 0.4  # of the axis
_COLOURS = 1.2  # the scale of colours, and the other axis's name

#: Tokens of white space would have no label.
_VISIBLE = str.maketrans({" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"})


def plot_attention(
    weights: Tensor,
    path: str | Path,
    *,
    queries: Sequence[str] | None = None,
    keys: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
) -> None:
    """Draw attention weights as heat maps, one for each head: a row is a query, a column a key.

    All panels have one colour scale, of the weights' roots, so that small weights are seen beside large ones.
    It ends at the largest weight, or below it where a few rows stand far above all others (the first ones of
    a causal map, which have hardly a choice): then the bar ends in an arrow and says so. Where there are too
    many tokens for the space, every second, third, ... label stands for its neighbours; white space in tokens
    is made visible.

    Args:
        weights: [T, S] or, for each head, [H, T, S]; floating point, for instance what
            `pyrnn.ops.scaled_dot_product_attention` returns with `return_weights`, of one sequence.
        path: the file to write; its name ends in .png, .svg or .pdf.
        queries: the T tokens that ask; without them the positions are counted.
        keys: the S tokens that are looked at; by default the queries where T = S.
        heads: titles of the H panels; by default "head 0", "head 1", ...

    Raises:
        ValueError: weights of another shape or type, empty, negative or not finite; tokens or titles whose
            number does not fit; a name with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> weights = torch.randn(2, 3, 3).softmax(-1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_attention(weights, f"{folder}/attention.png", queries=["to", "be", "or"])
    """
    panels = _panels(weights)
    H, T, S = panels.shape
    if heads is None:
        heads = [f"head {h}" for h in range(H)] if weights.dim() == 3 else [""]
    keys = queries if keys is None and T == S else keys
    for what, names, size in (("queries", queries, T), ("keys", keys, S), ("heads", heads, H)):
        if names is not None and len(names) != size:
            raise ValueError(
                f"{what}: expected {size} names for weights of shape {tuple(weights.shape)}, got {len(names)}"
            )
    across, down = _labels(keys), _labels(queries)
    rows = math.ceil(H / _COLUMNS)
    columns = math.ceil(H / rows)
    largest = _SINGLE if H == 1 else _PANEL
    width, height = (min(largest, max(_SMALLEST, _CELL * size)) for size in (S, T))
    # Short labels stay upright, and the fewer are shown.
    turned = across is not None and _longest(across) > max(_LINE, width / S - _SPACE)
    below = _longest(across) if turned else _LINE
    whole = columns * (width + _GAP) + _longest(down) + _COLOURS, rows * (height + _GAP) + below + _NAME
    with picture(path, width=whole[0], height=whole[1]) as figure:
        from matplotlib.colors import PowerNorm

        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        highest = float(panels.max()) or 1.0
        top = _top(panels)
        scale = PowerNorm(0.5, vmin=0.0, vmax=top)
        image: Any = None
        for h, axis in enumerate(axes.flat):
            if h >= H:
                axis.set_visible(False)
                continue
            image = axis.imshow(panels[h].numpy(), cmap=_MAP, norm=scale, aspect="auto")
            axis.set_title(shown(heads[h]))
            axis.grid(visible=False)
            axis.spines[:].set(visible=True, color="0.7")
            axis.tick_params(labelsize=_FONT, length=2, labelbottom=h + columns >= H)
            axis.tick_params(axis="x", labelrotation=90 if turned else 0)
        _mark(axes[0, 0].xaxis, across, S, room=width / (_LINE if turned else _longest(across) + _SPACE))
        _mark(axes[0, 0].yaxis, down, T, room=height / _LINE)
        figure.supxlabel("keys", fontsize=10)
        figure.supylabel("queries", fontsize=10)
        label = "attention weight (root scale)"
        if top < highest:
            label += f"\ndarkest: {top:.2g} to {highest:.2g}"
        extend = "max" if top < highest else "neither"
        figure.colorbar(image, ax=axes, label=label, extend=extend, aspect=30, fraction=0.3 / whole[0])


def _panels(weights: Tensor) -> Tensor:
    """The weights as [H, T, S] in float32.

    Raises:
        ValueError: they cannot be drawn.
    """
    if weights.dim() not in (2, 3) or not weights.is_floating_point() or weights.numel() == 0:
        raise ValueError(
            "weights: expected a floating-point tensor [T, S] or [H, T, S] that is not empty, got "
            f"{weights.dtype} of shape {tuple(weights.shape)}; of a batch give one sequence, weights[b]"
        )
    panels = weights.detach().to("cpu", torch.float32)
    if not (panels.isfinite() & (panels >= 0)).all():
        raise ValueError("weights: expected finite numbers from 0 on, got negative ones, inf or nan")
    return panels if panels.dim() == 3 else panels[None]


def _top(panels: Tensor) -> float:
    """The weight at which the colours end.

    It is one that nine rows of ten stay below, if the largest is more than twice as large. The rows' largest
    weights decide, not all weights: a head that looks at one key in each row keeps its scale.
    """
    rows = panels.amax(-1).flatten().sort().values
    usual, highest = float(rows[math.ceil(0.9 * len(rows)) - 1]), float(rows[-1])
    return usual if 0 < 2 * usual < highest else highest or 1.0


def _labels(tokens: Sequence[str] | None) -> list[str] | None:
    """Tokens as they are printed: their white space visible, and not too long."""
    if tokens is None:
        return None
    visible = [token.translate(_VISIBLE) for token in tokens]
    cut = [v if len(v) <= _LONGEST_TOKEN else f"{v[: _LONGEST_TOKEN - 1]}…" for v in visible]
    return [shown(label) for label in cut]


def _longest(labels: Sequence[str] | None) -> float:
    """Inches of the longest label; positions have at most four digits."""
    return _LETTER * (4 if labels is None else max(map(len, labels)))


def _mark(axis: Any, labels: Sequence[str] | None, size: int, *, room: float) -> None:
    """Label rows or columns, as many as there is room for; without labels by round positions."""
    stride = math.ceil(size / max(room, 1))
    if labels is None:
        power = 10 ** (len(str(stride)) - 1)
        stride = next(n * power for n in (1, 2, 5, 10) if n * power >= stride)
        labels = [*map(str, range(size))]
    axis.set_ticks(range(0, size, stride), labels[::stride])
