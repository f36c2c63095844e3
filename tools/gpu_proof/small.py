"""Small layers forward and backward on the device, launched in every way: what the sanitizers watch."""

from __future__ import annotations

import itertools
import sys

import torch

import pyrnn
from pyrnn import _native
from pyrnn.ops.recurrent.cuda import recurrence

#: (T, B, I, H): several blocks, with tails in units and batch. Few cases, for watched kernels are slow.
SHAPE = (5, 9, 7, 49)
DTYPES = (torch.float32, torch.bfloat16)  # both kinds of product


def run(cell: str, dtype: torch.dtype) -> None:
    """One training step, with lengths."""
    T, B, width, H = SHAPE
    layer = getattr(pyrnn, cell)(width, H, bidirectional=True, device="cuda", dtype=dtype)
    input = torch.randn(T, B, width, device="cuda").to(dtype).requires_grad_()
    lengths = torch.arange(B, device="cuda") % (T + 1)
    output, _ = layer(input, lengths=lengths)
    output.sum().backward()


def main() -> int:
    """All combinations; the sanitizer around this process judges."""
    if why := _native.why_no_cuda():
        print(f"pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    clusters = ("cluster",) if torch.cuda.get_device_capability() >= (9, 0) else ()
    count = 0
    for engine, cell, dtype in itertools.product(
        (*clusters, "persistent", "step"), ("GRU", "LSTM", "RNN"), DTYPES
    ):
        recurrence.forced_engine = engine
        run(cell, dtype)
        count += 1
    torch.cuda.synchronize()
    print(f"{count} training steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
