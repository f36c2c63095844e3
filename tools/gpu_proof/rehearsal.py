"""A run of the proof without a GPU: the emulator takes the kernels' place, small sizes the large ones'.

It shows that the commands start, record and copy what they find, before a device's time is spent on them.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

from pyrnn import _native
from pyrnn.bench.record import Row
from tools.gpu_proof.stages import Orders

#: What stands for the device in the record.
DEVICE: Row = {
    "device": "emulated GPU",
    "capability": "9.0",
    "sms": 132,
    "memory_gib": 0.0,
    "l2_mib": 0.0,
    "driver": "none",
    "cuda": None,
    "cudnn": None,
    "nvcc": "none",
}


def emulated(path: Path) -> ModuleType:
    """The CUDA module that was compiled for the host."""
    spec = importlib.util.spec_from_file_location("_cuda_emulated", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a compiled module")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def begin(told: Orders) -> str:
    """The device of this stage's tensors; in a rehearsal the emulator serves those of the CPU."""
    if told.rehearse is None:
        return "cuda"
    _native.emulated_cuda = emulated(told.rehearse)
    return "cpu"
