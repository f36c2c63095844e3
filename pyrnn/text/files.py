"""Text files of any size, read in chunks."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_MOST_BYTES_AT_ONCE = 1 << 20


def read_text(path: str | Path, *, chunk_characters: int = 1 << 20) -> Iterator[str]:
    r"""The text of a file, UTF-8, plain or gzip (by its first bytes, whatever its name), in chunks.

    A chunk ends after a newline where it holds one, else after `chunk_characters`; memory use follows the
    chunk, not the file. "\r\n" becomes "\n", and a byte-order mark is dropped.

    Args:
        path: the file.
        chunk_characters: the longest chunk.

    Raises:
        ValueError: not UTF-8, a NUL byte (a binary file, or UTF-16), damaged gzip, or no text at all; with
            the path and the byte's offset, which in a gzip file counts unpacked bytes.
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "lines.txt")
        ...     _ = path.write_bytes(b"to be\r\nor not\r\nto be\r\n")
        ...     list(read_text(path, chunk_characters=14))
        ['to be\nor not\n', 'to be\n']
    """
    if chunk_characters < 1:
        raise ValueError(f"chunk_characters must be at least 1, got {chunk_characters}")
    path = Path(path)
    held, empty = "", True
    with path.open("rb") as raw:
        for piece in _unix_lines(_decoded(raw, path, min(chunk_characters, _MOST_BYTES_AT_ONCE))):
            held += piece
            begin = 0
            while len(held) - begin >= chunk_characters:
                end = begin + chunk_characters
                end = held.rfind("\n", begin, end) + 1 or end
                yield held[begin:end]
                begin, empty = end, False
            held = held[begin:]
    if held:
        yield held
    elif empty:
        raise ValueError(f"{path} is empty: give a file with text")


def _decoded(raw: BufferedReader, path: Path, size: int) -> Iterator[str]:
    """The file's text, at most `size` bytes of it at a time; refuses what is not text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for block in _blocks(raw, path, size):
        if offset == 0 and block.startswith(_BOM):
            offset, block = len(_BOM), block[len(_BOM) :]
        if (nul := block.find(b"\0")) >= 0:
            raise ValueError(
                f"{path} is not a text file: NUL at byte offset {offset + nul}; "
                "give plain text in UTF-8 (UTF-16 has to be converted first)"
            )
        held = len(decoder.getstate()[0])
        try:
            yield decoder.decode(block)
        except UnicodeDecodeError as error:
            raise _not_utf8(path, offset - held + error.start, error) from None
        offset += len(block)
    held = len(decoder.getstate()[0])
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, offset - held + error.start, error) from None


def _blocks(raw: BufferedReader, path: Path, size: int) -> Iterator[bytes]:
    """The file's bytes, unpacked where they are gzip; the first block has room for a byte-order mark."""
    # A peek, not a seek: a pipe has no way back.
    packed = raw.peek(len(_GZIP)).startswith(_GZIP)
    file = gzip.GzipFile(fileobj=raw) if packed else raw
    try:
        block = file.read(max(size, len(_BOM)))
        while block:
            yield block
            block = file.read(size)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}; make or fetch it again") from error


def _unix_lines(pieces: Iterator[str]) -> Iterator[str]:
    r"""`pieces` with "\r\n" as "\n", also where one ends between the two."""
    held = ""
    for piece in pieces:
        text = held + piece
        held = "\r" if text.endswith("\r") else ""
        yield text[: len(text) - len(held)].replace("\r\n", "\n")
    yield held


def _not_utf8(path: Path, offset: int, error: UnicodeDecodeError) -> ValueError:
    return ValueError(
        f"{path} is not UTF-8 at byte offset {offset} ({error.reason}); convert it, for instance with "
        "`iconv -f latin1 -t utf-8`"
    )
