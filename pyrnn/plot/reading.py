"""Which sentences of a story a reader looked at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pyrnn.plot.drawing import picture, shown

_ROW, _COLUMN = 0.28, 0.62  # inches of a sentence, and of a hop
_LETTER = 0.075  # inches
_MOST_NUMBERED = 40  # sentences whose cells have room for a number


def plot_reading(weights: Tensor, sentences: Sequence[str], path: str | Path, *, title: str = "") -> None:
    """Draw a reader's attention: a row for each sentence of a story, a column for each hop.

    Args:
        weights: [K, S] of each hop to the sentences, as of `pyrnn.tasks.Answer`.
        sentences: the S of them.
        path: the file to write; its name ends in .png, .svg or .pdf.
        title: the question and its answer, say.

    Raises:
        ValueError: no hop or sentence, weights that do not fit or are not in [0, 1], or a name with another
            ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_reading(torch.tensor([[0.9, 0.1]]), ["It rains.", "It snows."], f"{folder}/a.png")
    """
    S = len(sentences)
    if weights.dim() != 2 or weights.shape[1] != S or not weights.numel():
        raise ValueError(f"expected weights [hops, {S}] of {S} sentences, got shape {tuple(weights.shape)}")
    if not bool(((weights >= 0) & (weights <= 1 + 1e-5)).all()):
        raise ValueError("expected weights in [0, 1], got others: they are what a softmax gave")
    K = len(weights)
    names = [shown(sentence) for sentence in sentences]
    beside, above = _LETTER * max(map(len, names)), _LETTER * len(title)
    width = max(beside + _COLUMN * K + 1.2, above + 0.4)
    with picture(path, width=width, height=_ROW * S + 1.0) as figure:
        axis = figure.subplots()
        image = axis.imshow(weights.T.double().numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto")
        axis.grid(visible=False)
        axis.spines[:].set(visible=True, color="0.8")
        axis.set_xticks(range(K), [str(hop) for hop in range(1, K + 1)])
        axis.set_yticks(range(S), names, fontsize=8)
        axis.set_xlabel("hop")
        axis.set_title(shown(title), fontsize=9)
        if S <= _MOST_NUMBERED:
            for hop, row in enumerate(weights.tolist()):
                for place, value in enumerate(row):
                    colour = "white" if value > 0.55 else "black"
                    axis.text(hop, place, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
        figure.colorbar(image, ax=axis, label="attention", aspect=12)
