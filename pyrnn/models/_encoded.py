"""What decoders carry beside their own state: the source, the same for all that is written about it.

Dimension key: S source time, N sequences.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrnn.models.state import select_along


@dataclass(frozen=True)
class Encoded:
    """Tensors of N sources, and which of the sources first given each row is.

    A search continues one source in many ways and drops the bad ones at every step; the source itself is
    copied only when another one comes into a row. Whoever knows that none does need not `select`.

    Args:
        tensors: [S, N, ...] each.
        lengths: [N] int64, positions of each source.
        origin: [N] int64.
    """

    tensors: tuple[Tensor, ...]
    lengths: Tensor
    origin: Tensor

    @classmethod
    def of(cls, tensors: tuple[Tensor, ...], lengths: Tensor) -> Encoded:
        """N distinct sources."""
        lengths = lengths.to(tensors[0].device)  # where rows are chosen
        return cls(tensors, lengths, torch.arange(len(lengths), device=lengths.device))

    def select(self, rows: Tensor | slice) -> Encoded:
        """The sources of some rows: on the CPU this object itself where each row keeps its source.

        A GPU is not asked whether they do, for the host would wait for the answer.
        """
        origin = self.origin[rows]
        if origin.is_cpu and torch.equal(origin, self.origin):
            return self
        tensors = tuple(select_along(tensor, 1, rows) for tensor in self.tensors)
        return Encoded(tensors, self.lengths[rows], origin)
