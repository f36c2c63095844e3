"""Small layers forward and backward on the device, through every engine: what the sanitizers watch."""

from __future__ import annotations

import itertools
import sys

import torch

import pyrnn
from pyrnn import _native
from pyrnn.ops import _cuda_walk

#: (T, B, I, H): one block, and several with tails in units and batch.
SHAPES = ((4, 3, 5, 7), (5, 9, 7, 49))


def run(shape: tuple[int, int, int, int], cell: str, dtype: torch.dtype) -> None:
    """One training step, with lengths."""
    T, B, width, H = shape
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
    dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    combinations = itertools.product(
        ("cluster", "persistent", "step", "streamed"), SHAPES, ("GRU", "LSTM", "RNN"), dtypes
    )
    count = 0
    for engine, shape, cell, dtype in combinations:
        _cuda_walk.forced_engine = engine
        run(shape, cell, dtype)
        count += 1
    torch.cuda.synchronize()
    print(f"{count} training steps", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
