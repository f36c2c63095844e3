"""The rows of an open file of word vectors, as they stand in it: lines of text, or bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pyrnn._words import counted
from pyrnn.embeddings.configs import FileFormat

LONGEST_WORD = 1 << 16  # bytes
_LONGEST_LINE = 1 << 22
_BLOCK_NUMBERS = 1 << 18  # of the rows that are handed on together
READ_BYTES = 1 << 20
_BINARY = ("word2vec-binary", "fasttext")
AGAIN = "make or fetch the file again"


class RawRows(NamedTuple):
    """Rows as they stand in a file, and where: the numbers of their lines, or of their words."""

    places: list[int]
    words: list[bytes]
    matrix: NDArray[np.float32]


@dataclass
class VectorFile:
    """An open file; `count` and `dimension` are those of its header, a count of None that it has none."""

    path: Path
    file: io.BufferedReader
    format: FileFormat
    count: int | None
    dimension: int
    first: bytes = b""  # a line that was read to find the format, and belongs to the rows

    def at(self, place: int) -> str:
        return f"{self.path}, {'word' if self.format in _BINARY else 'line'} {place:,}"


def text_rows(found: VectorFile, limit: int | None) -> Iterator[RawRows]:
    """Lines of a word and D numbers; a block ends with row `limit`, behind which nothing need be right."""
    most = max(1, _BLOCK_NUMBERS // found.dimension)
    places: list[int] = []
    words: list[bytes] = []
    values: list[list[float]] = []
    number, rows = 1 if found.first else 2, 0
    line = found.first or read_line(found.path, found.file, number)
    while line:
        if line.strip(b"\r\n"):
            rows += 1
            if found.count is not None and rows > found.count:
                raise _another_count(found, f"goes on at line {number:,}")
            word, row = _row(found, number, line)
            places.append(number)
            words.append(word)
            values.append(row)
        if len(words) == most or (words and rows == limit):
            yield RawRows(places, words, _float32(values))
            places, words, values = [], [], []
        number += 1
        line = read_line(found.path, found.file, number)
    if words:
        yield RawRows(places, words, _float32(values))
    if found.count is not None and rows < found.count:
        raise _another_count(found, f"ends after {rows:,}")


def _row(found: VectorFile, number: int, line: bytes) -> tuple[bytes, list[float]]:
    """A line's word and numbers."""
    fields = line.rstrip(b"\r\n ").rsplit(b" ", found.dimension)
    try:
        # Python takes an underscore between digits, which no other program does.
        odd = b"_" in line and any(b"_" in field for field in fields[1:])
        values = [] if odd else list(map(float, fields[1:]))
    except ValueError:
        values = []
    word = fields[0]
    # A word whose last part is a number is a row with one too many.
    split = b" " in word and _number(word.rpartition(b" ")[2]) is not None
    if word and len(values) == found.dimension and not split:
        return word, values
    told = "line 1 has" if found.count is None else "the header tells"
    wrong = next((field for field in line.split()[1:] if _number(field) is None), None)
    if not word:
        raise ValueError(f"{found.at(number)} begins with a space: there is no word; {AGAIN}")
    numbers = trailing_numbers(line)
    if b"\t" in line and numbers == found.dimension:
        raise ValueError(f"{found.at(number)} has tabs between its fields: put spaces there")
    raise ValueError(
        f"{found.at(number)} should end with {counted(found.dimension, 'number')}, as {told}, and has "
        f"{numbers}"
        + (f" ({shown(wrong)} is none)" if wrong is not None and numbers < found.dimension else "")
        + f": {AGAIN}"
    )


def binary_rows(found: VectorFile, limit: int | None) -> Iterator[RawRows]:
    """A word, a space and D numbers of float32 each; blocks as of `text_rows`."""
    assert found.count is not None
    size, most = 4 * found.dimension, max(1, _BLOCK_NUMBERS // found.dimension)
    held, done = b"", 0
    while done < found.count:
        words: list[bytes] = []
        values: list[bytes] = []
        begin = 0
        end = min(done + most, found.count)
        for number in range(done, limit if limit is not None and done < limit < end else end):
            space = held.find(b" ", begin)
            while space < 0 or len(held) < space + 1 + size:
                if space < 0 and len(held) - begin > LONGEST_WORD:
                    raise ValueError(
                        f"{found.at(number + 1)} does not end within {LONGEST_WORD:,} bytes: it is no file "
                        f"of word2vec in binary, or has not the {found.dimension} dimensions of its header; "
                        f"{AGAIN}"
                    )
                more = found.file.read(READ_BYTES)
                if not more:
                    raise _another_count(found, f"ends after {number:,}")
                held, begin = held[begin:] + more, 0
                space = held.find(b" ")
            # The program word2vec ends a row with a newline, others do not.
            words.append(held[begin:space].lstrip(b"\n"))
            values.append(held[space + 1 : space + 1 + size])
            begin = space + 1 + size
        held = held[begin:]
        matrix = np.frombuffer(b"".join(values), dtype="<f4").reshape(len(words), found.dimension)
        yield RawRows(list(range(done + 1, done + 1 + len(words))), words, matrix)
        done += len(words)
    if (held + found.file.read(READ_BYTES)).strip(b"\r\n "):
        raise _another_count(found, "goes on behind them")


def _another_count(found: VectorFile, told: str) -> ValueError:
    return ValueError(
        f"{found.path}: the header tells {found.count:,} words of {found.dimension} numbers, the file "
        f"{told}: {AGAIN}, or read fewer words (limit)"
    )


def read_line(path: Path, file: io.BufferedReader, number: int) -> bytes:
    line = file.readline(_LONGEST_LINE)
    if len(line) == _LONGEST_LINE:
        raise ValueError(
            f"{path}, line {number:,} has more than {_LONGEST_LINE:,} bytes: that is no file of word vectors"
        )
    return line


def _float32(values: list[list[float]]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is too large is refused with its place
        return np.array(values, dtype=np.float64).astype(np.float32)


def trailing_numbers(line: bytes) -> int:
    """How many fields at the end of a line are numbers, all but the first at the most."""
    fields = line.split()
    count = 0
    while count < len(fields) - 1 and _number(fields[-1 - count]) is not None:
        count += 1
    return count


def _number(field: bytes) -> float | None:
    try:
        return None if b"_" in field else float(field)
    except ValueError:
        return None


def shown(text: bytes) -> str:
    whole = text.decode(errors="replace").rstrip()
    return repr(whole if len(whole) <= 60 else whole[:60] + "...")
