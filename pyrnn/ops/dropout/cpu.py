"""Calls of the CPU kernels of dropout."""

from __future__ import annotations

from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import check_fields, on_huge_pages
from pyrnn.ops.dropout.call import NativeDropout, Pass

check_fields(_native.cpu, "pointwise.Dropout", NativeDropout._fields)

_KERNELS = {"forward": _native.cpu.dropout_forward, "backward": _native.cpu.dropout_backward}


def run(which: Pass, problem: NativeDropout, out: Tensor) -> None:
    """Run one pass, whose result is `out`."""
    on_huge_pages(out)
    _KERNELS[which](problem, _native.num_threads())
