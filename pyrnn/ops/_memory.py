"""Memory of the tensors that are handed to the kernels by address."""

from __future__ import annotations

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


def with_memory(tensor: Tensor) -> Tensor:
    """The tensor itself.

    Raises:
        ValueError: it has no memory.
    """
    if tensor.numel() and not tensor.data_ptr():
        raise ValueError(
            f"a tensor of shape {list(tensor.shape)} has no memory behind it: its storage was freed, or it "
            "is fake; materialise the parameters before the call"
        )
    return tensor
