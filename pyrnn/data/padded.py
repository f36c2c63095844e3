"""Batches of sequences of unequal lengths: those of like length together, in an order that a seed decides.

Dimension key: T time, B batch, N sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pyrnn.data.batches import require_even_shares

#: Batches whose sequences are sorted by length together, so that little of a batch is padding.
_BUCKET_BATCHES = 50


class PaddedBatches:
    """Sequences in batches of like length; a batch is a pure function of its number.

    Each epoch draws an order of its own from the seed, cuts it into buckets of 50 batches, sorts the
    sequences of a bucket by length, cuts it into batches and shuffles those. Without a seed the order is that
    of the lengths, the same in every epoch. Every sequence occurs once an epoch; the last batch may be
    smaller.

    Batch: each field as [T, B, ...] with what stands beyond a length filled, integers as int64, and
    "lengths" [B] int64.

    Args:
        fields: by name, N sequences [T_i, ...] of ids or features, of the same lengths in every field.
        batch_size: B.
        fill: what pads each field, 0 where it is not named.
        seed: of the order; None sorts by length instead.

    Attributes:
        sequences: N, in a shard too.
        batch_size: B, in a shard its part of them.

    Raises:
        ValueError: no sequences, fields that differ, an empty sequence, or a batch size below one.

    Example:
        >>> items = [torch.arange(n) for n in (3, 1, 2)]
        >>> batches = PaddedBatches({"token": items}, batch_size=2)
        >>> len(batches), batches[0]["token"].T.tolist(), batches[0]["lengths"].tolist()
        (2, [[0, 1, 2], [0, 1, 0]], [3, 2])
    """

    def __init__(
        self,
        fields: Mapping[str, Sequence[Tensor]],
        *,
        batch_size: int,
        fill: Mapping[str, int] | None = None,
        seed: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        lengths = {name: [len(item) for item in items] for name, items in fields.items()}
        first = next(iter(lengths.values()), [])
        if not first:
            raise ValueError("there are no sequences: expected at least one")
        for name, own in lengths.items():
            if own != first:
                raise ValueError(f"the sequences of {name!r} differ in length from those of the first field")
        if 0 in first:
            raise ValueError(f"sequence {first.index(0)} is empty: leave empty ones out")
        self.sequences, self.batch_size = len(first), batch_size
        self._fields, self._fill, self._seed = fields, fill or {}, seed
        self._lengths = np.asarray(first)
        self._whole_batch, self._first, self._stride = batch_size, 0, 1
        self._order: tuple[int, list[np.ndarray]] | None = None  # of the epoch that was asked last

    def __len__(self) -> int:
        """Batches of one epoch."""
        return -(-len(self._lengths) // self._whole_batch)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Batch step % len of epoch step // len."""
        if step < 0:
            raise IndexError(f"a step is counted from 0, got {step}")
        epoch, index = divmod(step, len(self))
        chosen = self._places(epoch)[index][self._first :: self._stride]
        # A shard without a sequence has one item of nothing but filling: processes step together.
        lengths = self._lengths[chosen] if len(chosen) else np.ones(1)
        batch = {"lengths": torch.from_numpy(lengths.astype(np.int64))}
        for name, items in self._fields.items():
            like = items[0]
            dtype = like.dtype if like.is_floating_point() else torch.int64
            shape = (int(lengths.max()), len(lengths), *like.shape[1:])
            batch[name] = torch.full(shape, self._fill.get(name, 0), dtype=dtype)
            for row, place in enumerate(chosen.tolist()):
                batch[name][: len(items[place]), row] = items[place]
        return batch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """The first epoch."""
        return (self[step] for step in range(len(self)))

    def shard(self, rank: int, world: int) -> PaddedBatches:
        """Rows rank, rank + world, ... of every batch.

        Raises:
            ValueError: `rank` outside [0, world), or B is no multiple of `world`.
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in [0, world), got rank {rank} of {world}")
        require_even_shares(self.batch_size, world)
        part = copy.copy(self)
        part.batch_size = self.batch_size // world
        part._first, part._stride = self._first + rank * self._stride, self._stride * world
        return part

    def _places(self, epoch: int) -> list[np.ndarray]:
        """Which sequences each batch of an epoch has."""
        number = 0 if self._seed is None else epoch
        if self._order is None or self._order[0] != number:
            self._order = number, list(self._draw(number))
        return self._order[1]

    def _draw(self, epoch: int) -> Iterator[np.ndarray]:
        size, count = self._whole_batch, len(self._lengths)
        if self._seed is None:
            order = np.argsort(-self._lengths, kind="stable")
            yield from (order[begin : begin + size] for begin in range(0, count, size))
            return
        random = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
        order, batches = random.permutation(count), []
        for begin in range(0, count, _BUCKET_BATCHES * size):
            bucket = order[begin : begin + _BUCKET_BATCHES * size]
            bucket = bucket[np.argsort(-self._lengths[bucket], kind="stable")]
            batches += [bucket[start : start + size] for start in range(0, len(bucket), size)]
        yield from (batches[place] for place in random.permutation(len(batches)))
