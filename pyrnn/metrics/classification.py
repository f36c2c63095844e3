"""Scores of classifications: which classes are taken for which, and whether probabilities mean what they say.

Dimension key: N examples, C classes, M bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn.losses import IGNORE
from pyrnn.metrics.base import Metrics, ratio, require_like


class ExampleLoss(Metrics):
    """Mean loss of an example: "loss", of "examples".

    Example:
        >>> scores = ExampleLoss()
        >>> scores.update(torch.tensor(3.0), 2)
        >>> scores.compute()
        {'loss': 1.5, 'examples': 2.0}
    """

    size = 2

    def update(self, loss: Tensor, examples: float) -> None:
        """Add a loss that is summed over so many examples."""
        self.sums[0] += loss.detach()
        self.sums[1] += examples

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {"loss": ratio(self.sums[0], self.sums[1]), "examples": self.sums[1].item()}


class ConfusionMatrix(Metrics):
    """How often which class is taken for which; from it "accuracy" and "macro_f1".

    F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c), and macro F1 is its mean over the classes that occur as a target
    or a prediction: each counts alike, however rare it is.

    Sources: van Rijsbergen, "Information retrieval", 1979; the mean: Yang and Liu, "A re-examination of text
    categorization methods", 1999.

    Args:
        num_classes: C.
        device: where the sums lie.

    Example:
        >>> scores = ConfusionMatrix(2)
        >>> scores.update(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 1, 1, 1]))
        >>> scores.matrix.tolist(), scores.compute()["accuracy"]
        ([[1, 0], [1, 2]], 0.75)
    """

    def __init__(self, num_classes: int, device: torch.device | str = "cpu") -> None:
        if num_classes < 1:
            raise ValueError(f"num_classes must be at least 1, got {num_classes}")
        self.size, self.num_classes = num_classes * num_classes, num_classes
        super().__init__(device)

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Count integers of one shape; a target of -100 (`pyrnn.losses.IGNORE`) is not counted.

        Raises:
            ValueError: the shapes differ, or a class outside [0, C).
        """
        prediction, target = _counted(target, prediction, target)
        both = torch.stack([prediction, target])
        if both.numel() and not 0 <= int(both.min()) <= int(both.max()) < self.num_classes:
            raise ValueError(
                f"classes must lie in [0, {self.num_classes}), got {int(both.min())} to {int(both.max())}"
            )
        places = target.to(self.sums.device) * self.num_classes + prediction.to(self.sums.device)
        self.sums.index_add_(0, places, torch.ones_like(places, dtype=self.sums.dtype))

    @property
    def matrix(self) -> Tensor:
        """[C, C] int64 on the CPU: how many of the class of a row were taken for that of a column."""
        return self.sums.view(self.num_classes, self.num_classes).long().cpu()

    def f1(self) -> Tensor:
        """Of each class, [C] float64; NaN where it is neither a target nor a prediction.

        Example:
            >>> scores = ConfusionMatrix(3)
            >>> scores.update(torch.tensor([0, 1]), torch.tensor([0, 0]))
            >>> scores.f1().tolist()
            [0.666..., 0.0, nan]
        """
        matrix = self.matrix.double()
        return 2 * matrix.diagonal() / (matrix.sum(0) + matrix.sum(1))

    def compute(self) -> dict[str, float]:
        """As the class says, and "examples", their number."""
        hits, total = self.sums.view(self.num_classes, -1).diagonal().sum(), self.sums.sum()
        return {
            "accuracy": ratio(hits, total),
            "macro_f1": self.f1().nanmean().item(),
            "examples": total.item(),
        }


class AccuracyByKind(Metrics):
    """The share of right answers among the examples of each kind: "accuracy_KIND".

    Args:
        kinds: their names; without any there is no score.
        device: where the sums lie.

    Example:
        >>> scores = AccuracyByKind(("short", "long"))
        >>> scores.update(torch.tensor([3, 3, 4]), torch.tensor([3, 5, 4]), torch.tensor([0, 0, 1]))
        >>> scores.compute()
        {'accuracy_short': 0.5, 'accuracy_long': 1.0}
    """

    def __init__(self, kinds: Sequence[str], device: torch.device | str = "cpu") -> None:
        self.size, self._kinds = 2 * len(kinds), tuple(kinds)
        super().__init__(device)

    def update(self, prediction: Tensor, target: Tensor, kind: Tensor) -> None:
        """Count integers of one shape; a target of -100 (`pyrnn.losses.IGNORE`) is not counted.

        Raises:
            ValueError: the shapes differ, or a kind that is none.
        """
        prediction, kind, target = _counted(target, prediction, kind, target)
        if kind.numel() and not 0 <= int(kind.min()) <= int(kind.max()) < len(self._kinds):
            raise ValueError(
                f"kinds must lie in [0, {len(self._kinds)}), got {int(kind.min())} to {kind.max()}"
            )
        hits, counts = self.sums.view(2, -1)
        hits.index_add_(0, kind.to(hits.device), (prediction == target).to(hits))
        counts.index_add_(0, kind.to(hits.device), torch.ones_like(kind).to(hits))

    def compute(self) -> dict[str, float]:
        """As the class says."""
        hits, counts = self.sums.view(2, -1)
        return {f"accuracy_{kind}": ratio(hits[n], counts[n]) for n, kind in enumerate(self._kinds)}


class CalibrationBins(NamedTuple):
    """Examples by the probability of their likeliest class: bin m holds those in (m / M, (m + 1) / M].

    Args:
        counts: [M] int64, examples in each.
        confidence: [M] float64, the mean probability; NaN where there are none.
        accuracy: [M] float64, the share of them that are right; likewise.

    Example:
        >>> bins = Calibration(2).bins()
        >>> bins.counts.tolist()
        [0, 0]
    """

    counts: Tensor
    confidence: Tensor
    accuracy: Tensor


class Calibration(Metrics):
    """Whether of the examples given a probability of 0.8 so many are right: "calibration_error".

    ECE = sum_m n_m / N |accuracy_m - confidence_m| over M bins of equal width of the likeliest class's
    probability.

    Source: Guo et al., "On calibration of modern neural networks", 2017, equation 3.

    Args:
        bins: M.
        device: where the sums lie.

    Example:
        >>> scores = Calibration()
        >>> scores.update(torch.tensor([[0.8, 0.2], [0.1, 0.9]]), torch.tensor([0, 0]))
        >>> round(scores.compute()["calibration_error"], 6)
        0.55
    """

    def __init__(self, bins: int = 15, device: torch.device | str = "cpu") -> None:
        if bins < 1:
            raise ValueError(f"bins must be at least 1, got {bins}")
        self.size, self._bins = 3 * bins, bins
        super().__init__(device)

    def update(self, probabilities: Tensor, target: Tensor) -> None:
        """Add probabilities [N, C] and classes [N]; a target of -100 (`pyrnn.losses.IGNORE`) is not counted.

        Raises:
            ValueError: the shapes differ.
        """
        confidence, prediction = probabilities.double().max(-1)
        confidence, prediction, target = _counted(target, confidence, prediction, target)
        place = ((confidence * self._bins).ceil().long() - 1).clamp(0, self._bins - 1)
        parts = self.sums.view(3, self._bins)
        ones = torch.ones_like(confidence)
        for part, values in zip(parts, (ones, confidence, (prediction == target).double()), strict=True):
            part.index_add_(0, place.to(part.device), values.to(part.device))

    def bins(self) -> CalibrationBins:
        """The sums as means of each bin."""
        counts, confidence, hits = self.sums.view(3, self._bins).cpu()
        return CalibrationBins(counts.long(), confidence / counts, hits / counts)

    def compute(self) -> dict[str, float]:
        """As the class says."""
        counts, confidence, hits = self.sums.view(3, self._bins)
        return {"calibration_error": ratio((hits - confidence).abs().sum(), counts.sum())}


def _counted(target: Tensor, *parts: Tensor) -> list[Tensor]:
    """Of tensors of the target's shape, flat, what has a target."""
    for part in parts:
        require_like(part, target)
    return [part[target != IGNORE] for part in parts]
