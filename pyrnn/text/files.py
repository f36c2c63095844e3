"""Text files of any size, read in chunks: one, several, or folders of them."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from pyrnn._files import nameless_file

#: A file, a folder of files, or several of both.
Source = str | Path | Sequence[str | Path]

_GZIP, _BOM = b"\x1f\x8b", b"\xef\xbb\xbf"
_MOST_BYTES_AT_ONCE = 1 << 20


def read_text(source: Source, *, chunk_characters: int = 1 << 20) -> Iterator[str]:
    r"""The text of files, UTF-8, plain or gzip (by their first bytes, whatever their names), in chunks.

    A chunk ends after a newline where it holds one, else after `chunk_characters`; memory use follows the
    chunk, not the file. "\r\n" becomes "\n", and a byte-order mark is dropped. Several files are joined in
    their order; one that does not end with a newline is given one, so that no line runs from one file into
    the next.

    Args:
        source: a file, a folder or several of both (`text_files`).
        chunk_characters: the longest chunk.

    Raises:
        ValueError: not UTF-8, a NUL byte (a binary file, or UTF-16), damaged gzip, or no text at all; with
            the path and the byte's offset, which in a gzip file counts unpacked bytes. As `text_files`.
        FileNotFoundError, PermissionError: as `open` gives them.

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
    paths = text_files(source)
    last = "\n"
    empty = True
    for path in paths:
        begins = True
        for chunk in _chunks(path, chunk_characters):
            if begins and not last.endswith("\n"):
                yield "\n"
            yield chunk
            last, begins, empty = chunk, False, False
    if empty:
        raise _without_text(paths)


def text_files(source: Source) -> list[Path]:
    """The files of a text in the order in which they are joined.

    A folder stands for all files in it and in its folders, sorted by their paths, but for those whose name
    begins with a dot.

    Args:
        source: a file, a folder, or several of both; what is no folder is taken as it is.

    Raises:
        ValueError: nothing is named, or a folder holds no files.

    Example:
        >>> text_files(["b.txt", "a.txt"])
        [PosixPath('b.txt'), PosixPath('a.txt')]
    """
    named = [source] if isinstance(source, str | Path) else list(source)
    if not named:
        raise ValueError("no text is named: give at least one file")
    return [path for name in named for path in _expanded(Path(name))]


def source_name(source: Source) -> str:
    """A text as messages call it.

    Example:
        >>> source_name(["a.txt", "b.txt"])
        'a.txt, b.txt'
    """
    return str(source) if isinstance(source, str | Path) else ", ".join(map(str, source))


@contextmanager
def spool() -> Generator[Callable[[Source], list[Path]], None, None]:
    r"""Within, a function that makes a text readable as often as one likes, and gives its files.

    A regular file is left where it is. What can be read only once (a pipe, the standard input, what a shell
    makes of `<(...)`) is read to its end, checked as `read_text` does, into a file without a name, which is
    gone afterwards, however the process ends. The same name stands for the same text each time. As among
    regular files, some may be empty, but not all.

    Raises:
        OSError: there is no room for temporary files.
        ValueError, FileNotFoundError: the function, as `read_text`.

    Example:
        >>> with spool() as reusable:
        ...     reusable("a.txt")
        [PosixPath('a.txt')]
    """
    copies: dict[Path, Path] = {}
    with ExitStack() as opened:

        def copy(path: Path) -> Path:
            # One that is not there is for the reader to refuse.
            if not path.exists() or path.is_file():
                return path
            if path not in copies:
                place, file = opened.enter_context(nameless_file())
                _copy(path, file)
                copies[path] = place
            return copies[path]

        def reusable(source: Source) -> list[Path]:
            paths = text_files(source)
            files = [copy(path) for path in paths]
            # Asked here, for the reader would name a copy.
            if files != paths and not any(next(_chunks(file, 1), "") for file in files):
                raise _without_text(paths)
            return files

        yield reusable


def _without_text(paths: Sequence[Path]) -> ValueError:
    what = f"{paths[0]} is" if len(paths) == 1 else f"all of {', '.join(map(str, paths[:5]))} are"
    return ValueError(f"{what} empty: give a file with text")


def _copy(path: Path, to: IO[bytes]) -> None:
    """The bytes of a text, unpacked; refuses what `_decoded` does, and stops there: a pipe may be endless."""

    def copied(blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            to.write(block)
            yield block

    with path.open("rb") as raw:
        for _ in _decoded(copied(_blocks(raw, path, _MOST_BYTES_AT_ONCE)), path):
            pass
    to.flush()


def _expanded(path: Path) -> list[Path]:
    """The files that a path stands for."""
    if not path.is_dir():
        return [path]
    found = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    if not found:
        raise ValueError(f"the folder {path} holds no files: give a folder of text files, or a file")
    return found


def _chunks(path: Path, chunk_characters: int) -> Iterator[str]:
    """The text of one file, as `read_text` cuts it; nothing where it is empty."""
    held = ""
    with path.open("rb") as raw:
        blocks = _blocks(raw, path, min(chunk_characters, _MOST_BYTES_AT_ONCE))
        for piece in _unix_lines(_decoded(blocks, path)):
            held += piece
            begin = 0
            while len(held) - begin >= chunk_characters:
                end = begin + chunk_characters
                end = held.rfind("\n", begin, end) + 1 or end
                yield held[begin:end]
                begin = end
            held = held[begin:]
    if held:
        yield held


def _decoded(blocks: Iterator[bytes], path: Path) -> Iterator[str]:
    """The text that the blocks of a file hold, block by block; refuses what is not text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for block in blocks:
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
