"""Files of word vectors that other programs write, read row by row and not trusted.

    word2vec         a line "N D", then for each word a line of the word and D numbers; fastText's .vec, too
    word2vec-binary  a line "N D", then for each word its bytes, a space and D numbers of float32
    glove            the lines of `word2vec` without the first
    fasttext         a model of the program fastText, see `pyrnn.embeddings.fasttext`

Any of them may be packed by gzip. In text a word ends at the last space before its D numbers, so it may hold
spaces itself.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyrnn.embeddings._rows import (
    AGAIN,
    LONGEST_WORD,
    READ_BYTES,
    RawRows,
    VectorFile,
    binary_rows,
    read_line,
    shown,
    text_rows,
    trailing_numbers,
)
from pyrnn.embeddings.configs import FileFormat, Reading
from pyrnn.embeddings.neighbours import LARGEST

#: Of a model of fastText.
MAGIC = (793712314).to_bytes(4, "little")
_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_HEADER = re.compile(rb"\s*(-?\d+)[ \t]+(-?\d+)\s*")
_MOST_WORDS, MOST_DIMENSIONS = (1 << 31) - 1, 1 << 16


class Rows(NamedTuple):
    """Some words of a file, in its order: their bytes of UTF-8, and [n, D] numbers."""

    words: list[bytes]
    matrix: NDArray[np.float32]


@contextmanager
def open_rows(path: Path, how: Reading) -> Generator[tuple[int, Iterator[Rows]], None, None]:
    r"""Open a file of vectors: their dimension D, and their rows in blocks; memory follows the block.

    Args:
        path: the file.
        how: how to read it.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: here or while the rows are read: an empty file, a header that is none or tells another
            number of words or numbers than there are, a row of another length, a number that is none, is not
            finite or is beyond 1e16, a word that is not UTF-8 or came before, damaged gzip, or a file that
            goes on behind its end. The message names file and line and says what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "vectors.txt")
        ...     _ = path.write_text("2 3\nto 1 2 3\nbe 4 5 6\n")
        ...     with open_rows(path, Reading()) as (dimension, blocks):
        ...         dimension, [rows.words for rows in blocks]
        (3, [[b'to', b'be']])
    """
    with open_bytes(path) as file:
        found = _opened(path, file, how.format)
        rows = binary_rows if found.format == "word2vec-binary" else text_rows
        yield found.dimension, checked(found, how, rows(found, how.limit))


@contextmanager
def open_bytes(path: Path) -> Generator[io.BufferedReader, None, None]:
    """Open a file for reading, unpacked where it is packed by gzip.

    Raises:
        ValueError: within, damaged gzip.
    """
    with path.open("rb") as raw, _unpacked(path, raw) as file, _telling_gzip(path):
        yield file


@contextmanager
def _unpacked(path: Path, raw: io.BufferedReader) -> Generator[io.BufferedReader, None, None]:
    if raw.peek(len(_GZIP)).startswith(_GZIP):
        with gzip.GzipFile(fileobj=raw) as packed:
            yield io.BufferedReader(packed, READ_BYTES)  # pyright: ignore[reportArgumentType]
    else:
        yield raw


@contextmanager
def _telling_gzip(path: Path) -> Generator[None, None, None]:
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is a damaged gzip file: {error}; {AGAIN}") from error


def _opened(path: Path, file: io.BufferedReader, format: FileFormat | None) -> VectorFile:
    """Read the first line, and find the format where it is not given."""
    if file.peek(len(MAGIC)).startswith(MAGIC):
        raise ValueError(f"{path} is a model of fastText, which is read from a file, not from a pipe")
    if format == "fasttext":
        raise ValueError(f"{path} is no model of fastText, which begins with other bytes: {AGAIN}")
    first = read_line(path, file, 1)
    if not first:
        raise ValueError(f"{path} is empty: give a file with word vectors")
    header = _HEADER.fullmatch(first.removeprefix(_BOM))
    if format == "glove" or (format is None and header is None):
        dimension = trailing_numbers(first)
        if not dimension:
            raise ValueError(
                f'{path}, line 1 is neither "words dimensions", as of word2vec and fastText, nor a word and '
                f"its numbers, as of GloVe: {shown(first)}"
            )
        return _checked_size(VectorFile(path, file, "glove", None, dimension, first))
    if header is None:
        raise ValueError(
            f'{path}, line 1 should be the numbers of words and of dimensions, as "1000 300", is '
            f"{shown(first)}; a file of GloVe has no such line: read it as glove"
        )
    count, dimension = (int(number[:20]) for number in header.groups())
    found = _checked_size(VectorFile(path, file, format or "word2vec", count, dimension))
    if format is None and _is_binary(file, dimension):
        return replace(found, format="word2vec-binary")
    return found


def _checked_size(found: VectorFile) -> VectorFile:
    if found.count is not None and not 0 < found.count <= _MOST_WORDS:
        raise ValueError(
            f"{found.path}, line 1 tells {found.count:,} words, expected 1 to {_MOST_WORDS:,}: {AGAIN}"
        )
    if not 0 < found.dimension <= MOST_DIMENSIONS:
        raise ValueError(
            f"{found.path}, line 1 tells {found.dimension:,} dimensions, expected 1 to {MOST_DIMENSIONS:,}: "
            f"{AGAIN}"
        )
    return found


def _is_binary(file: io.BufferedReader, dimension: int) -> bool:
    """Whether what follows the header is no line of text."""
    ahead = file.peek(READ_BYTES)
    line, newline, _ = ahead.partition(b"\n")
    if newline and trailing_numbers(line) >= dimension:
        return False
    return any(byte < 32 and byte not in b"\t\r" for byte in line) or not _starts_as_utf8(line)


def _starts_as_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data"
    return True


def checked(found: VectorFile, how: Reading, blocks: Iterable[RawRows]) -> Iterator[Rows]:
    """The rows of a file, whose words are UTF-8 and distinct and whose numbers are some."""
    seen: set[bytes] = set()
    for block in blocks:
        _require_numbers(found, block)
        kept: list[int] = []
        words: list[bytes] = []
        for i, (place, given) in enumerate(zip(block.places, block.words, strict=True)):
            word = _utf8(found, place, given, how)
            if word in seen:
                if how.duplicates == "refuse":
                    raise ValueError(
                        f"{found.at(place)}: {shown(word)} came before: skip such rows (duplicates), or take "
                        "one of them out"
                    )
                continue
            seen.add(word)
            kept.append(i)
            words.append(word)
            if len(seen) == how.limit:
                break
        if words:
            yield Rows(words, block.matrix if len(kept) == len(block.words) else block.matrix[kept])
        if len(seen) == how.limit:
            return


def _require_numbers(found: VectorFile, block: RawRows) -> None:
    right = np.abs(block.matrix) <= LARGEST
    if not right.all():
        row, column = np.argwhere(~right)[0]
        raise ValueError(
            f"{found.at(block.places[row])}: number {column + 1} of {shown(block.words[row])} is "
            f"{block.matrix[row, column]}, not finite or beyond {LARGEST:g}: {AGAIN}"
        )


def _utf8(found: VectorFile, place: int, word: bytes, how: Reading) -> bytes:
    if not 0 < len(word) <= LONGEST_WORD:
        raise ValueError(
            f"{found.at(place)}: a word has 1 to {LONGEST_WORD:,} bytes, got {len(word):,}: {AGAIN}"
        )
    try:
        word.decode()
    except UnicodeDecodeError as error:
        if how.invalid == "replace":
            return word.decode(errors="replace").encode()
        raise ValueError(
            f"{found.at(place)}: the word {shown(word)} is not UTF-8 ({error.reason}): convert the file, or "
            "have such bytes replaced (invalid)"
        ) from None
    return word
