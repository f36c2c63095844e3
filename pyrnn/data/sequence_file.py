"""Encoded sequences as a file: fields of integers, item i of each as long as item i of the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._files import atomic_write
from pyrnn._tensors import Expected, open_tensors

_LENGTHS = "lengths"


def write_sequences(path: str | Path, fields: Mapping[str, Sequence[Tensor]]) -> None:
    """Write sequences [N_i] of integers; the file appears whole or not at all.

    Args:
        path: where to.
        fields: as many sequences in each, item by item of the same lengths.

    Raises:
        ValueError: no sequences.
        OSError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.safetensors")
        ...     write_sequences(path, {"token": [torch.tensor([2, 0]), torch.tensor([1])]})
        ...     read_sequences(path, {"token": 3})["token"]
        [tensor([2, 0], dtype=torch.int32), tensor([1], dtype=torch.int32)]
    """
    items = next(iter(fields.values()), [])
    if not items:
        raise ValueError(f"there are no sequences to write to {path}")
    tensors = {name: torch.cat(list(own)).int() for name, own in fields.items()}
    tensors[_LENGTHS] = torch.tensor([len(item) for item in items])
    with atomic_write(Path(path)) as partial:
        save_file(tensors, partial)


def read_sequences(path: str | Path, sizes: Mapping[str, int]) -> dict[str, list[Tensor]]:
    """What `write_sequences` wrote, checked.

    Args:
        path: the file.
        sizes: of each field, how many ids there are.

    Returns:
        int32 sequences by field.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, has other fields, or an id is outside [0, size).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.safetensors")
        ...     write_sequences(path, {"token": [torch.tensor([2, 0])]})
        ...     read_sequences(path, {"token": 2})
        Traceback (most recent call last):
        ValueError: ...train.safetensors: token must lie in [0, 2), got 0 to 2
    """
    path = Path(path)
    with open_tensors(path) as file:
        shapes = file.shapes
        if shapes.keys() != {*sizes, _LENGTHS}:
            raise ValueError(f"{path} is damaged: expected {', '.join(sizes)}, it has {', '.join(shapes)}")
        expected = {name: Expected(shapes[next(iter(sizes))], (torch.int32,)) for name in sizes}
        expected[_LENGTHS] = Expected(shapes[_LENGTHS], (torch.int64,))
        file.check(expected, owner="its run")
        tensors = file.read()
    lengths = tensors[_LENGTHS]
    total = len(tensors[next(iter(sizes))]) if tensors[next(iter(sizes))].dim() == 1 else -1
    if lengths.dim() != 1 or not len(lengths) or (lengths < 1).any() or int(lengths.sum()) != total:
        raise ValueError(f"{path} is damaged: its lengths are not those of its {total} items")
    for name, size in sizes.items():
        low, high = tensors[name].aminmax()
        if low < 0 or high >= size:
            raise ValueError(f"{path}: {name} must lie in [0, {size}), got {int(low)} to {int(high)}")
    return {name: list(tensors[name].split(lengths.tolist())) for name in sizes}
