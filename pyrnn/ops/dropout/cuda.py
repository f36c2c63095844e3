"""Calls of the CUDA kernels of dropout, on torch's current stream; nothing is read back."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

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
    native, device = _native.emulated_cuda or _native.cuda, out.device
    _check_all_fields(native)
    kernel = native.dropout_forward if which == "forward" else native.dropout_backward
    with on_device(device):
        kernel(problem, NativeLaunch(device.index or 0, current_stream(device)))


@functools.cache
def _check_all_fields(native: Any) -> None:
    check_fields(native, "pointwise.Dropout", NativeDropout._fields)
    check_fields(native, "pointwise.cuda.Launch", NativeLaunch._fields)
