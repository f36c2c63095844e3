"""Memory of the tensors that are handed to the kernels by address."""

from __future__ import annotations

from typing import NoReturn

from torch import Tensor

from pyrnn import _native

# From here on the C library maps each allocation anew; smaller ones come from pages that were used before.
_FRESH_BYTES = 32 * 2**20


def on_huge_pages(*tensors: Tensor) -> None:
    """Let the system back large new tensors with large pages, before anything is written to them.

    The first touch of a page costs more than filling its 4 kB: with pages of 2 MB that cost is gone.
    """
    for tensor in tensors:
        if tensor.nbytes >= _FRESH_BYTES:
            _native.cpu.advise_huge_pages(tensor.data_ptr(), tensor.nbytes)


def reach_of(tensor: Tensor) -> int:
    """Bytes from the first number to just behind the last one that shape and strides lead to."""
    if tensor.is_contiguous():
        return tensor.nbytes
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.itemsize


def memory_of(tensor: Tensor, reach: int) -> int:
    """Where the numbers lie, the last of them before `reach` bytes; 0 if there are none.

    Raises:
        ValueError: the storage does not hold all that is to be read.
    """
    if not reach:
        return 0
    start, offset = tensor.data_ptr(), tensor.storage_offset()
    if offset:
        offset *= tensor.itemsize
    # A view of what has no memory has an address all the same: its offset.
    if start == offset or offset + reach > tensor.untyped_storage().nbytes():
        _raise_no_memory(tensor, reach)
    return start


def with_memory(tensor: Tensor) -> Tensor:
    """The tensor itself, whose storage holds all of its numbers.

    Raises:
        ValueError: its storage does not.
    """
    memory_of(tensor, reach_of(tensor))
    return tensor


def contiguous(tensor: Tensor) -> Tensor:
    """The same numbers laid out without gaps or overlaps, from a storage that holds all of them.

    Raises:
        ValueError: it does not.
    """
    if tensor.is_contiguous():
        memory_of(tensor, tensor.nbytes)
        return tensor
    return with_memory(tensor).contiguous()


def number_of(scalar: Tensor) -> int:
    """The value of an integer scalar.

    Raises:
        ValueError: it has no memory.
    """
    memory_of(scalar, scalar.itemsize)
    return int(scalar)


def _raise_no_memory(tensor: Tensor, reach: int) -> NoReturn:
    what = f"a tensor of shape {list(tensor.shape)}"
    offset = tensor.storage_offset() * tensor.itemsize
    if tensor.data_ptr() == offset:
        raise ValueError(
            f"{what} has no memory behind it: its storage was freed, or it is fake; materialise the "
            "parameters before the call"
        )
    storage_bytes = tensor.untyped_storage().nbytes()
    raise ValueError(
        f"{what} and strides {list(tensor.stride())} has too little memory behind it: it reaches to byte "
        f"{offset + reach} of its storage, which holds {storage_bytes}; the storage was resized behind the "
        "tensor"
    )
