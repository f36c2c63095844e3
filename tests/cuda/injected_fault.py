"""Runs a layer on a CUDA module made for the host: `python -m tests.cuda.injected_fault MODULE [outside]`.

With "outside" one length is larger than T. Ends with "right" and 0 if eight schedules give what the reference
does, else with words and 1. A process of its own, because a faulty kernel may bring it down.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
from pathlib import Path

import torch

from pyrnn import _checks, _native
from pyrnn.ops import recurrent
from pyrnn.ops.recurrent.cuda import recurrence
from pyrnn.reference import recurrent as reference
from tests.helpers import gradients, make_layer
from tools.gpu_proof import rehearsal

LENGTHS = torch.tensor([3, 0, 4, 1, 2, 4, 4, 1, 3])
RESET = (torch.arange(36) % 5 == 0).view(4, 9)


def main(path: str, *wild: str) -> int:
    """0 if the module computes what the reference does."""
    module = rehearsal.emulated(Path(path))
    choose = ctypes.CDLL(path).pyrnn_emulate_seed
    choose.argtypes, choose.restype = [ctypes.c_uint64], None
    _native.emulated_cuda = module
    layer = make_layer("lstm", T=4, B=9, H=18, D=2, dtype=torch.float32, requires_grad=True)
    exact = layer.to(torch.float64, requires_grad=True)
    expected = exact.run(reference, lengths=LENGTHS, reset=RESET)
    results = [*expected[:3], *gradients(exact, expected)]
    lengths = LENGTHS.clone()
    if wild:
        lengths[2] += 1  # what the operator refuses where it may read them
        _checks.is_readable = lambda tensor: False
    for engine, seed in itertools.product(("persistent", "cluster"), range(8)):
        recurrence.forced_engine = engine
        choose(seed)
        out = layer.run(recurrent, lengths=lengths, reset=RESET)
        found = [*out[:3], *gradients(layer, out)]
        for ours, theirs in zip(found, results, strict=True):
            if not torch.allclose(ours.double(), theirs, rtol=1e-4, atol=1e-5):
                sys.stdout.write(f"wrong on the {engine} engine under schedule {seed}\n")
                return 1
    sys.stdout.write("right\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
