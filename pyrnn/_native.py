"""The compiled module, what it can do on this processor, and how many threads it may use."""

from __future__ import annotations

import os
from typing import NamedTuple

import torch

try:
    from pyrnn import _cpu as cpu
except ImportError as error:
    raise ImportError(
        "pyrnn's compiled module is missing: install the package (`pip install .`), or run Python outside "
        f"the source folder if it is installed ({error})"
    ) from error

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


def num_threads() -> int:
    """Threads that a kernel may use: torch's setting, or one in a forked process."""
    return 1 if _forked else torch.get_num_threads()


class Split(NamedTuple):
    """How one call is split among threads: `groups` * `members` threads work."""

    groups: int  # teams walked at the same time
    members: int  # threads that share a team's units, one barrier a step
    slices: int  # parts of the batch: teams a direction
    why: str
