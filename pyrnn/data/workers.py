"""Batches that worker processes make ahead of time, in the order in which they are asked for."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


class _Steps(Dataset[dict[str, Tensor]]):
    """The batches from a step on."""

    def __init__(self, batches: Any, first: int) -> None:
        self.batches, self.first = batches, first

    def __len__(self) -> int:
        return 1 << 62  # epochs follow one another without an end

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.batches[self.first + index]


class PreparedBatches:
    """The same batches, made by `workers` processes before they are asked for.

    A batch is a pure function of its number, so neither the number of workers nor their speed changes which
    one comes when, nor any generator of this process. Asked out of order, they begin anew there.

    Args:
        batches: any `pyrnn.train.Batches`.
        workers: processes, at least one.

    Raises:
        ValueError: no workers.

    Example:
        >>> from pyrnn.data import PaddedBatches
        >>> batches = PaddedBatches({"x": [torch.arange(n) for n in (3, 1, 2)]}, batch_size=2)
        >>> prepared = PreparedBatches(batches, workers=1)
        >>> all(torch.equal(prepared[step]["x"], batches[step]["x"]) for step in (0, 1, 2, 0))
        True
    """

    def __init__(self, batches: Any, *, workers: int) -> None:
        if workers < 1:
            raise ValueError(f"workers must be at least 1, got {workers}")
        self.batch_size: int = batches.batch_size
        self._batches, self._workers = batches, workers
        self._next: int | None = None
        self._loader: Iterator[dict[str, Tensor]] = iter(())

    def __len__(self) -> int:
        """Batches of one epoch."""
        return len(self._batches)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Batch `step`: quickly if it is the one after the last."""
        if step != self._next:
            self._loader = iter(
                DataLoader(
                    _Steps(self._batches, step),
                    batch_size=None,
                    num_workers=self._workers,
                    generator=torch.Generator(),  # the global one is the training's
                )
            )
        batch = next(self._loader)
        self._next = step + 1
        return batch

    def shard(self, rank: int, world: int) -> PreparedBatches:
        """Part `rank` of `world`, with workers of its own.

        Raises:
            ValueError: as of the batches.
        """
        part = copy.copy(self)
        part._batches = self._batches.shard(rank, world)
        part.batch_size, part._next, part._loader = part._batches.batch_size, None, iter(())
        return part
