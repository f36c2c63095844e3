"""Files of safetensors, read without a memory map and compared with what they should hold before that.

A file that shrinks under a memory map ends the process without a word; a short read is an error that has one.
A tensor that is too large to be read at every start is mapped (`TensorFile.map`): such a file is replaced,
never written to.
The format: eight bytes with the length of a JSON header, the header, and the tensors' bytes one after another
(https://huggingface.co/docs/safetensors). All numbers are little-endian.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyrnn._files import open_regular

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000  # the format's own limit
_METADATA = "__metadata__"

_DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
}
_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


class Expected(NamedTuple):
    """What a tensor of a file should be: its shape, and one of the dtypes."""

    shape: tuple[int, ...]
    dtypes: tuple[torch.dtype, ...]


class _Found(NamedTuple):
    """What a header says of a tensor; bytes are counted from the header's end."""

    shape: tuple[int, ...]
    dtype: torch.dtype | str  # the format's own name of one that is not used here
    begin: int
    end: int


class TensorFile:
    """An open file of safetensors of which the header has been read; `open_tensors` makes it.

    Attributes:
        metadata: the strings of its header.
    """

    def __init__(self, path: Path, file: BufferedReader) -> None:
        self._path, self._file = path, file
        size = os.fstat(file.fileno()).st_size
        try:
            self.metadata, self._found, self._start = _header(file, size)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: {error}") from error

    @property
    def names(self) -> list[str]:
        """Of the tensors, in the order of their bytes."""
        return list(self._found)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Of the tensors, by name."""
        return {name: found.shape for name, found in self._found.items()}

    @property
    def dtypes(self) -> dict[str, torch.dtype | str]:
        """Of the tensors, by name; the format's own name of one that has no use here."""
        return {name: found.dtype for name, found in self._found.items()}

    def check(self, expected: Mapping[str, Expected], *, owner: str) -> None:
        """Compare names, shapes and dtypes with the expected ones; no tensor is read for it.

        Args:
            expected: every tensor that there must be.
            owner: what the file should fit, for the message.

        Raises:
            ValueError: a tensor is missing, unknown, or of another shape or dtype.
        """
        for name in sorted(expected.keys() | self._found.keys()):
            want, found = expected.get(name), self._found.get(name)
            if want is None or found is None or want.shape != found.shape:
                told = f"should be {_shape(want)}, is {_shape(found)}"
            elif found.dtype not in want.dtypes:
                told = f"should hold {' or '.join(map(_word, want.dtypes))}, holds {_word(found.dtype)}"
            else:
                continue
            raise ValueError(f"{self._path} does not fit {owner}: {name} {told}")

    def read(self) -> dict[str, Tensor]:
        """Every tensor by its name, on the CPU.

        Raises:
            ValueError: a dtype that has no use here, or the file has become shorter since it was opened.
        """
        return {name: self._read(name, found) for name, found in self._found.items()}

    def map(self, name: str) -> Tensor:
        """One tensor, mapped into memory and not read; it lives on when the file is closed or replaced.

        Whoever writes to it writes to memory of its own, never to the file.

        Raises:
            ValueError: it has no elements, or a dtype that has no use here.
        """
        found = self._found[name]
        if found.end == found.begin:
            raise ValueError(f"{self._path}: {name} has no elements")
        size, start = found.end - found.begin, self._start + found.begin
        data = np.memmap(self._file, dtype=np.uint8, mode="c", offset=start, shape=(size,))
        return torch.from_numpy(data).view(self._dtype(name, found)).view(found.shape)

    def read_one(self, name: str) -> Tensor:
        """One tensor, as `read` gives them."""
        return self._read(name, self._found[name])

    def _dtype(self, name: str, found: _Found) -> torch.dtype:
        if isinstance(found.dtype, str):
            raise ValueError(f"{self._path}: {name} holds {found.dtype}, which cannot be read")
        return found.dtype

    def _read(self, name: str, found: _Found) -> Tensor:
        tensor = torch.empty(found.shape, dtype=self._dtype(name, found))
        if tensor.numel():
            self._file.seek(self._start + found.begin)
            # numpy knows no bfloat16, but every type as bytes
            got = self._file.readinto(tensor.view(-1).view(torch.uint8).numpy().data)
            if got != tensor.nbytes:
                raise ValueError(f"{self._path} is damaged: it became shorter while it was being read")
        return tensor


@contextmanager
def open_tensors(path: Path) -> Generator[TensorFile, None, None]:
    """Open a file of safetensors and read its header.

    Raises:
        FileNotFoundError, IsADirectoryError, PermissionError: as `open` gives them.
        ValueError: the file is damaged, or no regular one; the message names it.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "weights.safetensors")
        ...     save_file({"bias": torch.ones(3)}, path)
        ...     with open_tensors(path) as file:
        ...         file.shapes, file.read()
        ({'bias': (3,)}, {'bias': tensor([1., 1., 1.])})
    """
    with open_regular(path) as file:
        yield TensorFile(path, file)


def loadable(tensor: Tensor) -> Expected:
    """What a file may hold for a tensor of a model: floating numbers of any precision for floating ones."""
    return Expected(tuple(tensor.shape), _FLOATS if tensor.dtype in _FLOATS else (tensor.dtype,))


def exactly(tensor: Tensor) -> Expected:
    """What a file must hold for a tensor that is to come back with the same bits."""
    return Expected(tuple(tensor.shape), (tensor.dtype,))


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds a NaN or an infinity.

    Example:
        >>> not_finite({"weight": torch.ones(2), "bias": torch.tensor([1.0, torch.inf])})
        'bias'
    """
    return next((name for name, tensor in tensors.items() if not tensor.isfinite().all()), None)


def _header(file: BufferedReader, size: int) -> tuple[dict[str, str], dict[str, _Found], int]:
    """Metadata, tensors in the order of their bytes, and where these bytes start.

    Raises:
        ValueError: what is wrong with it.
    """
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    start = _LENGTH_BYTES + length
    if size < _LENGTH_BYTES or start > size:
        raise ValueError(f"its header should end at byte {start}, the file at byte {size}")
    if length > _LONGEST_HEADER:
        raise ValueError(f"its header has {length} bytes, more than the {_LONGEST_HEADER} of the format")
    header = json.loads(file.read(length).decode("utf-8"))
    if not isinstance(header, dict):
        raise ValueError("its header is no table")
    metadata = header.pop(_METADATA, {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata is no table of strings")
    found = {name: _entry(name, entry, size - start) for name, entry in header.items()}
    found = dict(sorted(found.items(), key=lambda item: item[1][2:]))
    end = 0
    for name, tensor in found.items():
        if tensor.begin != end:
            raise ValueError(f"{name} should begin at byte {end} of the tensors, begins at {tensor.begin}")
        end = tensor.end
    if end != size - start:
        raise ValueError(f"its tensors should have {end} bytes, the file has {size - start} for them")
    return metadata, found, start


def _entry(name: str, entry: Any, size: int) -> _Found:
    """One tensor of a header whose tensors have `size` bytes together."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"{name} should have dtype, shape and data_offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and _are_counts(shape) and _are_counts(offsets)):
        raise ValueError(f"{name} should have a dtype's name, and counts for shape and data_offsets")
    if len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
        raise ValueError(f"the bytes of {name} lie outside the file")
    found = _Found(tuple(shape), _DTYPES.get(dtype, dtype), *offsets)
    if not isinstance(found.dtype, str) and _elements(shape, size) * found.dtype.itemsize != (
        found.end - found.begin
    ):
        raise ValueError(f"{name} has another number of bytes than {dtype} of shape {shape} takes")
    return found


def _are_counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


def _elements(shape: list[int], most: int) -> int:
    """Of a tensor of this shape, or some number above `most`: damage may have written any number."""
    count = 0 if 0 in shape else 1
    for extent in shape:
        if not 0 < count <= most:
            break
        count *= extent
    return count


def _shape(tensor: Expected | _Found | None) -> str:
    return "absent" if tensor is None else str(list(tensor.shape))


def _word(dtype: torch.dtype | str) -> str:
    return str(dtype).removeprefix("torch.")
