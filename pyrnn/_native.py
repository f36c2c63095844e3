"""The compiled modules, what they can do on this machine, and how many threads they may use."""

from __future__ import annotations

import functools
import importlib
import os
from typing import Any, NamedTuple

import torch

try:
    from pyrnn import _cpu as cpu
except ImportError as error:
    raise ImportError(
        "pyrnn's compiled module is missing: install the package (`pip install .`), or run Python outside "
        f"the source folder if it is installed ({error})"
    ) from error

cuda: Any  #: the CUDA module, None where there is none
try:
    cuda = importlib.import_module("pyrnn._cuda")
    _cuda_missing = ""
except ModuleNotFoundError:
    cuda, _cuda_missing = None, "this build of pyrnn has none"
except ImportError as error:
    cuda, _cuda_missing = None, f"pyrnn._cuda does not load ({error})"

#: For tests: the CUDA module compiled for the host. While it stands here, it serves CPU tensors, not `cpu`.
emulated_cuda: Any = None

#: Dtypes that the kernels of each backend compute in.
DTYPES = {
    "cpu": (torch.float32, torch.float64, torch.bfloat16),
    "cuda": (torch.float32, torch.float64, torch.bfloat16, torch.float16),
}

isa = cpu.isa  #: name of the instruction set in use
isas = cpu.isas  #: names of those that this processor can run, best first
set_isa = cpu.set_isa  #: choose one; the environment variable PYRNN_CPU_ISA does it from the start

_forked = False


def _after_fork() -> None:
    """OpenMP's threads do not survive a fork: a parallel region in the child would hang."""
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


#: More threads than this are a mistake: OpenMP ends the process where the system does not give as many.
MOST_THREADS = max(64, 4 * (os.cpu_count() or 1))


def num_threads() -> int:
    """Threads that a kernel may use: torch's setting up to `MOST_THREADS`, or one in a forked process."""
    count = torch.get_num_threads()
    if _forked:
        return 1
    return count if count <= MOST_THREADS else MOST_THREADS


def set_num_threads(count: int) -> None:
    """`torch.set_num_threads` for a count that a user gave.

    Raises:
        ValueError: below one, or above `MOST_THREADS`.
    """
    if not 1 <= count <= MOST_THREADS:
        raise ValueError(f"threads must lie in [1, {MOST_THREADS}] on this machine, got {count}")
    torch.set_num_threads(count)


@functools.cache
def why_no_cuda() -> str:
    """Why no CUDA kernel can run in this process, in words; empty where one can."""
    if cuda is None:
        return _cuda_missing
    if torch.version.cuda is None:
        return "this build of torch has no CUDA"
    return cuda.why_unavailable()


class Split(NamedTuple):
    """How one call is split among threads: `groups` * `group_size` threads work."""

    groups: int  # thread groups, each with a slice at a time
    group_size: int  # threads of a group, which divide a slice's units: one barrier a step
    slices: int  # parts of the batch, a direction
    why: str


class CudaPlan(NamedTuple):
    """How one pass runs on a GPU, in the order of the module's `recurrent_plan`."""

    engine: str  # "cluster", "persistent": one launch for all steps; "step": one launch for each
    resident: bool  # whether the weights stay in shared memory for the whole pass
    slices: int  # parts of the batch
    rows_per_slice: int
    blocks: int  # of the whole grid
    threads: int  # in a block
    shared_bytes: int  # in a block
    scratch_bytes: int
    why: str
