"""The folder of a set of word vectors: one file of safetensors, of which the matrix is mapped, not read.

    vectors       [N, D] float32
    ngrams        [B, D] float32, for the vectors of unseen words; the metadata have the bounds
    word_lengths  [N] int32, bytes of each word
    sorted_words  [N] int32, the numbers of the words sorted by their bytes
    words         uint8, the words one after another in UTF-8

It is written row by row: the header, which tells how many there are, has a fixed room at the beginning and
comes last.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pyrnn._files import atomic_write, to_json
from pyrnn._tensors import TensorFile, open_tensors
from pyrnn.embeddings.configs import VECTORS
from pyrnn.embeddings.ngrams import CharacterNgrams
from pyrnn.embeddings.words import WordList

_FORMAT = "pyrnn word vectors 1"
_ROOM = 4096  # bytes for the header and its length; its JSON is filled up with spaces, as the format allows
_MOST_ROWS = 1 << 31
_TYPES = {"vectors": torch.float32, "ngrams": torch.float32, "words": torch.uint8}
_TYPES |= dict.fromkeys(("word_lengths", "sorted_words"), torch.int32)
_NAMES = {torch.float32: "F32", torch.int32: "I32", torch.uint8: "U8"}


class Stored(NamedTuple):
    """What a folder holds."""

    words: WordList
    matrix: Tensor
    ngrams: CharacterNgrams | None


class VectorWriter:
    """Takes words and their rows in blocks; `writing` makes it.

    Args:
        file: where the bytes go.
        dimension: D.
    """

    def __init__(self, file: IO[bytes], dimension: int) -> None:
        self._file, self._dimension = file, dimension
        self._words: list[bytes] = []
        file.write(bytes(_ROOM))

    def add(self, words: Sequence[bytes], rows: NDArray[np.float32]) -> None:
        """The words' bytes and [len(words), D]."""
        assert rows.shape == (len(words), self._dimension)
        self._words.extend(words)
        self._file.write(np.ascontiguousarray(rows, dtype="<f4").data)

    def finish(self, ngrams: CharacterNgrams | None = None) -> None:
        """Write what stands behind the rows, and the header.

        Raises:
            ValueError: no words, too many, or what `WordList.of_bytes` refuses.
        """
        if not 0 < len(self._words) < _MOST_ROWS:
            raise ValueError(f"there must be at least one word and fewer than 2^31, got {len(self._words):,}")
        words = WordList.of_bytes(self._words)
        lengths = np.diff(words.ends, prepend=0).astype("<i4")
        shapes = {"vectors": [len(words), self._dimension]}
        if ngrams is not None:
            shapes["ngrams"] = list(ngrams.matrix.shape)
            self._file.write(ngrams.matrix.contiguous().numpy().astype("<f4", copy=False).data)
        shapes |= {"word_lengths": [len(words)], "sorted_words": [len(words)], "words": [len(words.text)]}
        self._file.write(lengths.tobytes())
        self._file.write(words.order.astype("<i4").tobytes())
        self._file.write(words.text)
        metadata = {"format": _FORMAT}
        if ngrams is not None:
            metadata |= {"shortest": str(ngrams.shortest), "longest": str(ngrams.longest)}
        self._file.seek(0)
        self._file.write(_header(shapes, metadata))


@contextmanager
def writing(folder: Path, dimension: int) -> Generator[VectorWriter, None, None]:
    """Within, the writer of a folder's file, which takes the old one's place when `finish` was called.

    Raises:
        OSError: the folder cannot be written, or the disk is full; an old file stays.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(
            f"{folder} is a file, and vectors are written to a folder: give another path, or a suffix or "
            "format (to) for a file"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / VECTORS) as partial, partial.open("wb") as file:
        yield VectorWriter(file, dimension)


def open_stored(path: Path) -> Stored:
    """Map the matrix of a folder's file and read its words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, or holds something else.
    """
    with open_tensors(path) as file:
        if file.metadata.get("format") != _FORMAT:
            raise ValueError(f"{path} holds no word vectors: its format is {file.metadata.get('format')!r}")
        _check(path, file)
        try:
            ends = np.cumsum(file.read_one("word_lengths").numpy(), dtype=np.int64)
            order = file.read_one("sorted_words").numpy()
            words = WordList(file.read_one("words").numpy().tobytes(), ends, order)
            ngrams = _ngrams(file)
        except ValueError as error:
            raise ValueError(f"{path} is damaged: {error}") from error
        return Stored(words, file.map("vectors"), ngrams)


def _check(path: Path, file: TensorFile) -> None:
    """Refuse other tensors than those of the format; nothing is read for it."""
    shapes = file.shapes
    words, dimension = (*shapes.get("vectors", ()), 0, 0)[:2]
    fits = {
        "vectors": len(shapes.get("vectors", ())) == 2 and words > 0 and dimension > 0,
        "word_lengths": shapes.get("word_lengths") == (words,),
        "sorted_words": shapes.get("sorted_words") == (words,),
        "words": len(shapes.get("words", ())) == 1,
        "ngrams": "ngrams" not in shapes or shapes["ngrams"][1:] == (dimension,),
    }
    wrong = [name for name, fit in fits.items() if not fit] or [name for name in shapes if name not in _TYPES]
    wrong = wrong or [name for name, dtype in file.dtypes.items() if dtype != _TYPES[name]]
    if wrong:
        raise ValueError(f"{path} is damaged: {wrong[0]} does not fit {words:,} words of {dimension} numbers")


def _ngrams(file: TensorFile) -> CharacterNgrams | None:
    if "ngrams" not in file.shapes:
        return None
    bounds = [file.metadata.get(name, "") for name in ("shortest", "longest")]
    if not all(bound.isascii() and bound.isdigit() and len(bound) < 5 for bound in bounds):
        raise ValueError(f"n-grams have bounds, got {bounds}")
    return CharacterNgrams(file.map("ngrams"), *map(int, bounds))


def _header(shapes: dict[str, list[int]], metadata: dict[str, str]) -> bytes:
    """The length of the JSON and the JSON of a file with these tensors, one after another."""
    entries: dict[str, object] = {"__metadata__": metadata}
    begin = 0
    for name, shape in shapes.items():
        end = begin + int(np.prod(shape, dtype=np.int64)) * _TYPES[name].itemsize
        entries[name] = {"dtype": _NAMES[_TYPES[name]], "shape": shape, "data_offsets": [begin, end]}
        begin = end
    text = to_json(entries).encode()
    room = _ROOM - 8
    return room.to_bytes(8, "little") + text.ljust(room)
