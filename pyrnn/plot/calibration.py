"""Whether probabilities mean what they say: a reliability diagram."""

from __future__ import annotations

from pathlib import Path

from pyrnn.metrics import CalibrationBins
from pyrnn.plot.drawing import COLOURS, picture


def plot_calibration(bins: CalibrationBins, path: str | Path) -> None:
    """Draw the share of right answers against their probability, and below it how many examples have which.

    On the diagonal of 100 examples with a probability of 0.8, 80 are right; below it a model is too sure.

    Source: Guo et al., "On calibration of modern neural networks", 2017, figure 1.

    Args:
        bins: as of `pyrnn.metrics.Calibration.bins`.
        path: the file to write; its name ends in .png, .svg or .pdf.

    Raises:
        ValueError: no examples, or a name with another ending.
        FileNotFoundError: the folder does not exist.
        ImportError: matplotlib is not installed.

    Example:
        >>> import tempfile, torch
        >>> from pyrnn.metrics import Calibration
        >>> scores = Calibration()
        >>> scores.update(torch.tensor([[0.8, 0.2], [0.1, 0.9]]), torch.tensor([0, 0]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plot_calibration(scores.bins(), f"{folder}/calibration.png")
    """
    total, M = int(bins.counts.sum()), len(bins.counts)
    if not total:
        raise ValueError("there is nothing to draw: no example has a probability")
    filled = bins.counts > 0
    confidence, accuracy = bins.confidence[filled].tolist(), bins.accuracy[filled].tolist()
    shares = (bins.counts / total).tolist()
    error = sum(
        share * abs(right - sure)
        for share, right, sure in zip(
            (bins.counts[filled] / total).tolist(), accuracy, confidence, strict=True
        )
    )
    with picture(path, width=5.2, height=5.6) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot((0, 1), (0, 1), color="0.6", linewidth=1.2, linestyle="--", label="as sure as right")
        upper.vlines(confidence, confidence, accuracy, color="0.75", linewidth=1.5)
        upper.plot(confidence, accuracy, color=COLOURS[0], marker="o", label="this model")
        upper.set_ylabel("share that is right")
        upper.set_ylim(0, 1.02)
        upper.set_title(f"expected calibration error {error:.3f}, {total:,} examples", fontsize=10)
        upper.legend(loc="upper left")
        lower.bar([(m + 0.5) / M for m in range(M)], shares, width=0.9 / M, color=COLOURS[0])
        lower.set_ylabel("share of\nexamples")
        lower.set_xlabel("probability of the likeliest class")
        lower.set_xlim(0, 1)
