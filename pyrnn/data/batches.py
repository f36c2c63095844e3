"""What every kind of batches has in common: `pyrnn.train.Batches` is the protocol."""

from __future__ import annotations


def require_even_shares(batch_size: int, shards: int) -> None:
    """Refuse a batch that cannot be shared evenly.

    Raises:
        ValueError: `batch_size` is no multiple of `shards`.

    Example:
        >>> require_even_shares(8, 4)
    """
    if batch_size % shards:
        raise ValueError(
            f"a batch of {batch_size} cannot be shared evenly by {shards} processes or parts: choose a "
            f"batch_size that is a multiple of {shards}"
        )
