"""Tensors as the native modules take them: codes of cells and dtypes, strides, and addresses.

An address is given only after the storage behind it was found to hold all that shape and strides lead to.
Codes, sizes of cells and names of fields are the modules' own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from pyrnn import _native
from pyrnn._dispatch import WATCHERS, is_readable


class Cell(NamedTuple):
    """A recurrent cell's code and sizes."""

    code: int
    gates: int  # G: rows of the weights are G*H
    slots: int  # gradients of a unit and token that the backward pass makes on a GPU
    saved: int  # numbers of a unit and token that training keeps


CELLS = {name: Cell(*numbers) for name, numbers in _native.cpu.cells.items()}
DTYPES: dict[torch.dtype, int] = {getattr(torch, name): code for name, code in _native.cpu.dtypes.items()}
NOTHING = (0, 0, 0)  #: a sequence that is not there

_native.cpu.use_torch(
    tensor=Tensor,
    parameter=torch.nn.Parameter,
    storage=torch.UntypedStorage,
    strided=torch.strided,
    empty=torch.empty,
    grad_enabled=torch.is_grad_enabled,
    forward_ad=forward_ad,
    dtypes={code: dtype for dtype, code in DTYPES.items()},
    uint8=torch.uint8,
    watchers=WATCHERS,
)


def check_fields(module: Any, struct: str, fields: tuple[str, ...]) -> None:
    """Require that a tuple with these fields is what `module` takes for `struct`.

    Raises:
        ImportError: the module was built of other sources.
    """
    expected = module.fields.get(struct)
    if expected != fields:
        raise ImportError(
            f"{module.__name__} takes {struct} with the fields {expected}, this pyrnn gives {fields}: they "
            "are of different versions; build it anew (`pip install .`)"
        )


# From here on the C library maps each allocation anew; smaller ones come from pages that were used before.
_FRESH_BYTES = 32 * 2**20


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype of sums, and of what is kept between the passes."""
    return torch.float64 if dtype is torch.float64 else torch.float32


# ------------------------------------------------------------------------------------------- storage


def extent_of(tensor: Tensor) -> int:
    """Bytes from the first number to just behind the last one that shape and strides lead to."""
    if tensor.is_contiguous():
        return tensor.nbytes
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.itemsize


def storage_address(tensor: Tensor, extent: int) -> int:
    """Where the numbers lie, the last of them before `extent` bytes; 0 if there are none.

    Raises:
        ValueError: the storage does not hold all that is to be read.
    """
    if not extent:
        return 0
    start, offset = tensor.data_ptr(), tensor.storage_offset()
    if offset:
        offset *= tensor.itemsize
    # A view of what has no memory has an address all the same: its offset.
    if start == offset or offset + extent > tensor.untyped_storage().nbytes():
        _raise_no_storage(tensor, extent)
    return start


def require_storage(tensor: Tensor) -> Tensor:
    """The tensor itself, whose storage holds all of its numbers.

    Raises:
        ValueError: its storage does not.
    """
    storage_address(tensor, extent_of(tensor))
    return tensor


def require_readable_storage(tensors: Sequence[Tensor | None]) -> None:
    """`require_storage` of every tensor whose memory is at hand: for the reference, that is for torch.

    Raises:
        ValueError: as there.
    """
    for tensor in tensors:
        if tensor is not None and is_readable(tensor):
            require_storage(tensor)


def contiguous(tensor: Tensor) -> Tensor:
    """The same numbers laid out without gaps or overlaps, from a storage that holds all of them.

    Raises:
        ValueError: it does not.
    """
    if tensor.is_contiguous():
        storage_address(tensor, tensor.nbytes)
        return tensor
    return require_storage(tensor).contiguous()


def all_contiguous(tensors: Iterable[Tensor | None]) -> tuple[Tensor | None, ...]:
    """`contiguous` of each that is there."""
    return tuple([None if tensor is None else contiguous(tensor) for tensor in tensors])


def has_rows(tensor: Tensor) -> bool:
    """Whether the features, the last dimension, lie side by side."""
    return tensor.stride(-1) == 1 or tensor.shape[-1] == 1


def with_rows(tensor: Tensor) -> Tensor:
    """The tensor with its features side by side, from a storage that holds all of them.

    Raises:
        ValueError: it does not.
    """
    require_storage(tensor)
    return tensor if has_rows(tensor) else tensor.contiguous()


def number_of(scalar: Tensor) -> int:
    """The value of an integer scalar.

    Raises:
        ValueError: it has no memory.
    """
    storage_address(scalar, scalar.itemsize)
    return int(scalar)


def on_huge_pages(*tensors: Tensor) -> None:
    """Let the system back large new tensors with large pages, before anything is written to them.

    The first touch of a page costs more than filling its 4 kB: with pages of 2 MB that cost is gone.
    """
    for tensor in tensors:
        if tensor.nbytes >= _FRESH_BYTES:
            _native.cpu.advise_huge_pages(tensor.data_ptr(), tensor.nbytes)


def copied(tensor: Tensor) -> Tensor:
    """A copy, on large pages where it is a large one on the CPU."""
    if tensor.nbytes < _FRESH_BYTES or not tensor.is_cpu:
        return tensor.clone()
    copy = torch.empty_like(tensor)
    on_huge_pages(copy)
    return copy.copy_(tensor)


def _raise_no_storage(tensor: Tensor, extent: int) -> NoReturn:
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
        f"{offset + extent} of its storage, which holds {storage_bytes}; the storage was resized behind the "
        "tensor"
    )


# ----------------------------------------------------------------------------------------- addresses


def address(tensor: Tensor | None) -> int:
    """Where the tensor's numbers lie; 0 for none, as torch says itself of an empty tensor."""
    return 0 if tensor is None else tensor.data_ptr()


def addresses(tensors: Iterable[Tensor | None]) -> list[int]:
    """`address` of each."""
    return [0 if tensor is None else tensor.data_ptr() for tensor in tensors]


def addresses_of_direction(tensors: Iterable[Tensor | None], direction: int) -> list[int]:
    """The address of `of_direction` of each, sooner than torch makes a view."""
    return [
        0
        if tensor is None
        else tensor.data_ptr() + direction * tensor.stride(0) * tensor.itemsize
        if direction and tensor.numel()
        else tensor.data_ptr()
        for tensor in tensors
    ]


def of_direction(tensor: Tensor | None, direction: int) -> Tensor | None:
    """One direction's part of a state [D, B, F], None for a state that is not there."""
    return tensor[direction] if tensor is not None and tensor.numel() else None


def sequences(
    tensors: Iterable[Tensor | None], *, packed: bool, batch_first: bool
) -> list[tuple[int, int, int]]:
    """Address and strides (time, batch) of each sequence; packed rows have the stride of a row alone."""
    found = []
    for tensor in tensors:
        if tensor is None or not tensor.numel():
            found.append(NOTHING)
        elif packed:
            found.append((tensor.data_ptr(), 0, tensor.stride(0)))
        else:
            first, second = tensor.stride()[:2]
            time, batch = (second, first) if batch_first else (first, second)
            found.append((tensor.data_ptr(), time, batch))
    return found
