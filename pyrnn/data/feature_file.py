"""Rows of numbers and the class of each as a file.

Dimension key: N rows, F features, C classes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._files import atomic_write
from pyrnn._tensors import Expected, not_finite, open_tensors


def write_features(path: str | Path, features: Tensor, labels: Tensor) -> None:
    """Write rows of numbers and their classes; the file appears whole or not at all.

    Args:
        path: where to.
        features: [N, F] floating point, kept as float32.
        labels: [N] integers.

    Raises:
        OSError: the folder cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.safetensors")
        ...     write_features(path, torch.eye(2), torch.tensor([1, 0]))
        ...     read_features(path, num_features=2, num_classes=2)[1]
        tensor([1, 0], dtype=torch.int32)
    """
    with atomic_write(Path(path)) as partial:
        save_file({"features": features.float().contiguous(), "label": labels.int()}, partial)


def read_features(path: str | Path, *, num_features: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """What `write_features` wrote, checked: [N, F] float32 and [N] int32.

    Args:
        path: the file.
        num_features: F.
        num_classes: C.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is damaged, has rows of another width, NaN or infinity, or a class outside [0, C).

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "train.safetensors")
        ...     write_features(path, torch.eye(2), torch.tensor([5, 0]))
        ...     read_features(path, num_features=2, num_classes=2)
        Traceback (most recent call last):
        ValueError: ...train.safetensors: label must lie in [0, 2), got 0 to 5
    """
    path = Path(path)
    with open_tensors(path) as file:
        rows = (*file.shapes.get("label", ()), 0)[0]
        expected = {
            "features": Expected((rows, num_features), (torch.float32,)),
            "label": Expected((rows,), (torch.int32,)),
        }
        file.check(expected, owner="its run")
        tensors = file.read()
    if not rows or not_finite(tensors):
        raise ValueError(f"{path} is damaged: expected rows of finite numbers")
    low, high = tensors["label"].aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(f"{path}: label must lie in [0, {num_classes}), got {int(low)} to {int(high)}")
    return tensors["features"], tensors["label"]
