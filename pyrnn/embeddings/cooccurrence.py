"""Counts of pairs of tokens that stand near each other, as a file.

Dimension key: N tokens, V vocabulary, P pairs.
"""

from __future__ import annotations

import os
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrnn import _native
from pyrnn._configuration import LARGEST
from pyrnn._files import atomic_write, open_regular

#: A count as the file holds it.
PAIR = np.dtype([("row", "<i4"), ("column", "<i4"), ("count", "<f8")])

_AT_ONCE = 1 << 16  # pairs
_LEAST_MIB = 1 / 16
_WIDEST = 1 << 16

Sides = Literal["both", "left"]
Weighting = Literal["harmonic", "flat"]


def count_cooccurrences(
    chunks: Iterable[Tensor],
    to: str | Path,
    *,
    vocabulary_size: int,
    window: int = 10,
    sides: Sides = "both",
    weighting: Weighting = "harmonic",
    memory_mib: float = 512.0,
) -> Cooccurrences:
    """Count pairs of tokens into the file `to`, which appears whole or not at all.

    X_ij = sum over the places t of i and s of j within one sentence, 0 < t - s <= window, of 1 / (t - s);
    a symmetric count has |t - s| in the place of t - s.

    The counts are sums of integers, multiples of 1 / lcm(1..window), so they are exact, and the same for any
    `memory_mib`; with a window above 22 each 1 / (t - s) is rounded to a multiple of 2^-32. Where memory does
    not hold all pairs, sorted runs of them go to a temporary file without a name in the folder of `to`, and
    are merged in the end.
    Source: Pennington, Socher and Manning, "GloVe: Global vectors for word representation", 2014, 4.2.

    Args:
        chunks: the text as ids [N_i] in [0, V], one after another; V ends a sentence, and no pair reaches
            across. Counting is fastest where the smallest ids are the most frequent tokens.
        to: the file. Its pairs have no order; (i, j) and (j, i) are two.
        vocabulary_size: V.
        window: how far two tokens of a pair may stand apart.
        sides: "both" counts a pair both ways round; "left" only the earlier token as column j of the later i.
        weighting: "harmonic" as above; "flat" counts every pair as one.
        memory_mib: memory for counts, in MiB.

    Raises:
        ValueError: an empty text, no two tokens in one sentence, an id outside the vocabulary, a chunk that
            is no vector of integers, or a setting out of its range.
        OverflowError: one pair's count leaves 64 bits.
        OSError: a folder cannot be written, or a disk is full.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = [torch.tensor([0, 1, 2, 3, 1])]
        ...     found = count_cooccurrences(text, Path(folder, "pairs.bin"), vocabulary_size=3, window=2)
        ...     found.to_dense()
        tensor([[0.0000, 1.0000, 0.5000],
                [1.0000, 0.0000, 1.0000],
                [0.5000, 1.0000, 0.0000]], dtype=torch.float64)
    """
    _check(vocabulary_size, window, sides, weighting, memory_mib)
    memory = int(memory_mib * 2**20)
    to = Path(to)
    with (
        tempfile.TemporaryFile(dir=to.parent) as spills,
        atomic_write(to) as partial,
        partial.open("wb") as file,
    ):
        counter = _native.cpu.CooccurrenceCounter(
            vocabulary_size, window, sides == "both", weighting == "harmonic", memory, spills.fileno()
        )
        for chunk in chunks:
            ids = _as_ids(chunk)
            counter.add(ids.ctypes.data, len(ids))
        counter.finish()
        if not _write(counter, file):
            raise ValueError(
                f"a text of {counter.tokens:,} tokens has no two of them in one sentence: no pair to count"
                if counter.tokens
                else "there are no tokens to count: the text is empty"
            )
    return Cooccurrences(to, vocabulary_size)


def _check(vocabulary_size: int, window: int, sides: str, weighting: str, memory_mib: float) -> None:
    if not 1 <= vocabulary_size < 2**31 - 1:
        raise ValueError(f"vocabulary_size must lie in [1, 2^31 - 1), got {vocabulary_size}")
    if not 1 <= window <= _WIDEST:
        raise ValueError(f"window must lie in [1, {_WIDEST}], got {window}")
    if sides not in ("both", "left"):
        raise ValueError(f"sides must be 'both' or 'left', got {sides!r}")
    if weighting not in ("harmonic", "flat"):
        raise ValueError(f"weighting must be 'harmonic' or 'flat', got {weighting!r}")
    if not _LEAST_MIB <= memory_mib <= LARGEST / 2**20:
        raise ValueError(f"memory_mib must be at least {_LEAST_MIB}, got {memory_mib}")


def _as_ids(chunk: Tensor) -> NDArray[np.int32]:
    if chunk.dim() != 1 or chunk.is_floating_point() or chunk.is_complex() or chunk.dtype == torch.bool:
        raise ValueError(
            f"ids must be vectors of integers [N], got {chunk.dtype} of shape {list(chunk.shape)}"
        )
    if chunk.dtype != torch.int32 and chunk.numel():
        least, most = int(chunk.min()), int(chunk.max())
        if least < 0 or most >= 2**31:
            raise ValueError(f"ids must lie in [0, 2^31), got {least} to {most}")
    return np.ascontiguousarray(chunk.cpu().numpy(), dtype=np.int32)


def _write(counter: _native.cpu.CooccurrenceCounter, file: IO[bytes]) -> int:
    """Write what was counted, and tell how many pairs that is."""
    pairs, count = np.empty(_AT_ONCE, PAIR), 0
    while found := counter.take(pairs.ctypes.data, len(pairs)):
        file.write(pairs[:found].tobytes())
        count += found
    return count


class Cooccurrences:
    """The counts of a file that `count_cooccurrences` wrote; they are read when they are asked for.

    The order of the pairs looks random and is the same for the same counts.

    Args:
        path: the file.
        vocabulary_size: V.

    Attributes:
        path, vocabulary_size: as given.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: the file holds no pairs.

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "pairs.bin")
        ...     _ = count_cooccurrences([torch.tensor([0, 1])], path, vocabulary_size=2, sides="left")
        ...     pairs = Cooccurrences(path, 2)
        >>> len(pairs), pairs.read(0, 1).tolist()
        (1, [(1, 0, 1.0)])
    """

    def __init__(self, path: str | Path, vocabulary_size: int) -> None:
        self.path, self.vocabulary_size = Path(path), vocabulary_size
        with open_regular(self.path) as file:
            self._file = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._file)
        size = os.fstat(self._file).st_size
        if not size or size % PAIR.itemsize:
            raise ValueError(
                f"{path} is no file of counts: expected pairs of {PAIR.itemsize} bytes and not none, got "
                f"{size} bytes; count again"
            )
        self._pairs = size // PAIR.itemsize

    def __len__(self) -> int:
        """P."""
        return self._pairs

    def read(self, begin: int, count: int) -> NDArray[np.void]:
        """Pairs from number `begin` on, an array of `PAIR` of the length `count`, or fewer at the end.

        Raises:
            ValueError: the file has become shorter, or what is read are no pairs of the vocabulary.
        """
        pairs = np.empty(max(0, min(count, len(self) - begin)), PAIR)
        view, place = pairs.view(np.uint8).data, begin * PAIR.itemsize
        while view:
            if not (found := os.preadv(self._file, [view], place)):
                raise ValueError(f"{self.path} became shorter while it was in use: count again")
            view, place = view[found:], place + found
        self._check(pairs)
        return pairs

    def _check(self, pairs: NDArray[np.void]) -> None:
        ids, counts = pairs.view("<u4").reshape(-1, 4)[:, :2], pairs["count"]  # a negative id is a large one
        if not len(pairs) or (
            ids.max() < self.vocabulary_size and counts.min() > 0 and counts.max() < np.inf
        ):
            return
        raise ValueError(
            f"{self.path} is damaged: ids must lie in [0, {self.vocabulary_size}), and counts be above 0 and "
            "finite; count again"
        )

    def blocks(self) -> Iterator[NDArray[np.void]]:
        """All pairs."""
        return (self.read(begin, _AT_ONCE) for begin in range(0, len(self), _AT_ONCE))

    def to_dense(self) -> Tensor:
        """X [V, V] float64, for vocabularies of which memory holds that much."""
        V = self.vocabulary_size
        X = torch.zeros(V, V, dtype=torch.float64)
        for pairs in self.blocks():
            X[pairs["row"].astype(np.int64), pairs["column"].astype(np.int64)] = torch.from_numpy(
                pairs["count"].copy()
            )
        return X


class PairBatches:
    """The pairs of a file in blocks, each epoch in another order: `pyrnn.train.Batches`.

    An epoch reads every block once, in an order that is a function of seed and epoch, and `Glove` shuffles
    the pairs of a block by the seed that comes with it. As the file's own order is a random one, a block is a
    random sample of the pairs.

    Args:
        pairs: the counts.
        seed: of the order.
        block: pairs of one.

    Attributes:
        batch_size: the pairs of a block.

    Raises:
        ValueError: a block of no pairs, or a seed outside [0, 2^64).

    Example:
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = [torch.arange(5)]
        ...     pairs = count_cooccurrences(text, Path(folder, "pairs.bin"), vocabulary_size=5, window=1)
        ...     batches = PairBatches(pairs, seed=1, block=3)
        ...     len(pairs), len(batches), sum(len(batches[step]["pairs"]) for step in range(3))
        (8, 3, 8)
    """

    def __init__(self, pairs: Cooccurrences, *, seed: int, block: int = 1 << 18) -> None:
        if block < 1:
            raise ValueError(f"a block must have at least one pair, got {block}")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed must lie in [0, 2^64), got {seed}")
        self.pairs, self.batch_size, self._seed = pairs, block, seed
        self._order: tuple[int, NDArray[np.int64], NDArray[np.int64]] | None = None  # of the last epoch asked

    def __len__(self) -> int:
        """Blocks."""
        return -(-len(self.pairs) // self.batch_size)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Block step % len of epoch step // len: "pairs" [P, 16] uint8, and "order", an int64 scalar."""
        if step < 0:
            raise IndexError(f"a step is counted from 0, got {step}")
        epoch, index = divmod(step, len(self))
        if self._order is None or self._order[0] != epoch:
            random = np.random.Generator(np.random.Philox(key=[self._seed, epoch]))
            self._order = epoch, random.permutation(len(self)), random.integers(2**63, size=len(self))
        _, places, orders = self._order
        pairs = self.pairs.read(int(places[index]) * self.batch_size, self.batch_size)
        rows = torch.from_numpy(pairs.view(np.uint8).reshape(-1, PAIR.itemsize))
        return {"pairs": rows, "order": torch.tensor(int(orders[index]))}

    def shard(self, rank: int, world: int) -> PairBatches:
        """The same batches: the updates of several processes cannot be added up.

        Raises:
            ValueError: more than one process.
        """
        if (rank, world) != (0, 1):
            raise ValueError(f"counts are trained on by one process, with any number of threads, got {world}")
        return self
