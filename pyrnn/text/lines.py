"""Lines of a stream as they come: what is there is read, what is not yet there is waited for."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, NamedTuple, TypeVar

T = TypeVar("T")

_BYTES_AT_ONCE = 1 << 16
LONGEST_LINE = 1 << 24  # bytes: scored, a line takes a few hundred times its length in memory
_END = "\n"
_BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"


class LineReader(Iterator[str]):
    r"""The lines of a stream of UTF-8 without their ends, which may be "\n" or "\r\n".

    A byte-order mark is dropped. A line is given as soon as it is there: `ready` says whether the next one
    is, so that whoever reads may work on many lines at once and yet answer a user who types them.

    Args:
        stream: for instance `sys.stdin.buffer`; also a pipe or a terminal.
        name: what to call it in messages.

    Raises:
        ValueError: while iterating, a line that is not UTF-8 or that has more than `LONGEST_LINE` bytes; the
            message has its number. The lines after it can still be read.

    Example:
        >>> lines = LineReader(io.BytesIO(b"to be\r\n\nor not"))
        >>> list(lines)
        ['to be', '', 'or not']
    """

    def __init__(self, stream: BinaryIO, *, name: str = "standard input") -> None:
        self._stream, self._name = stream, name
        self._whole: deque[bytes] = deque()
        self._rest: list[bytes] = []  # pieces of a line whose end has not come yet
        self._rest_bytes = 0
        self._skips = False  # to the end of a line that is too long
        self._ended = False
        self.number = 0  # of the line that was given last, counted from 1

    def __next__(self) -> str:
        while not self._whole:
            if self._ended:
                raise StopIteration
            self._read()
            if self._rest_bytes > LONGEST_LINE:
                self._keep(b"")
                self._skips = True
                self.number += 1
                raise ValueError(
                    f"{self._name}, line {self.number} has more than {LONGEST_LINE:,} bytes: give a sentence "
                    "a line"
                )
        self.number += 1
        line = self._whole.popleft().removesuffix(b"\r")
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{self._name}, line {self.number} is not UTF-8 at byte {error.start} ({error.reason}); "
                "convert it, for instance with `iconv -f latin1 -t utf-8`"
            ) from None
        return text.removeprefix(_BOM) if self.number == 1 else text

    @property
    def ready(self) -> bool:
        """Whether a line that is not empty, or the end, is there without waiting."""
        return self._ended or any(line.strip() for line in self._whole)

    @property
    def paragraph_ready(self) -> bool:
        """Whether a line and an empty one behind it, or the end, are there without waiting."""
        lines = iter(self._whole)
        return self._ended or (any(map(bytes.strip, lines)) and any(not line.strip() for line in lines))

    def _read(self) -> None:
        """What the stream has, at least a byte of it unless it ends."""
        read = getattr(self._stream, "read1", self._stream.read)
        block = read(_BYTES_AT_ONCE)
        if not block:
            self._ended = True
            if last := b"".join(self._rest):
                self._whole.append(last)
            return
        first, *others = block.split(b"\n")
        if not self._skips:
            self._rest.append(first)
            self._rest_bytes += len(first)
        if others:
            if not self._skips:
                self._whole.append(b"".join(self._rest))
            self._skips = False
            self._whole.extend(others[:-1])
            self._keep(others[-1])

    def _keep(self, rest: bytes) -> None:
        """Begin a line with `rest`."""
        self._rest, self._rest_bytes = [rest], len(rest)


class Line(NamedTuple):
    """A line of a stream, or what is wrong with it.

    Args:
        number: counted from 1.
        text: without its end; empty where it could not be read.
        problem: why it could not be read, and what to do.

    Example:
        >>> Line(3, "to be").problem
        ''
    """

    number: int
    text: str
    problem: str = ""


def numbered_lines(reader: LineReader) -> Iterator[Line]:
    r"""All lines with their numbers; one that cannot be read is no reason to leave the others.

    Example:
        >>> for line in numbered_lines(LineReader(io.BytesIO(b"to be\n\xff\nor"), name="a.txt")):
        ...     print(line.number, line.text or line.problem[:29])
        1 to be
        2 a.txt, line 2 is not UTF-8 at
        3 or
    """
    while (line := _next_line(reader)) is not None:
        yield line


def _next_line(reader: LineReader) -> Line | None:
    try:
        text = next(reader)
    except StopIteration:
        return None
    except ValueError as error:
        return Line(reader.number, "", str(error))
    return Line(reader.number, text)


def as_lines(lines: Iterable[str]) -> LineReader:
    r"""A reader of lines that are in memory; a reader is left as it is.

    Example:
        >>> list(as_lines(["to be\n", "or not"]))
        ['to be', 'or not']
    """
    if isinstance(lines, LineReader):
        return lines
    text = "".join(f"{line.removesuffix(_END)}{_END}" for line in lines)
    return LineReader(io.BytesIO(text.encode("utf-8", "surrogatepass")), name="the text")


def gathered(items: Iterable[T], ready: Callable[[], bool], *, most: int) -> Iterator[list[T]]:
    """`items` in lists: as many as are there without waiting, at most `most`.

    Args:
        items: for instance of the lines of a `LineReader`.
        ready: whether the next item, or the end, is there without waiting.
        most: items of a list.

    Example:
        >>> lines = as_lines("abc")
        >>> list(gathered(lines, lambda: lines.ready, most=2))
        [['a', 'b'], ['c']]
    """
    part: list[T] = []
    for item in items:
        part.append(item)
        if len(part) == most or not ready():
            yield part
            part = []
    if part:
        yield part
