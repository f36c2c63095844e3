"""Batches of sequences of unequal lengths: those of like length together, in an order that a seed decides.

Dimension key: T time, B batch, N sequences.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from pyrnn.data.batches import Groups, grouped, lengths_of, require_even_shares

#: Batches whose sequences are sorted by length together, so that little of a batch is padding.
_BUCKET_BATCHES = 50


class PaddedBatches:
    """Sequences in batches of like length; a batch is a pure function of its number.

    Each epoch draws an order of its own from the seed, cuts it into buckets of 50 batches, sorts the
    sequences of a bucket by length, cuts it into batches and shuffles those. Without a seed the order is that
    of the lengths, the same in every epoch. Every sequence occurs once an epoch; the last batch may be
    smaller.

    Fields of several groups (a sentence and its translation) have lengths of their own. What counts in the
    order is then the longest of an item's sequences: of the sum, the target and the longest, that leaves the
    least padding.

    Batch: each field as [T, B, ...] with what stands beyond a length filled, integers as int64, T the longest
    of its group; and "lengths" [B] int64, or those of each group by its name.

    Args:
        fields: by name, N sequences [T_i, ...] of ids or features, of the same lengths in every field.
        batch_size: B.
        fill: what pads each field, 0 where it is not named.
        seed: of the order; None sorts by length instead.
        groups: which fields have lengths in common, by the name of those; None: all, as "lengths".
        max_tokens: B times the longest sequence is at most this: batches of long sequences are smaller. A
            bucket is then a whole epoch.

    Attributes:
        sequences: N, in a shard too.
        batch_size: B, in a shard its part of them.

    Raises:
        ValueError: no sequences, fields that differ, an empty sequence, one longer than `max_tokens`, a batch
            size below one, or groups that do not fit the fields.

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
        groups: Groups | None = None,
        max_tokens: int | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._groups = grouped(list(fields), groups)
        self._lengths = {name: np.asarray(own) for name, own in lengths_of(fields, groups).items()}
        self._longest = np.max(list(self._lengths.values()), axis=0)
        self.sequences, self.batch_size = len(self._longest), batch_size
        if max_tokens is not None and max_tokens < self._longest.max():
            place = self._longest.argmax()
            raise ValueError(
                f"sequence {place} has {self._longest[place]} tokens, max_tokens allows {max_tokens}: leave "
                "it out, or allow more"
            )
        self._fields, self._fill, self._seed = fields, fill or {}, seed
        self._max_tokens = max_tokens
        self._whole_batch, self._first, self._stride = batch_size, 0, 1
        # The number of batches follows from the lengths alone, whatever the order.
        self._batches = sum(1 for _ in self._cut(np.arange(self.sequences)))
        self._order: tuple[int, list[np.ndarray]] | None = None  # of the epoch that was asked last

    def __len__(self) -> int:
        """Batches of one epoch."""
        return self._batches

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Batch step % len of epoch step // len."""
        if step < 0:
            raise IndexError(f"a step is counted from 0, got {step}")
        epoch, index = divmod(step, len(self))
        chosen = self._places(epoch)[index][self._first :: self._stride]
        batch = {}
        for group, names in self._groups.items():
            # A shard without a sequence has one item of nothing but filling: processes step together.
            lengths = self._lengths[group][chosen] if len(chosen) else np.ones(1, np.int64)
            batch[group] = torch.from_numpy(lengths)
            for name in names:
                batch[name] = self._padded(name, chosen, (int(lengths.max()), len(lengths)))
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

    def _padded(self, name: str, chosen: np.ndarray, shape: tuple[int, int]) -> Tensor:
        """The chosen sequences of a field, of `shape` [T, B] and that of an item."""
        items = self._fields[name]
        like = items[0]
        dtype = like.dtype if like.is_floating_point() else torch.int64
        padded = torch.full((*shape, *like.shape[1:]), self._fill.get(name, 0), dtype=dtype)
        for row, place in enumerate(chosen.tolist()):
            padded[: len(items[place]), row] = items[place]
        return padded

    def _places(self, epoch: int) -> list[np.ndarray]:
        """Which sequences each batch of an epoch has."""
        number = 0 if self._seed is None else epoch
        if self._order is None or self._order[0] != number:
            self._order = number, list(self._draw(number))
        return self._order[1]

    def _draw(self, epoch: int) -> Iterator[np.ndarray]:
        count = self.sequences
        if self._seed is None:
            yield from self._cut(np.arange(count))
            return
        random = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
        order, batches = random.permutation(count), []
        bucket = _BUCKET_BATCHES * self._whole_batch if self._max_tokens is None else count
        for begin in range(0, count, bucket):
            batches += self._cut(order[begin : begin + bucket])
        yield from (batches[place] for place in random.permutation(len(batches)))

    def _cut(self, places: np.ndarray) -> Iterator[np.ndarray]:
        """Batches of a bucket, from its longest sequence to its shortest."""
        places = places[np.argsort(-self._longest[places], kind="stable")]
        size, begin = self._whole_batch, 0
        while begin < len(places):
            if self._max_tokens is not None:
                size = min(self._whole_batch, self._max_tokens // int(self._longest[places[begin]]))
            yield places[begin : begin + size]
            begin += size
