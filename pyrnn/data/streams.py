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

from pyrnn.data.batches import require_even_shares
from pyrnn.data.token_file import TokenFile, windows
from pyrnn.losses import IGNORE

AnyIds = TypeVar("AnyIds", Tensor, TokenFile)


class StreamBatches:
    """Windows of input and next-token target over `batch_size` parallel streams.

    The N - 1 pairs (token, next token) of a text are cut into B contiguous streams whose lengths differ by
    at most one, and each pair occurs exactly once. Where the last step has no pair for a stream, its target
    is `IGNORE`.

    Args:
        ids: [N] integers on any device, or a file of them (`open_tokens`), of which only a window's tokens
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
        >>> batches[0]["input"].T.tolist(), batches[0]["target"].T.tolist()
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
        whole, longer = divmod(self.pairs, batch_size)
        self._device = ids.device if isinstance(ids, Tensor) else torch.device("cpu")
        stream = torch.arange(batch_size, device=self._device)
        self._starts = stream * whole + stream.clamp(max=longer)
        self._lengths = whole + (stream < longer).long()
        self._steps, self._steps_of_all = whole + (longer > 0), whole

    def __len__(self) -> int:
        """Windows in one pass over the text."""
        return -(-self._steps // self.window)

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        """Window step % len as "input" and "target", both [T, B] int64: every epoch reads the same ones."""
        if step < 0:
            raise IndexError(f"a step is counted from 0, got {step}")
        begin, end = self._span(step % len(self))
        first = (self._starts + begin).clamp(max=self.pairs - 1)
        rows = windows(self.ids, first, end - begin + 1).long()
        if end <= self._steps_of_all:
            return {"input": rows[:-1], "target": rows[1:]}
        time = torch.arange(begin, end, device=self._device).unsqueeze(1)
        place = (self._starts + time).clamp(max=self.pairs - 1) - first
        target = rows.gather(0, place + 1).masked_fill(time >= self._lengths, IGNORE)
        return {"input": rows.gather(0, place), "target": target}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        """One epoch."""
        return (self[step] for step in range(len(self)))

    def _span(self, index: int) -> tuple[int, int]:
        """The steps [begin, end) of window `index`."""
        begin = index * self.window
        return begin, min(begin + self.window, self._steps)

    def steps_read(self, count: int) -> int:
        """Steps of each stream in the first `count` windows of an epoch.

        Example:
            >>> StreamBatches(torch.arange(10), batch_size=2, window=4).steps_read(2)
            5
        """
        return min(count * self.window, self._steps)

    def shard(self, rank: int, world: int) -> StreamBatches:
        """The part of the same windows that process `rank` of `world` reads.

        Its streams are the columns [rank * B / world, (rank + 1) * B / world): the shards side by side are
        these batches.

        Raises:
            ValueError: `rank` outside [0, world), or the streams do not divide evenly.

        Example:
            >>> batches = StreamBatches(torch.arange(9), batch_size=2, window=2)
            >>> batches.shard(1, 2)[0]["input"].T.tolist()
            [[4, 5]]
        """
        if not 0 <= rank < world:
            raise ValueError(f"rank must lie in [0, world), got rank {rank} of {world}")
        require_even_shares(self.batch_size, world)
        part = copy.copy(self)
        part.batch_size = self.batch_size // world
        columns = slice(rank * part.batch_size, (rank + 1) * part.batch_size)
        part._starts, part._lengths = self._starts[columns], self._lengths[columns]
        return part


def require_a_window(tokens: int, *, batch_size: int, window: int, text: str = "the text") -> None:
    """Refuse a text of so many tokens that cannot fill one window of all streams.

    Example:
        >>> require_a_window(65, batch_size=4, window=16)
        >>> require_a_window(64, batch_size=4, window=16)
        Traceback (most recent call last):
        ValueError: the text has 64 tokens, too few for one window: 4 streams of 16 steps need 65; ...
    """
    if tokens - 1 < batch_size * window:
        raise ValueError(
            f"{text} has {tokens} tokens, too few for one window: {batch_size} streams of "
            f"{window} steps need {batch_size * window + 1}; "
            "give a longer text, or a smaller batch or window"
        )


def split_validation(ids: AnyIds, fraction: float = 0.1) -> tuple[AnyIds, AnyIds]:
    """Cut `ids` [N] into a training part and the last `fraction` of it for validation.

    Raises:
        ValueError: a fraction outside (0, 1).

    Example:
        >>> import torch
        >>> split_validation(torch.arange(5), 0.4)
        (tensor([0, 1, 2]), tensor([3, 4]))
    """
    cut = len(ids) - validation_tokens(len(ids), fraction)
    return ids[:cut], ids[cut:]


def validation_tokens(tokens: int, fraction: float) -> int:
    """How many of a text's tokens `split_validation` keeps for validation.

    Example:
        >>> validation_tokens(1000, 0.1)
        100
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the validation fraction must lie between 0 and 1, got {fraction}")
    return round(tokens * fraction)
