"""Encoded sequences as a file: fields of integers, item i of each as long as item i of its group's others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._files import atomic_write
from pyrnn._tensors import Expected, open_tensors
from pyrnn.data.batches import Groups, grouped, lengths_of


def write_sequences(
    path: str | Path, fields: Mapping[str, Sequence[Tensor]], *, groups: Groups | None = None
) -> None:
    """Write sequences [N_i, ...] of integers; the file appears whole or not at all.

    Args:
        path: where to.
        fields: as many sequences in each, item by item of the same lengths.
        groups: which fields have lengths in common, as of `PaddedBatches`; None: all.

    Raises:
        ValueError: no sequences, an empty one, fields that differ, or groups that do not fit the fields.
        OSError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.safetensors")
        ...     write_sequences(path, {"token": [torch.tensor([2, 0]), torch.tensor([1])]})
        ...     read_sequences(path, {"token": 3})["token"]
        [tensor([2, 0], dtype=torch.int32), tensor([1], dtype=torch.int32)]
    """
    lengths = {name: torch.tensor(own) for name, own in lengths_of(fields, groups).items()}
    tensors = {name: torch.cat(list(own)).int() for name, own in fields.items()}
    with atomic_write(Path(path)) as partial:
        save_file(tensors | lengths, partial)


def read_sequences(
    path: str | Path, sizes: Mapping[str, int], *, groups: Groups | None = None
) -> dict[str, list[Tensor]]:
    """What `write_sequences` wrote, checked.

    Args:
        path: the file.
        sizes: of each field, how many ids there are.
        groups: as the file was written with.

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
    path, parts = Path(path), grouped(list(sizes), groups)
    with open_tensors(path) as file:
        shapes = file.shapes
        if shapes.keys() != sizes.keys() | parts.keys():
            raise ValueError(f"{path} is damaged: expected {', '.join(sizes)}, it has {', '.join(shapes)}")
        expected = {name: Expected(shapes[next(iter(parts))], (torch.int64,)) for name in parts}
        for names in parts.values():
            items = shapes[names[0]][:1]
            expected |= {name: Expected((*items, *shapes[name][1:]), (torch.int32,)) for name in names}
        file.check(expected, owner="its run")
        tensors = file.read()
    found = {}
    for group, names in parts.items():
        lengths, first = tensors[group], tensors[names[0]]
        total = len(first) if first.dim() else -1
        if lengths.dim() != 1 or not len(lengths) or (lengths < 1).any() or int(lengths.sum()) != total:
            raise ValueError(f"{path} is damaged: its {group} are not those of its {total} items")
        found |= {name: list(tensors[name].split(lengths.tolist())) for name in names}
    for name, size in sizes.items():
        low, high = tensors[name].aminmax()
        if low < 0 or high >= size:
            raise ValueError(f"{path}: {name} must lie in [0, {size}), got {int(low)} to {int(high)}")
    return {name: found[name] for name in sizes}
