"""Scores as sums: those of two parts of the data, or of two processes, add up to the score of the whole."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor
from typing_extensions import Self


class Metrics(ABC):
    """A few sums over examples, and the scores that follow from them.

    A kind of score names how many sums it needs and computes from them; `update`, whose arguments are its
    own, adds to them.

    Args:
        device: where the sums lie, so that adding to them does not wait for a GPU.

    Example:
        >>> from pyrnn.metrics import Accuracy
        >>> first, second = Accuracy(), Accuracy()
        >>> first.update(torch.tensor([1, 2]), torch.tensor([1, 3]))
        >>> second.update(torch.tensor([5, 5]), torch.tensor([5, 5]))
        >>> first.add(second).compute()["accuracy"]
        0.75
    """

    size: int
    sums: Tensor

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.sums = torch.zeros(self.size, dtype=torch.float64, device=device)

    def add(self, other: Self) -> Self:
        """Take in another one's sums."""
        self.sums += other.sums.to(self.sums.device)
        return self

    def state(self) -> Tensor:
        """The sums [size] float64: what processes add up."""
        return self.sums

    def load_state(self, state: Tensor) -> None:
        """Take over sums [size]."""
        self.sums = state

    @abstractmethod
    def compute(self) -> dict[str, float]:
        """The scores by name; NaN where nothing was counted."""


def ratio(part: Tensor, whole: Tensor) -> float:
    """part / whole, NaN where there is no whole."""
    return (part / whole).item() if whole != 0 else float("nan")


def require_like(prediction: Tensor, target: Tensor) -> None:
    """Refuse predictions and targets of different shapes.

    Raises:
        ValueError: they are.
    """
    if prediction.shape != target.shape:
        raise ValueError(
            f"predictions and targets must have one shape, got {list(prediction.shape)} and "
            f"{list(target.shape)}"
        )


class Combined(Metrics):
    """Several kinds of scores as one; of equal names the last one counts.

    Args:
        parts: what is combined; each is updated by itself.

    Example:
        >>> from pyrnn.metrics import Accuracy, Perplexity
        >>> both = Combined(Accuracy(), Perplexity())
        >>> len(both.state()) == len(Accuracy().state()) + len(Perplexity().state())
        True
    """

    def __init__(self, *parts: Metrics) -> None:
        self.parts = parts

    def add(self, other: Self) -> Self:
        """Take in another one's sums."""
        for own, its in zip(self.parts, other.parts, strict=True):
            own.add(its)
        return self

    def state(self) -> Tensor:
        """The sums of all parts, one after another."""
        return torch.cat([part.state() for part in self.parts])

    def load_state(self, state: Tensor) -> None:
        """Take over what `state` gave."""
        for part, own in zip(self.parts, state.split([part.size for part in self.parts]), strict=True):
            part.load_state(own)

    def compute(self) -> dict[str, float]:
        """The scores of all parts."""
        return {name: value for part in self.parts for name, value in part.compute().items()}
