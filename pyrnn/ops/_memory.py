"""Memory of results that are about to be written for the first time."""

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
