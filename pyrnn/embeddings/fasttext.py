"""Models of the program fastText (.bin): words, and the vectors of character n-grams.

    magic, version         int32 793712314, 11 or 12
    arguments              12 int32 (dimension, ..., buckets, shortest, longest, ...) and a double
    dictionary             int32 entries, words, labels; int64 tokens, pruned; for each entry its bytes, a
                           zero, an int64 count and an int8 kind; words first
    quantised              a byte
    input matrix           int64 rows, columns; float32 [words + buckets][columns]

and an output matrix, which is not read. All numbers are little-endian. A word's vector is the mean of its own
row and those of its n-grams (Bojanowski et al., "Enriching word vectors with subword information", 2017).

Dimension key: V words, B buckets, D dimensions.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.embeddings._rows import AGAIN, LONGEST_WORD, READ_BYTES, RawRows, VectorFile
from pyrnn.embeddings.configs import Reading
from pyrnn.embeddings.formats import MAGIC, MOST_DIMENSIONS, checked, open_bytes
from pyrnn.embeddings.neighbours import LARGEST
from pyrnn.embeddings.ngrams import CharacterNgrams
from pyrnn.embeddings.vectors import WordVectors

_VERSIONS, _MOST_BUCKETS = (11, 12), 1 << 30
_ARGUMENTS = struct.Struct("<12id")
_DIMENSION, _KIND, _BUCKETS, _SHORTEST, _LONGEST = 0, 7, 8, 9, 10  # among them
_CLASSIFIER = 3  # the kind that had no n-grams of characters in version 11, whatever it tells
_SIZES = struct.Struct("<3i2q")
_BEHIND_A_WORD = 9  # bytes: its count and its kind
_NOT_PRUNED = -1
_END_OF_SENTENCE = b"</s>"  # has no n-grams
_AT_ONCE = 1 << 14  # words


class _Head(NamedTuple):
    """What stands before the matrix: V words, and the sizes of the n-grams."""

    dimension: int
    buckets: int
    shortest: int
    longest: int
    words: list[bytes]


def is_fasttext(path: Path) -> bool:
    """Whether a file, packed or not, begins as a model of fastText does; a pipe, which is read once, is none.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: damaged gzip.
    """
    if path.exists() and not path.is_file():
        return False
    with open_bytes(path) as file:
        return file.peek(len(MAGIC)).startswith(MAGIC)


def read_fasttext(path: Path, how: Reading | None = None) -> WordVectors:
    """The vectors of a model, with those of its n-grams: words that it has never seen have vectors, too.

    Labels of a classifier are left out. No more memory is taken than the file has bytes.

    Args:
        path: the file, packed by gzip or not.
        how: how its words are taken; `limit` leaves the later words out, not the n-grams.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: another version, a quantised model, sizes that do not fit together or that the file does
            not hold, a format that was asked for and is another, or a word or number as of `open_rows`.
    """
    how = how or Reading()
    if how.format not in (None, "fasttext"):
        raise ValueError(f"{path} is a model of fastText, no file of {how.format}: leave format out")
    with open_bytes(path) as file:
        head = _read_head(path, file)
        matrix = _read_matrix(path, file, head)
    has_ngrams = head.buckets > 0 and 1 <= head.shortest <= head.longest
    ngrams = None
    if has_ngrams:
        table = matrix[len(head.words) :]
        if not bool((table.abs() <= LARGEST).all()):
            raise ValueError(f"{path}: a vector of n-grams holds NaN or a number beyond {LARGEST:g}: {AGAIN}")
        ngrams = CharacterNgrams(table, shortest=head.shortest, longest=head.longest)
    found = VectorFile(path, io.BufferedReader(io.BytesIO()), "fasttext", len(head.words), head.dimension)
    rows = list(checked(found, how, _rows(head, matrix, has_ngrams=has_ngrams)))
    words = [word.decode() for block in rows for word in block.words]
    return WordVectors(
        words, torch.from_numpy(np.concatenate([block.matrix for block in rows])), ngrams=ngrams
    )


def _refuse(path: Path, told: str) -> NoReturn:
    raise ValueError(f"{path}: this model of the program fastText {told}")


def _read(path: Path, file: io.BufferedReader, size: int, what: str) -> bytes:
    found = file.read(size)
    if len(found) < size:
        _refuse(path, f"ends within {what}: {AGAIN}")
    return found


def _read_head(path: Path, file: io.BufferedReader) -> _Head:
    _read(path, file, len(MAGIC), "its first bytes")
    (version,) = struct.unpack("<i", _read(path, file, 4, "its version"))
    if version not in _VERSIONS:
        _refuse(path, f"has version {version}, expected 11 or 12: write it anew with a later fastText")
    arguments = _ARGUMENTS.unpack(_read(path, file, _ARGUMENTS.size, "its arguments"))
    dimension, buckets, shortest, longest = (
        int(arguments[i]) for i in (_DIMENSION, _BUCKETS, _SHORTEST, _LONGEST)
    )
    if not (
        0 < dimension <= MOST_DIMENSIONS and 0 <= buckets <= _MOST_BUCKETS and min(shortest, longest) >= 0
    ):
        _refuse(
            path,
            f"tells {dimension:,} dimensions (expected 1 to {MOST_DIMENSIONS:,}), {buckets:,} buckets, "
            f"n-grams of {shortest} to {longest}: it is damaged; {AGAIN}",
        )
    entries, count, labels, _, pruned = _SIZES.unpack(_read(path, file, _SIZES.size, "its sizes"))
    if count < 1 or labels < 0 or entries != count + labels:
        _refuse(
            path, f"tells {entries:,} entries, {count:,} words and {labels:,} labels: it is damaged; {AGAIN}"
        )
    if pruned != _NOT_PRUNED:
        _refuse(path, "is pruned, as quantised ones are (.ftz): give the model that it was made of (.bin)")
    words = _read_words(path, file, entries)[:count]
    if _read(path, file, 1, "its matrix") != b"\0":
        _refuse(path, "is quantised (.ftz): give the model that it was made of (.bin)")
    if version == _VERSIONS[0] and arguments[_KIND] == _CLASSIFIER:
        longest = 0
    # A single character at an end, with its bracket, is no n-gram, so none is shorter than one.
    return _Head(dimension, buckets, max(shortest, 1), longest, words)


def _read_words(path: Path, file: io.BufferedReader, entries: int) -> list[bytes]:
    words: list[bytes] = []
    held, begin = b"", 0
    while len(words) < entries:
        end = held.find(b"\0", begin)
        if end >= 0 and end + 1 + _BEHIND_A_WORD <= len(held):
            words.append(held[begin:end])
            begin = end + 1 + _BEHIND_A_WORD
            continue
        if (end if end >= 0 else len(held)) - begin > LONGEST_WORD:
            _refuse(path, f"has a word, {len(words) + 1:,}, of more than {LONGEST_WORD:,} bytes: {AGAIN}")
        # No more than those that are missing take at least: what follows them is read by others.
        least = (entries - len(words)) * (1 + _BEHIND_A_WORD) - (len(held) - begin)
        more = file.read(max(1, min(READ_BYTES, least)))
        if not more:
            _refuse(path, f"ends after {len(words):,} of {entries:,} words: {AGAIN}")
        held, begin = held[begin:] + more, 0
    return words


def _read_matrix(path: Path, file: io.BufferedReader, head: _Head) -> Tensor:
    """[V + B, D]; memory grows as it is read, for its size may be invented."""
    rows, columns = struct.unpack("<2q", _read(path, file, 16, "the sizes of its matrix"))
    expected = len(head.words) + head.buckets
    if (rows, columns) != (expected, head.dimension):
        _refuse(
            path,
            f"has a matrix of {rows:,} x {columns:,}, expected {expected:,} x {head.dimension} for "
            f"{len(head.words):,} words and {head.buckets:,} buckets: {AGAIN}",
        )
    size, held = 4 * rows * columns, bytearray()
    while len(held) < size:
        more = file.read(min(READ_BYTES, size - len(held)))
        if not more:
            _refuse(path, f"ends after {len(held):,} of the {size:,} bytes of its matrix: {AGAIN}")
        held += more
    return torch.from_numpy(np.frombuffer(held, "<f4").reshape(rows, columns))


def _rows(head: _Head, matrix: Tensor, *, has_ngrams: bool) -> Iterator[RawRows]:
    """The words and their vectors."""
    for first in range(0, len(head.words), _AT_ONCE):
        words = head.words[first : first + _AT_ONCE]
        found = matrix[first : first + len(words)]
        if has_ngrams:
            packed, counts = _native.cpu.word_rows(words, head.shortest, head.longest, head.buckets)
            # In the block's own numbers a word is its place, and n-grams begin behind the words.
            rows = torch.frombuffer(bytearray(packed), dtype=torch.int32).long()
            begins = torch.tensor([0, *counts[:-1]]).cumsum(0)
            rows += len(head.words) - len(words)
            rows[begins] = torch.arange(first, first + len(words))
            means = torch.nn.functional.embedding_bag(rows, matrix, begins, mode="mean")
            if _END_OF_SENTENCE in words:
                place = words.index(_END_OF_SENTENCE)
                means[place] = found[place]
            found = means
        yield RawRows(list(range(first + 1, first + 1 + len(words))), words, found.numpy())
