"""Calls of the decoder without derivatives that are a single call of C++ (csrc/decoder/eager.cpp)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import CELLS

_CODES = {name: cell.code for name, cell in CELLS.items()}


def small_call(
    tensors: tuple[Any, ...], cell: str, scale: float, *, cumulative: bool, ask: bool = False
) -> tuple[Tensor, ...] | str:
    """The six results of a call in perfect order, or why the operator must do it.

    Args:
        tensors: those of the operator, its lengths included.
        cell: the operator's name of it.
        scale: of the dot products.
        cumulative: see the operator.
        ask: compute nothing: where the call would be served, the results hold no numbers.
    """
    if torch.compiler.is_compiling():
        return "torch.compile traces the call"
    threads = _native.cpu.asked if ask else _native.num_threads()
    return _native.cpu.decoder_call(_CODES[cell], scale, cumulative, tensors, threads)
