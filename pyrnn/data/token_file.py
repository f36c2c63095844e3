"""An encoded text as a file: ids one after another, of which a window at a time is read."""

from __future__ import annotations

import copy
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from pyrnn._files import atomic_write, nameless_file, open_regular
from pyrnn.text.files import Source, read_text
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
        ...     count, Path(folder, "tokens.bin").stat().st_size
        (3, 12)
    """
    with atomic_write(Path(path)) as partial:
        with partial.open("wb") as file:
            count = _write(file, chunks)
        if not count:
            raise ValueError(f"there are no tokens to write to {path}: the text is empty")
    return count


def _write(file: IO[bytes], chunks: Iterable[Tensor]) -> int:
    """Write ids, and tell how many they are."""
    count = 0
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
    return count


class TokenFile:
    """The ids of a file, or a part of them: read when they are asked for, so the file may exceed memory.

    There is no memory map: a file that shrinks under one ends the process without a word. The open file is
    read, also when another one has taken its place. `open_tokens` makes it; `ids[begin:end]` is a part.

    Attributes:
        path: the file's name when it was opened.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = write_tokens(Path(folder, "tokens.bin"), [torch.arange(9)])
        ...     ids = open_tokens(Path(folder, "tokens.bin"), 9)[2:]
        >>> len(ids), ids.windows(torch.tensor([0, 3]), 2).T.tolist()
        (7, [[2, 3], [5, 6]])
    """

    def __init__(self, path: Path, vocabulary_size: int) -> None:
        self.path = path
        self._file = _OpenFile(path)
        self._vocabulary_size = vocabulary_size
        size = os.fstat(self._file.number).st_size
        if size == 0 or size % _BYTES_AN_ID:
            raise ValueError(
                f"{path} is not a file of tokens: expected int32 ids, a multiple of four bytes and not none, "
                f"got {size} bytes; encode the text again"
            )
        self._begin, self._end = 0, size // _BYTES_AN_ID

    def __len__(self) -> int:
        return self._end - self._begin

    def __getitem__(self, part: slice) -> TokenFile:
        begin, end, step = part.indices(len(self))
        if step != 1:
            raise ValueError(f"a part of a file of tokens takes every id, got a step of {step}")
        ids = copy.copy(self)
        ids._begin, ids._end = self._begin + begin, self._begin + max(begin, end)
        return ids

    def blocks(self) -> Iterator[Tensor]:
        """All ids in order, [N_i] int32 each.

        Raises:
            ValueError: as of `windows`.
        """
        for begin in range(0, len(self), _IDS_AT_ONCE):
            count = min(_IDS_AT_ONCE, len(self) - begin)
            yield self.windows(torch.tensor([begin]), count).squeeze(1)

    def windows(self, starts: Tensor, count: int) -> Tensor:
        """The `count` ids from each of `starts` on; where the text ends before, what follows means nothing.

        Args:
            starts: [B] int64 in [0, N].
            count: ids of each.

        Returns:
            [count, B] int32.

        Raises:
            ValueError: the file has become shorter since it was opened, or an id is outside the vocabulary.
        """
        places, wanted, rest = starts.tolist(), _BYTES_AN_ID * count, _BYTES_AN_ID * self._end
        offsets = [_BYTES_AN_ID * (self._begin + place) for place in places]
        parts = [os.pread(self._file.number, min(wanted, rest - offset), offset) for offset in offsets]
        found = b"".join(parts)
        if len(found) < wanted * len(parts):
            self._require_whole(parts, [min(wanted, rest - offset) for offset in offsets])
            found = b"".join(part.ljust(wanted, b"\0") for part in parts)
        rows = np.frombuffer(found, "<i4").reshape(len(places), count)
        if rows.size and rows.view("<u4").max() >= self._vocabulary_size:  # a negative id is a large one here
            self._refuse(rows, places)
        return torch.from_numpy(rows.T.astype(np.int32, order="C"))

    def _require_whole(self, parts: list[bytes], sizes: list[int]) -> None:
        if [len(part) for part in parts] != sizes:
            size = os.fstat(self._file.number).st_size
            raise ValueError(
                f"{self.path} became shorter while it was in use: expected at least {self._end} ids, it has "
                f"{size // _BYTES_AN_ID}; encode the text again"
            )

    def _refuse(self, rows: np.ndarray, places: list[int]) -> NoReturn:
        row, column = np.argwhere((rows < 0) | (rows >= self._vocabulary_size))[0].tolist()
        raise ValueError(
            f"{self.path}: ids must lie in [0, {self._vocabulary_size}), got {rows[row, column]} at position "
            f"{self._begin + places[row] + column}; encode the text again with this vocabulary"
        )


def open_tokens(path: str | Path, vocabulary_size: int) -> TokenFile:
    """The ids of a file that `write_tokens` made; each is checked, in blocks, now and whenever it is read.

    Args:
        path: the file.
        vocabulary_size: V.

    Raises:
        ValueError: an empty file, a size that is not a multiple of four bytes, or an id outside [0, V).
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "tokens.bin")
        ...     _ = write_tokens(path, [torch.tensor([4, 2, 0, 1])])
        ...     len(open_tokens(path, vocabulary_size=5))
        4
    """
    ids = TokenFile(Path(path), vocabulary_size)
    for _ in ids.blocks():
        pass
    return ids


def windows(ids: Tensor | TokenFile, starts: Tensor, count: int) -> Tensor:
    """As `TokenFile.windows`, of a text in memory [N] too; [count, B] on the device of `ids`.

    Example:
        >>> windows(torch.arange(9), torch.tensor([0, 3]), 2).T.tolist()
        [[0, 1], [3, 4]]
    """
    if isinstance(ids, TokenFile):
        return ids.windows(starts, count)
    places = starts + torch.arange(count, device=ids.device).unsqueeze(1)
    return ids[places.clamp(max=len(ids) - 1)]


class _OpenFile:
    """A descriptor that is closed with the last part of the file that uses it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with open_regular(path) as file:
            self.number = os.dup(file.fileno())
        told = os.fstat(self.number)
        self._identity = told.st_dev, told.st_ino
        weakref.finalize(self, os.close, self.number)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process that was not forked opens the file itself: a descriptor's number means nothing there."""
        return _open_again, (self._path, self._identity)


def _open_again(path: Path, identity: tuple[int, int]) -> _OpenFile:
    file = _OpenFile(path)
    if file._identity != identity:
        raise ValueError(f"{path} was replaced while it was in use: start again")
    return file


def encode_file(
    text: Source, tokenizer: Tokenizer, to: str | Path, *, chunk_characters: int = 1 << 20
) -> int:
    """Write the ids of a text to the token file `to`, a chunk at a time.

    The same ids as `tokenizer.encode` of the whole text, in memory that follows the chunk.

    Args:
        text: its files (UTF-8, plain or gzip), as `read_text` reads them: each once.
        tokenizer: gives the ids.
        to: the token file.
        chunk_characters: the longest chunk.

    Returns:
        How many ids were written.

    Raises:
        ValueError: as of `read_text`, `tokenizer.encode` and `write_tokens`.

    Example:
        >>> import tempfile
        >>> from pyrnn.text import train_tokenizer
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = Path(folder, "text.txt")
        ...     _ = text.write_text("to be")
        ...     tokenizer = train_tokenizer(lambda: ["to be"], level="character")
        ...     encode_file(text, tokenizer, Path(folder, "tokens.bin"))
        5
    """
    return write_tokens(to, tokenizer.encode_chunks(read_text(text, chunk_characters=chunk_characters)))


def encoded_text(text: Source, tokenizer: Tokenizer) -> TokenFile:
    """The ids of a text of any length, in a temporary file without a name that goes with them.

    Args:
        text: as `encode_file` takes it.
        tokenizer: gives the ids.

    Raises:
        ValueError: as of `read_text` and `tokenizer.encode`.
        OSError: there is no room for temporary files.

    Example:
        >>> import tempfile
        >>> from pyrnn.text import train_tokenizer
        >>> tokenizer = train_tokenizer(lambda: ["to be"], level="character")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     text = Path(folder, "text.txt")
        ...     _ = text.write_text("to be or not to be")
        ...     len(encoded_text(text, tokenizer))
        18
    """
    with nameless_file() as (path, file):
        _write(file, tokenizer.encode_chunks(read_text(text)))
        file.flush()
        return open_tokens(path, len(tokenizer))
