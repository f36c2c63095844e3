"""Contiguous-stream batching: a long text cut into B streams that are read side by side, window after window.

Row b of a window continues row b of the window before it, so a recurrent state can be carried from one to the
next.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import Tensor

from pyrnn.text.token_file import TokenFile, windows

AnyIds = TypeVar("AnyIds", Tensor, TokenFile)

#: Target that carries no loss; the default `ignore_index` of `torch.nn.functional.cross_entropy`.
IGNORE = -100


class StreamBatches:
    """Windows of input and next-symbol target over `batch_size` parallel streams.

    The N - 1 pairs (symbol, next symbol) of a text are cut into B contiguous streams whose lengths differ by
    at most one, and each pair occurs exactly once. Where the last step has no pair for a stream, its target
    is `IGNORE`.

    Args:
        ids: [N] integers on any device, or a file of them (`open_tokens`), of which only a window's symbols
            are read at a time.
        batch_size: streams B.
        window: time steps T of a window; the last window may be shorter.

    Attributes:
        pairs: N - 1, in a shard too.
        batch_size: streams here: B, in a shard its part of them.
        window: as given.

    Raises:
        ValueError: `ids` not one-dimensional, sizes below one, or a text too short to fill one window.

    Example:
        >>> batches = StreamBatches(torch.arange(9), batch_size=2, window=2)
        >>> len(batches)
        2
        >>> inputs, targets = batches[0]
        >>> inputs.T.tolist(), targets.T.tolist()
        ([[0, 1], [4, 5]], [[1, 2], [5, 6]])
    """

    def __init__(self, ids: Tensor | TokenFile, *, batch_size: int, window: int) -> None:
        if isinstance(ids, Tensor) and (ids.dim() != 1 or ids.is_floating_point()):
            raise ValueError(
                f"ids must be a vector of integers [N], got {ids.dtype} of shape {list(ids.shape)}"
            )
        if batch_size < 1 or window < 1:
            raise ValueError(f"batch_size and window must be at least 1, got {batch_size} and {window}")
        text = str(ids.path) if isinstance(ids, TokenFile) else "the text"
        require_a_window(len(ids), batch_size=batch_size, window=window, text=text)
        self.pairs = len(ids) - 1
        self.ids = ids
        self.batch_size = batch_size
        self.window = window
        self._all_streams = batch_size
        whole, longer = divmod(self.pairs, batch_size)
        self._device = ids.device if isinstance(ids, Tensor) else torch.device("cpu")
        stream = torch.arange(batch_size, device=self._device)
        self._starts = stream * whole + stream.clamp(max=longer)
        self._lengths = whole + (stream < longer).long()
        self._steps, self._steps_of_all = whole + (longer > 0), whole

    def __len__(self) -> int:
        """Windows in one pass over the text."""
        return -(-self._steps // self.window)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(inputs, targets) of window `index`, both [T, B] int64."""
        begin, end = self._span(index)
        first = (self._starts + begin).clamp(max=self.pairs - 1)
        rows = windows(self.ids, first, end - begin + 1).long()
        if end <= self._steps_of_all:
            return rows[:-1], rows[1:]
        time = torch.arange(begin, end, device=self._device).unsqueeze(1)
        place = (self._starts + time).clamp(max=self.pairs - 1) - first
        return rows.gather(0, place), rows.gather(0, place + 1).masked_fill(time >= self._lengths, IGNORE)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return (self[i] for i in range(len(self)))

    def _span(self, index: int) -> tuple[int, int]:
        """The steps [begin, end) of window `index`."""
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} is outside [0, {len(self)})")
        begin = index * self.window
        return begin, min(begin + self.window, self._steps)

    def window_symbols(self, index: int) -> int:
        """Targets of window `index` over all streams, those of other shards included, that are not `IGNORE`.

        Known without reading the text: the number by which the sums of all shards make one mean.

        Raises:
            IndexError: no such window.

        Example:
            >>> StreamBatches(torch.arange(10), batch_size=2, window=4).window_symbols(1)
            1
        """
        begin, end = self._span(index)
        whole, longer = divmod(self.pairs, self._all_streams)
        return (min(end, whole) - begin) * self._all_streams + (longer if end > whole else 0)

    def shard(self, rank: int, world: int) -> StreamBatches:
        """The part of the same windows that process `rank` of `world` reads.

        Its streams are the columns [rank * B / world, (rank + 1) * B / world): the shards side by side are
        these batches.

        Raises:
            ValueError: `rank` outside [0, world), or the streams do not divide evenly.

        Example:
            >>> batches = StreamBatches(torch.arange(9), batch_size=2, window=2)
            >>> batches.shard(1, 2)[0][0].T.tolist()
            [[4, 5]]
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in [0, world), got rank {rank} of {world}")
        require_equal_shares(self.batch_size, world)
        part = copy.copy(self)
        part.batch_size = self.batch_size // world
        columns = slice(rank * part.batch_size, (rank + 1) * part.batch_size)
        part._starts, part._lengths = self._starts[columns], self._lengths[columns]
        return part


def require_a_window(symbols: int, *, batch_size: int, window: int, text: str = "the text") -> None:
    """Refuse a text of so many symbols that cannot fill one window of all streams."""
    if symbols - 1 < batch_size * window:
        raise ValueError(
            f"{text} has {symbols} symbols, too few for one window: {batch_size} streams of "
            f"{window} steps need {batch_size * window + 1}; "
            "give a longer text, or a smaller batch or window"
        )


def require_equal_shares(batch_size: int, world: int) -> None:
    """Refuse streams that `world` processes cannot share evenly."""
    if batch_size % world:
        raise ValueError(
            f"{batch_size} streams cannot be shared evenly by {world} processes: "
            f"choose a batch size that is a multiple of {world}"
        )


def split_validation(ids: AnyIds, fraction: float = 0.1) -> tuple[AnyIds, AnyIds]:
    """Cut `ids` [N] into a training part and the last `fraction` of it for validation.

    Raises:
        ValueError: a fraction outside (0, 1).
    """
    cut = len(ids) - validation_symbols(len(ids), fraction)
    return ids[:cut], ids[cut:]


def validation_symbols(symbols: int, fraction: float) -> int:
    """How many of a text's symbols `split_validation` keeps for validation."""
    if not 0 < fraction < 1:
        raise ValueError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    return round(symbols * fraction)
