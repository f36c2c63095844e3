"""Calls of CUDA kernels of dropout, on torch's current stream; nothing is read back."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._dispatch import current_stream, on_device
from pyrnn._native_args import check_fields
from pyrnn.ops.dropout.call import NativeDropout, Pass


class NativeLaunch(NamedTuple):
    """`pointwise::cuda::Launch` of csrc/pointwise/cuda/engine.h."""

    device: int
    stream: int


def run(which: Pass, problem: NativeDropout, out: Tensor) -> None:
    """Put one pass, whose result is `out`, on the stream."""
    launch(f"dropout_{which}", "pointwise.Dropout", problem, out.device)


def launch(kernel: str, struct: str, problem: tuple[Any, ...], device: torch.device) -> None:
    """Put a call of `kernel`, a function of the module that takes a `struct`, on the stream."""
    native: Any = _native.emulated_cuda or _native.cuda
    _check_all_fields(native, struct, type(problem))
    with on_device(device):
        getattr(native, kernel)(problem, NativeLaunch(device.index or 0, current_stream(device)))


@functools.cache
def _check_all_fields(native: Any, struct: str, problem: Any) -> None:
    check_fields(native, struct, problem._fields)
    check_fields(native, "pointwise.cuda.Launch", NativeLaunch._fields)
