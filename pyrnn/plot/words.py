"""Words as points in the plane, with labels that can be read, and analogies as arrows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrnn.plot.drawing import COLOURS, MARKERS, has_letters, picture, shown
from pyrnn.plot.labels import nearest, place_labels

_FONT = 8.5  # points
_SMALLEST, _LARGEST = 5.0, 11.0  # inches of a side
_LETTER = 0.33  # of a side for the root of the number of letters
_MARK = 4.0  # points across
_LONGEST_LABEL = 24


def plot_words(
    words: Sequence[str],
    places: Tensor,
    path: str | Path,
    *,
    groups: Sequence[str] | None = None,
    arrows: Sequence[tuple[int, int]] = (),
    axes: tuple[str, str] | None = None,
) -> list[str]:
    """Draw words as points with labels of which none lies on another, on a point or on an arrow.

    Earlier words choose first where their labels go. A label that finds no room beside its point stands
    farther off with a thin line to it. One that finds none at all is left out, and so is one with letters
    that the font lacks.

    Args:
        words: the N words.
        places: [N, 2], for instance of `pyrnn.embeddings.principal_components` or `tsne`.
        path: the file to write; its name ends in .png, .svg or .pdf.
        groups: of each word the name of its colour in the legend.
        arrows: pairs of numbers of words; each is an arrow from the first to the second. The two axes then
            have one scale, so that parallel arrows look parallel.
        axes: names of the axes, whose numbers are shown; without names there are none, as t-SNE's mean
            nothing.

    Returns:
        The words whose labels were left out.

    Raises:
        ValueError: no words, places of another shape or not finite, groups or arrows that do not fit, or a
            name with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile
        >>> places = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> words = ["man", "king", "woman", "queen"]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_words(words, places, f"{folder}/words.png", arrows=[(0, 1), (2, 3)])
        []
    """
    check_places(words, places, groups, arrows)
    letters = sum(min(len(word), _LONGEST_LABEL) for word in words)
    side = min(max(_SMALLEST, _LETTER * math.sqrt(letters)), _LARGEST)
    with picture(path, width=1.25 * side, height=side) as figure:
        axis = figure.subplots()
        names = list(dict.fromkeys(groups or [""]))
        for n, name in enumerate(names):
            own = [i for i in range(len(words)) if groups is None or groups[i] == name]
            axis.scatter(
                *places[own].double().T.tolist(),
                s=_MARK**2,
                color=COLOURS[n % len(COLOURS)],
                marker=MARKERS[n % len(MARKERS)],
                linewidth=0,
                label=shown(name),
            )
        draw_arrows(axis, places, arrows)
        name_axes(axis, axes)
        axis.margins(0.09)
        if arrows:
            axis.set_aspect("equal", adjustable="datalim")
        if groups is not None:
            figure.legend(loc="outside upper center", ncols=min(len(names), 5))
        settle(figure)
        return label_points(axis, words, places, lines=arrows)


def check_places(
    words: Sequence[str], places: Tensor, groups: Sequence[str] | None, arrows: Sequence[tuple[int, int]]
) -> None:
    """Refuse what cannot be drawn.

    Raises:
        ValueError: no words; places, groups or arrows that do not fit them.
    """
    if not words or tuple(places.shape) != (len(words), 2) or not torch.as_tensor(places).isfinite().all():
        raise ValueError(
            f"expected words and finite places [N, 2] of them, got {len(words)} words and places of shape "
            f"{tuple(places.shape)}"
        )
    if groups is not None and len(groups) != len(words):
        raise ValueError(f"expected a group for each of {len(words)} words, got {len(groups)}")
    if wrong := [arrow for arrow in arrows if not 0 <= min(arrow) <= max(arrow) < len(words)]:
        raise ValueError(f"an arrow leads between two of words 0 to {len(words) - 1}, got {wrong[0]}")


def draw_arrows(axis: Any, places: Tensor, arrows: Sequence[tuple[int, int]]) -> None:
    """Draw an arrow from word to word, clear of their marks."""
    for n, (start, end) in enumerate(arrows):
        style = {
            "arrowstyle": "-|>",
            "color": COLOURS[(n + 1) % len(COLOURS)],
            "linewidth": 1.2,
            "shrinkA": _MARK,
            "shrinkB": _MARK,
        }
        axis.annotate(
            "", xy=tuple(places[end].tolist()), xytext=tuple(places[start].tolist()), arrowprops=style
        )


def name_axes(axis: Any, names: tuple[str, str] | None) -> None:
    """Name the axes, or, where their numbers mean nothing, leave a frame alone."""
    if names is None:
        axis.set_xticks([])
        axis.set_yticks([])
        axis.spines[:].set(visible=True, color="0.8")
    else:
        axis.set_xlabel(names[0])
        axis.set_ylabel(names[1])


def settle(figure: Any) -> None:
    """Lay the figure out for good: labels are placed by where its points are now."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")


def label_points(
    axis: Any,
    words: Sequence[str],
    places: Tensor,
    *,
    lines: Sequence[tuple[int, int]] = (),
) -> list[str]:
    """Write words beside their points, on a figure that is laid out; the words that could not be written.

    Args:
        axis: of matplotlib.
        words: of all points.
        places: [N, 2], in the axis's numbers.
        lines: pairs of points between which something is drawn.
    """
    scale = 72 / axis.figure.dpi  # points a pixel
    pixels: NDArray[np.float64] = axis.transData.transform(places.double().numpy())
    labels = [_label(word) for word in words]
    sizes = np.array([_size(axis, label) if has_letters(label) else (0.0, 0.0) for label in labels])
    frame = axis.get_window_extent()
    order = [n for n in range(len(words)) if has_letters(words[n])]
    found = place_labels(
        pixels,
        sizes,
        bounds=(frame.x0 + 2, frame.y0 + 2, frame.x1 - 2, frame.y1 - 2),
        radius=_MARK / 2 / scale,
        lines=[(pixels[start], pixels[end]) for start, end in lines],
        labelled=order,
    )
    for n in order:
        place = found[n]
        if place is None:
            continue
        corner = np.array([place.left, place.bottom])
        style = None
        if not place.near:
            box = np.concatenate([corner, corner + sizes[n]])
            at = (nearest(box, pixels[n]) - corner) / sizes[n]
            style = {"arrowstyle": "-", "color": "0.6", "linewidth": 0.6, "shrinkA": 0, "shrinkB": _MARK / 2}
            style |= {"relpos": tuple(at), "patchA": None}
        axis.annotate(
            labels[n],
            xy=tuple(places[n].tolist()),
            xytext=tuple((corner - pixels[n]) * scale),
            textcoords="offset points",
            fontsize=_FONT,
            ha="left",
            va="bottom",
            arrowprops=style,
        )
    return [word for word, place in zip(words, found, strict=True) if place is None]


def _label(word: str) -> str:
    return shown(word if len(word) <= _LONGEST_LABEL else f"{word[: _LONGEST_LABEL - 1]}…")


def _size(axis: Any, label: str) -> tuple[float, float]:
    """Pixels that a label takes."""
    text = axis.text(0, 0, label, fontsize=_FONT)
    extent = text.get_window_extent()
    text.remove()
    return float(extent.width), float(extent.height)
