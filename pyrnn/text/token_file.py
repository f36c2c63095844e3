"""An encoded text as a file: ids one after another, read through a memory map."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from pyrnn._files import replacing
from pyrnn.text.files import read_text
from pyrnn.text.tokenizer import Tokenizer

_BYTES_AN_ID = 4
_LARGEST_ID = (1 << 31) - 1
_IDS_AT_ONCE = 1 << 20


def write_tokens(path: str | Path, chunks: Iterable[Tensor]) -> int:
    """Write ids as little-endian int32 in the place of `path`; the file appears whole or not at all.

    Args:
        path: where to.
        chunks: [N_i] integers each, in order.

    Returns:
        How many ids were written.

    Raises:
        ValueError: a chunk that is not a vector of integers, an id outside [0, 2**31), or no ids at all.
        OSError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     count = write_tokens(Path(folder, "tokens.bin"), [torch.tensor([2, 0]), torch.tensor([1])])
        ...     count, open_tokens(Path(folder, "tokens.bin"), 3).tolist()
        (3, [2, 0, 1])
    """
    count = 0
    with replacing(Path(path)) as partial:
        with partial.open("wb") as file:
            for ids in chunks:
                if ids.dim() != 1 or ids.is_floating_point() or ids.is_complex():
                    raise ValueError(
                        f"ids must be vectors of integers [N], got {ids.dtype} of shape {list(ids.shape)}"
                    )
                if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) > _LARGEST_ID):
                    raise ValueError(
                        f"ids must lie in [0, 2**31), got {int(ids.min())} to {int(ids.max())} in one chunk"
                    )
                file.write(ids.cpu().numpy().astype("<i4").tobytes())
                count += len(ids)
        if not count:
            raise ValueError(f"there are no symbols to write to {path}: the text is empty")
    return count


def open_tokens(path: str | Path, vocabulary_size: int) -> Tensor:
    """The ids of a file that `write_tokens` made, [N] int32, memory-mapped: pages are read as they are used.

    Writing to the tensor does not change the file. Every id is checked once, in blocks.

    Args:
        path: the file.
        vocabulary_size: V.

    Raises:
        ValueError: an empty file, a size that is not a multiple of four bytes, or an id outside [0, V).
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
    """
    path = Path(path)
    # torch gives a RuntimeError for a file that is missing or a folder; `open` says which.
    with path.open("rb"):
        size = path.stat().st_size
    if size == 0 or size % _BYTES_AN_ID:
        raise ValueError(
            f"{path} is not a file of tokens: expected int32 ids, a multiple of four bytes and not none, "
            f"got {size} bytes; encode the text again"
        )
    ids = torch.from_file(str(path), shared=False, size=size // _BYTES_AN_ID, dtype=torch.int32)
    for number, block in enumerate(ids.split(_IDS_AT_ONCE)):
        lowest, highest = (int(bound) for bound in block.aminmax())
        if lowest < 0 or highest >= vocabulary_size:
            place = int(((block < 0) | (block.long() >= vocabulary_size)).nonzero()[0])
            raise ValueError(
                f"{path}: ids must lie in [0, {vocabulary_size}), got {int(block[place])} at position "
                f"{number * _IDS_AT_ONCE + place}; encode the text again with this vocabulary"
            )
    return ids


def encode_file(
    path: str | Path, tokenizer: Tokenizer, to: str | Path, *, chunk_characters: int = 1 << 20
) -> int:
    """Write the ids of the text file `path` to the token file `to`, a chunk at a time.

    The same ids as `tokenizer.encode` of the whole text, in memory that follows the chunk.

    Args:
        path: UTF-8 text, plain or gzip, as `read_text` reads it.
        tokenizer: gives the ids.
        to: the token file.
        chunk_characters: the longest chunk.

    Returns:
        How many ids were written.

    Raises:
        ValueError: as of `read_text`, `tokenizer.encode` and `write_tokens`.
    """
    return write_tokens(to, tokenizer.encode_chunks(read_text(path, chunk_characters=chunk_characters)))
