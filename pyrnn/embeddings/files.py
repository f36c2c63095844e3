"""Word vectors from and into files of any format, and from one into another."""

from __future__ import annotations

import gzip
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from pyrnn._files import atomic_write, nameless_file
from pyrnn.embeddings.configs import FORMATS, VECTORS, Format, Reading, Target
from pyrnn.embeddings.fasttext import is_fasttext, read_fasttext
from pyrnn.embeddings.formats import Rows, open_rows
from pyrnn.embeddings.neighbours import blocks_of
from pyrnn.embeddings.stored import VectorWriter, open_stored, writing
from pyrnn.embeddings.vectors import WordVectors

_SUFFIXES: dict[str, Target] = {".txt": "word2vec", ".vec": "word2vec", ".bin": "word2vec-binary"}


def open_vectors(path: str | Path, how: Reading | None = None) -> WordVectors:
    r"""Word vectors from wherever they are: a folder of `WordVectors.save`, or a file of another program.

    A folder is mapped into memory, which takes no time; a file is read whole.

    Args:
        path: the folder or file.
        how: how a file is read; None: its format is found, and nothing is left out or replaced.

    Raises:
        FileNotFoundError: there is nothing, or a folder without vectors.
        ValueError: a damaged file; the message names it and what to do.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "glove.txt")
        ...     _ = path.write_text("to 1 2 3\nbe 4 5 6\n")
        ...     open_vectors(path)["be"]
        tensor([4., 5., 6.])
    """
    path = Path(path)
    if path.is_dir():
        if not (path / VECTORS).exists():
            raise FileNotFoundError(
                f"the folder {path} holds no word vectors ({VECTORS}): give one that `pyrnn vectors convert` "
                "or a training of word vectors wrote, or a file of word2vec, GloVe or fastText"
            )
        return WordVectors.load(path)
    if is_fasttext(path):
        return read_fasttext(path, how)
    with open_rows(path, how or Reading()) as (_, blocks):
        rows = list(blocks)
    words = [word.decode() for block in rows for word in block.words]
    return WordVectors(words, torch.from_numpy(np.concatenate([block.matrix for block in rows])))


class SelectedVectors(NamedTuple):
    """The vectors of some of a list of words.

    Args:
        numbers: [n] int64, which of the words have one.
        matrix: [n, D] float32, theirs.

    Example:
        >>> SelectedVectors(torch.tensor([0]), torch.ones(1, 2)).matrix.shape
        torch.Size([1, 2])
    """

    numbers: Tensor
    matrix: Tensor


def select_vectors(
    source: str | Path | WordVectors, words: Sequence[str], how: Reading | None = None
) -> SelectedVectors:
    r"""The vectors of those of the words that have one, as they are spelled or else in small letters.

    Memory follows the words, not the file. With vectors of n-grams every word has one that is long enough.

    Args:
        source: as of `open_vectors`, or vectors.
        words: the words.
        how: as of `open_vectors`.

    Raises:
        FileNotFoundError, ValueError: as `open_vectors`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "glove.txt")
        ...     _ = path.write_text("to 1 2 3\nbe 4 5 6\n")
        ...     select_vectors(path, ["<unk>", "Be"])
        SelectedVectors(numbers=tensor([1]), matrix=tensor([[4., 5., 6.]]))
    """
    spellings = {spelling for word in words for spelling in (word, word.lower())}
    vectors = _whole(source, how)
    if vectors is not None:
        dimension = vectors.dimension
        rows = {spelling: vectors.vector(spelling) for spelling in spellings if spelling in vectors}
        if vectors.ngrams is not None:
            unseen = [word for word in words if word not in rows and word.lower() not in rows]
            rows |= {word: row for word in unseen if (row := vectors.ngrams.vector(word)) is not None}
    else:
        assert not isinstance(source, WordVectors)
        rows = {}
        wanted = {spelling.encode() for spelling in spellings}
        with open_rows(Path(source), how or Reading()) as (dimension, blocks):
            for block in blocks:
                for word, row in zip(block.words, block.matrix, strict=True):
                    if word in wanted:
                        rows[word.decode()] = torch.from_numpy(row.copy())
    found = [(i, rows.get(word, rows.get(word.lower()))) for i, word in enumerate(words)]
    kept = [(i, row) for i, row in found if row is not None]
    numbers = torch.tensor([i for i, _ in kept], dtype=torch.int64)
    return SelectedVectors(
        numbers, torch.stack([row for _, row in kept]) if kept else torch.empty(0, dimension)
    )


def write_vectors(vectors: WordVectors, path: str | Path, format: Format) -> None:
    """Write a file of another program's format, whole or not at all; with suffix .gz it is packed.

    Numbers in text have nine digits, which give the same float32 again. Vectors of n-grams have no place in
    these formats and are left out.

    Args:
        vectors: what to write.
        path: the file.
        format: "word2vec", which is fastText's .vec, too, "word2vec-binary" or "glove".

    Raises:
        ValueError: another format, or a word with white space, where these formats end a word.
        OSError: the file cannot be written; an old one stays.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a.vec")
        ...     write_vectors(WordVectors.from_arrays(["to", "be"], np.eye(2)), path, "word2vec")
        ...     print(path.read_text(), end="")
        2 2
        to 1 0
        be 0 1
    """
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, got {format!r}")
    path = Path(path)
    _ = vectors.inverse_lengths  # refuses numbers that are none
    line = " ".join(["%.9g"] * vectors.dimension)
    with atomic_write(path) as partial, _writable(partial, packed=path.suffix == ".gz") as file:
        if format != "glove":
            file.write(b"%d %d\n" % (len(vectors), vectors.dimension))
        for part in blocks_of(vectors.matrix):
            words = [_writable_word(word) for word in vectors.words[part]]
            if format == "word2vec-binary":
                rows = vectors.matrix[part].numpy().astype("<f4", copy=False)
                file.writelines(
                    b"%b %b\n" % (word, row.tobytes()) for word, row in zip(words, rows, strict=True)
                )
            else:
                values: list[list[float]] = vectors.matrix[part].tolist()
                texts = ((line % tuple(row)).encode() for row in values)
                file.writelines(b"%b %b\n" % pair for pair in zip(words, texts, strict=True))


def convert_vectors(
    source: str | Path | WordVectors,
    target: str | Path,
    *,
    how: Reading | None = None,
    to: Target | None = None,
) -> Target:
    r"""Write the vectors of a folder or file to another, row by row: memory does not follow the matrix.

    Args:
        source: as of `open_vectors`, or vectors.
        target: where to; what is there is replaced.
        how: how a file is read.
        to: what to write; None: by the suffix of `target`, .txt and .vec for word2vec, .bin for
            word2vec-binary, each also before .gz, and any other name for a folder.

    Returns:
        What was written.

    Raises:
        FileNotFoundError, ValueError, OSError: as `open_vectors` and `write_vectors`.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Path(folder, "glove.txt").write_text("to 1 2 3\nbe 4 5 6\n")
        ...     convert_vectors(Path(folder, "glove.txt"), Path(folder, "words"))
        ...     WordVectors.load(Path(folder, "words"))["be"]
        18
        'folder'
        tensor([4., 5., 6.])
    """
    target = Path(target)
    written = target_of(target) if to is None else to
    vectors = _whole(source, how)
    if vectors is not None:
        if written == "folder":
            vectors.save(target)
        else:
            write_vectors(vectors, target, written)
        return written
    assert not isinstance(source, WordVectors)
    source = Path(source)
    if written == "folder":
        with open_rows(source, how or Reading()) as (dimension, blocks), writing(target, dimension) as writer:
            _copy_rows(blocks, writer)
    else:  # how many words there are is told first, and known last
        with nameless_file() as (path, file):
            with open_rows(source, how or Reading()) as (dimension, blocks):
                _copy_rows(blocks, VectorWriter(file, dimension))
            file.flush()
            stored = open_stored(path)
            write_vectors(WordVectors(stored.words, stored.matrix), target, written)
    return written


def _whole(source: str | Path | WordVectors, how: Reading | None) -> WordVectors | None:
    """The vectors of what is not read row by row: of a folder, or of a model of fastText."""
    if isinstance(source, WordVectors):
        return source
    path = Path(source)
    return open_vectors(path, how) if path.is_dir() or is_fasttext(path) else None


def target_of(path: Path) -> Target:
    """What a path is for, by its suffix.

    Example:
        >>> target_of(Path("a.vec.gz")), target_of(Path("glove.6B"))
        ('word2vec', 'folder')
    """
    name = path.with_suffix("") if path.suffix == ".gz" else path
    return _SUFFIXES.get(name.suffix, "folder")


def _copy_rows(blocks: Iterable[Rows], writer: VectorWriter) -> None:
    for rows in blocks:
        writer.add(rows.words, rows.matrix)
    writer.finish()


@contextmanager
def _writable(path: Path, *, packed: bool) -> Generator[IO[bytes], None, None]:
    with path.open("wb") as raw:
        if packed:  # the same vectors make the same bytes: without a name and a time
            with gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=6) as file:
                yield cast("IO[bytes]", file)
        else:
            yield raw


def _writable_word(word: str) -> bytes:
    encoded = word.encode()
    if encoded.split() != [encoded]:
        raise ValueError(
            f"the word {word!r} has white space, where other programs end a word: keep the vectors in a "
            "folder"
        )
    return encoded
