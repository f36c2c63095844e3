"""Tensors as the native modules take them: addresses, strides, and codes for cells and dtypes.

The codes are those of csrc/recurrent/problem.h.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

CELLS = {"rnn_tanh": 0, "rnn_relu": 1, "gru": 2, "lstm": 3}
DTYPES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2, torch.float16: 3}
NOTHING = (0, 0, 0)  #: a sequence that is not there


def address(tensor: Tensor | None) -> int:
    """Where the tensor's numbers lie; 0 for none, as torch says itself of an empty tensor."""
    return 0 if tensor is None else tensor.data_ptr()


def addresses(tensors: Iterable[Tensor | None]) -> list[int]:
    """`address` of each."""
    return [address(tensor) for tensor in tensors]


def address_of_direction(tensor: Tensor | None, direction: int) -> int:
    """The address of `of_direction`, sooner than torch makes a view."""
    start = address(tensor)
    if tensor is None or not start or not direction:
        return start
    return start + direction * tensor.stride(0) * tensor.itemsize


def of_direction(tensor: Tensor | None, direction: int) -> Tensor | None:
    """One direction's part of a state [D, B, F], None for a state that is not there."""
    return tensor[direction] if tensor is not None and tensor.numel() else None


def sequence(tensor: Tensor | None, *, packed: bool, batch_first: bool) -> tuple[int, int, int]:
    """Address and strides (time, batch) of a sequence; packed rows have the stride of a row alone."""
    if tensor is None or not tensor.numel():
        return NOTHING
    if packed:
        return (tensor.data_ptr(), 0, tensor.stride(0))
    first, second = tensor.stride()[:2]
    return (tensor.data_ptr(), second, first) if batch_first else (tensor.data_ptr(), first, second)
