"""Scores of sequences of tokens.

Dimension key: T time, B batch, V vocabulary, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from pyrnn.losses import IGNORE
from pyrnn.metrics.base import Metrics, ratio, require_like

_LARGEST_EXPONENT = 700


class Perplexity(Metrics):
    """Mean cross-entropy in nats per token, and what follows from it.

    "loss": L; "perplexity": e^L, infinite where that overflows; "bits": L / ln 2; "tokens": their number.

    Source: Jelinek et al., "Perplexity: a measure of the difficulty of speech recognition tasks", 1977.

    Example:
        >>> scores = Perplexity()
        >>> scores.update(torch.tensor(4.0), 2)
        >>> scores.compute()["loss"]
        2.0
    """

    size = 2

    def update(self, loss: Tensor, tokens: float) -> None:
        """Add a loss that is summed over so many tokens."""
        self.sums[0] += loss.detach()
        self.sums[1] += tokens

    def compute(self) -> dict[str, float]:
        """As the class says."""
        loss, tokens = ratio(self.sums[0], self.sums[1]), self.sums[1].item()
        perplexity = math.exp(loss) if loss < _LARGEST_EXPONENT else math.inf
        return {"loss": loss, "perplexity": perplexity, "bits": loss / math.log(2), "tokens": tokens}


class Accuracy(Metrics):
    """Share of predictions that are right: "accuracy", of "tokens".

    Example:
        >>> scores = Accuracy()
        >>> scores.update(torch.tensor([1, 2, 9]), torch.tensor([1, 3, -100]))
        >>> scores.compute()
        {'accuracy': 0.5, 'tokens': 2.0}
    """

    size = 2

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """Compare integers of one shape; a target of -100 (`pyrnn.losses.IGNORE`) is not counted.

        Raises:
            ValueError: the shapes differ.
        """
        require_like(prediction, target)
        counted = target != IGNORE
        self.sums[0] += ((prediction == target) & counted).sum()
        self.sums[1] += counted.sum()

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {"accuracy": ratio(self.sums[0], self.sums[1]), "tokens": self.sums[1].item()}


class F1(Metrics):
    """Precision, recall and their harmonic mean of one class: "precision", "recall", "f1".

    F1 = 2 TP / (2 TP + FP + FN). Source: van Rijsbergen, "Information retrieval", 1979.

    Args:
        positive: the class that counts as found.
        device: where the sums lie.

    Example:
        >>> scores = F1(positive=1)
        >>> scores.update(torch.tensor([1, 1, 0]), torch.tensor([1, 0, 1]))
        >>> scores.compute()["f1"]
        0.5
    """

    size = 3

    def __init__(self, positive: int = 1, device: torch.device | str = "cpu") -> None:
        super().__init__(device)
        self.positive = positive

    def update(self, prediction: Tensor, target: Tensor) -> None:
        """As of `Accuracy`."""
        require_like(prediction, target)
        counted = target != IGNORE
        found, there = (prediction == self.positive) & counted, target == self.positive
        self.sums += torch.stack([(found & there).sum(), (found & ~there).sum(), (there & ~found).sum()])

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return f1_scores(self.sums)


def f1_scores(sums: Tensor) -> dict[str, float]:
    """Scores of what was found rightly, found wrongly, and missed: [3]."""
    true, false, missed = sums
    return {
        "precision": ratio(true, true + false),
        "recall": ratio(true, true + missed),
        "f1": ratio(2 * true, 2 * true + false + missed),
    }


class ErrorRate(Metrics):
    """Edit distance to the references over their length: of words "wer", of characters "cer".

    Insertions, deletions and substitutions cost one each. Above one where much was inserted.
    Source: Levenshtein, "Binary codes capable of correcting deletions, insertions and reversals", 1966.

    Args:
        name: what the score is called.

    Example:
        >>> scores = ErrorRate("wer")
        >>> scores.update("to be or not".split(), "to be not".split())
        >>> scores.compute()
        {'wer': 0.3333333333333333}
    """

    size = 2

    def __init__(self, name: str = "error_rate") -> None:
        super().__init__()
        self.name = name

    def update(self, hypothesis: Sequence[object], reference: Sequence[object]) -> None:
        """Compare two sequences of words, characters or ids."""
        self.sums[0] += edit_distance(hypothesis, reference)
        self.sums[1] += len(reference)

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {self.name: ratio(self.sums[0], self.sums[1])}


class ExactMatch(Metrics):
    """Share of sequences that are right as a whole: "exact_match", of "sequences".

    Example:
        >>> scores = ExactMatch()
        >>> scores.update("1998-03-03", "1998-03-03")
        >>> scores.update("1998-03-04", "1998-03-03")
        >>> scores.compute()
        {'exact_match': 0.5, 'sequences': 2.0}
    """

    size = 2

    def update(self, hypothesis: object, reference: object) -> None:
        """Compare two sentences, or two lists of tokens."""
        self.sums[0] += hypothesis == reference
        self.sums[1] += 1

    def compute(self) -> dict[str, float]:
        """As the class says."""
        return {"exact_match": ratio(self.sums[0], self.sums[1]), "sequences": self.sums[1].item()}


def edit_distance(first: Sequence[object], second: Sequence[object]) -> int:
    """Fewest insertions, deletions and substitutions that make one sequence of the other.

    Example:
        >>> edit_distance("kitten", "sitting")
        3
    """
    row = list(range(len(second) + 1))
    for i, left in enumerate(first, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(second, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]
