"""Word vectors before and after debiasing: how far words lie to a side, and which lie together."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

from pyrnn.plot.drawing import COLOURS, MARKERS, has_letters, picture, shown

_LINE = 0.19  # inches from word to word
_SIDES = (COLOURS[1], COLOURS[0])


class SidePlaces(NamedTuple):
    """Where the most biased words lie.

    Args:
        places: [2 n, 2], those of the first side first.
        same_side: share of their neighbours that are of their side.

    Example:
        >>> import torch
        >>> SidePlaces(torch.zeros(4, 2), 0.5).same_side
        0.5
    """

    places: Tensor
    same_side: float


def plot_bias(
    words: Sequence[str],
    before: Tensor,
    after: Tensor,
    path: str | Path,
    *,
    sides: tuple[str, str] = ("second", "first"),
    neighbourhoods: tuple[SidePlaces, SidePlaces] | None = None,
) -> None:
    """Draw the cosines of words with the bias direction before and after, and the sides in the plane.

    The words stand in the order of their cosines before. The panels on the right show the most biased words
    of both states, coloured by the side that they had before: where colours still lie apart, the bias is not
    gone.

    Args:
        words: the N words.
        before: [N] cosines.
        after: [N] cosines.
        path: the file to write; its name ends in .png, .svg or .pdf.
        sides: what a positive cosine means, and a negative one.
        neighbourhoods: of the most biased words, before and after; without them there is one panel.

    Raises:
        ValueError: no words, cosines that do not fit them, places that are no sides of equal size, or a name
            with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_bias(["nurse", "smith"], torch.tensor([0.2, -0.1]), torch.zeros(2), f"{folder}/bias.png")
    """
    for what, cosines in (("before", before), ("after", after)):
        if not words or tuple(cosines.shape) != (len(words),) or not cosines.isfinite().all():
            raise ValueError(
                f"{what}: expected a finite cosine for each of {len(words)} words, at least one, got shape "
                f"{tuple(cosines.shape)}"
            )
    for state in neighbourhoods or ():
        if state.places.dim() != 2 or state.places.shape[1] != 2 or len(state.places) % 2:
            raise ValueError(f"places: expected [2 n, 2], got {tuple(state.places.shape)}")
    height = max(3.4, 1.4 + _LINE * len(words))
    with picture(path, width=10.5 if neighbourhoods else 6.0, height=height) as figure:
        if neighbourhoods:
            grid = figure.add_gridspec(2, 2, width_ratios=(1.35, 1))
            _draw_cosines(figure.add_subplot(grid[:, 0]), words, before, after, sides)
            for n, (state, name) in enumerate(zip(neighbourhoods, ("before", "after"), strict=True)):
                _draw_sides(figure.add_subplot(grid[n, 1]), state, name, sides, legend=n == 1)
        else:
            _draw_cosines(figure.subplots(), words, before, after, sides)


def _draw_cosines(
    axis: Any, words: Sequence[str], before: Tensor, after: Tensor, sides: tuple[str, str]
) -> None:
    order: list[int] = before.argsort(stable=True).tolist()
    lines = range(len(order))
    axis.axvline(0, color="0.35", linewidth=0.8)
    axis.hlines(lines, before[order], after[order], color="0.75", linewidth=1.5)
    style = {"linestyle": "none", "markersize": 5}
    axis.plot(before[order], lines, marker="o", fillstyle="none", color="0.35", label="before", **style)
    axis.plot(after[order], lines, marker="o", color=COLOURS[2], label="after", **style)
    axis.set_yticks(lines, [_written(words[n]) for n in order], fontsize=8.5)
    axis.set_ylim(-0.8, len(words) - 0.2)
    axis.grid(visible=False, axis="x")
    first, second = map(shown, sides)
    axis.set_xlabel(f"← {second}    cosine with the bias direction    {first} →")
    axis.figure.legend(handles=axis.get_legend_handles_labels()[0], loc="outside upper left", ncols=2)


def _draw_sides(axis: Any, state: SidePlaces, name: str, sides: tuple[str, str], *, legend: bool) -> None:
    for n, places in enumerate(state.places.double().chunk(2)):
        axis.scatter(
            *places.T.tolist(),
            s=14,
            alpha=0.7,
            linewidth=0,
            color=_SIDES[n],
            marker=MARKERS[n],
            label=f"{shown(sides[n])} before",
        )
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set(visible=True, color="0.8")
    axis.set_title(f"{name}: {100 * state.same_side:.0f} % of neighbours are of a word's side", fontsize=9.5)
    if legend:
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=2)


def _written(word: str) -> str:
    """A word with a box for each letter that the font lacks."""
    return shown("".join(letter if has_letters(letter) else "□" for letter in word))
