"""Which classes a classifier takes for which."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from pyrnn.plot.drawing import picture, shown

_CELL = 0.62  # inches of a class
_SMALLEST, _LARGEST = 2.0, 12.0  # of all of them
_MOST_NUMBERED = 20  # classes whose cells have room for a number


def plot_confusion(matrix: Tensor, labels: Sequence[str], path: str | Path) -> None:
    """Draw a confusion matrix: a row for each class, coloured by the share of it that went to each column.

    Cells hold the numbers themselves; of more than 20 classes the colours alone.

    Args:
        matrix: [C, C] integers, how many examples of the class of a row were taken for that of a column, as
            of `pyrnn.metrics.ConfusionMatrix`.
        labels: of the C classes.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        ValueError: no classes, a matrix that does not fit them, a negative count, or a name with another
            ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_confusion(torch.tensor([[8, 2], [1, 9]]), ["bad", "good"], f"{folder}/confusion.png")
    """
    C = len(labels)
    if not C or tuple(matrix.shape) != (C, C) or matrix.is_floating_point() or bool((matrix < 0).any()):
        raise ValueError(
            f"expected counts [{C}, {C}] of {C} classes, at least one, got {matrix.dtype} of shape "
            f"{tuple(matrix.shape)}"
        )
    totals = matrix.sum(1, keepdim=True)
    shares = matrix / totals.clamp(min=1)
    names = [shown(label) for label in labels]
    longest = max(map(len, names))
    size = min(max(_CELL * C, _SMALLEST), _LARGEST)
    turned = C > 3 or longest > 10  # names below the columns
    beside = 0.09 * longest  # inches that a name takes
    with picture(path, width=size + beside + 1.7, height=size + 0.7 + (beside if turned else 0.2)) as figure:
        axis = figure.subplots()
        image = axis.imshow(shares.double().numpy(), cmap="Blues", vmin=0, vmax=1)
        axis.grid(visible=False)
        axis.spines[:].set(visible=True, color="0.8")
        font = 9 if C <= _MOST_NUMBERED else max(3.0, 170 / C)
        axis.set_xticks(range(C), names, rotation=90 if turned else 0, fontsize=font)
        axis.set_yticks(range(C), names, fontsize=font)
        axis.set_xlabel("taken for")
        axis.set_ylabel("is")
        if C <= _MOST_NUMBERED:
            for row, values in enumerate(matrix.tolist()):
                for column, value in enumerate(values):
                    colour = "white" if shares[row, column] > 0.55 else "black"
                    axis.text(column, row, f"{value:,}", ha="center", va="center", color=colour, fontsize=9)
        figure.colorbar(image, ax=axis, label="share of the class", shrink=0.9, aspect=16)
