"""FlashRNN as a further peer, where it is installed. It is timed as it comes: without the input product.

It compiles a module for each shape, which takes minutes, so it runs last and in what time is left.
"""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Iterator
from typing import Any

import torch

from pyrnn.bench.harness import Spread
from pyrnn.bench.record import Row
from pyrnn.bench.recurrent import GATES
from tools.gpu_proof.timing import DeviceCandidate, repeats_for

#: (T, B, H), bfloat16, one head: (512, 32, 512) is the centre of the comparison with cuDNN.
SHAPES = ((512, 32, 512), (512, 64, 1024))
STATES = {"lstm": 2, "gru": 1}

#: Seconds without which compiling is not begun.
LEAST = 60.0


def rows(seconds: float) -> Iterator[Row]:
    """A row a case, or one that says why there is none."""
    if importlib.util.find_spec("flashrnn") is None:
        yield {"peer": "flashrnn", "why": "not installed"}
        return
    ends = time.monotonic() + seconds
    for cell, shape in ((cell, shape) for shape in SHAPES for cell in STATES):
        case: Row = {"peer": "flashrnn", "cell": cell, "shape": shape}
        if ends - time.monotonic() < LEAST:
            yield {**case, "why": "no time was left to compile it"}
            continue
        try:
            yield {**case, **_measure(cell, *shape)}
        except (RuntimeError, ImportError, ValueError) as error:
            yield {**case, "why": f"{type(error).__name__}: {error}".splitlines()[0][:300]}


def _measure(cell: str, T: int, B: int, H: int) -> Row:
    run_it: Any = importlib.import_module("flashrnn").flashrnn
    gates = GATES[cell]
    options: Any = {"device": "cuda", "dtype": torch.bfloat16}
    bias_gates = 4 if cell == "gru" else gates  # its GRU has a bias on the hidden part of n
    input = torch.randn(B, T, gates, 1, H, **options)
    recurrent = torch.randn(gates, 1, H, H, **options) / H**0.5
    bias = torch.randn(bias_gates, 1, H, **options)

    def run() -> None:
        with torch.no_grad():
            run_it(input, recurrent, bias, function=cell, backend="cuda_fused", dtype="bfloat16")

    DeviceCandidate(run).timed()
    candidate = DeviceCandidate(run, repeats=repeats_for(DeviceCandidate(run).timed()))
    spread = Spread.of([candidate.timed() for _ in range(9)])
    return {
        "dtype": "bfloat16",
        "includes": "forward, without the input product",
        "us_per_step": spread.median * 1e6 / T,
    }
