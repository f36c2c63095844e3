"""How many warps of each planned kernel a multiprocessor has registers for: csrc/occupancy.txt.

A device tells its planners itself. Under emulation csrc/emulator/launch_checks.cpp tells them from that file,
so that the plans which tests look at are those of the device that is emulated.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from tools.device_code.compile import ROOT
from tools.device_code.spills import Kernel

DECLARED = ROOT / "csrc" / "occupancy.txt"

#: Of the device that csrc/emulator emulates.
ARCHITECTURE = "sm_90a"

_PLANNED = re.compile(
    r"recurrence_kernel<|attention::cuda::\w*(?:forward|query_gradient|key_gradient|delta_of_weights)_kernel<"
)
_NAMESPACES = re.compile(r"(?:\(anonymous namespace\)|\w+)::")

# Registers of each of the four parts of a multiprocessor, and how many a warp's share is a multiple of.
_PARTS, _REGISTERS_OF_PART, _GRAIN = 4, 16384, 256

HEADER = """\
# Warps whose registers a multiprocessor holds at once, for each kernel whose blocks a planner counts:
# architecture, warps, kernel without namespaces. The emulator reads it. Written by
# `python3 dev.py spills --declare`.
"""


def warps_of(registers: int) -> int:
    """How many warps with so many registers a thread stay on a multiprocessor."""
    of_warp = -(-registers * 32 // _GRAIN) * _GRAIN
    return _PARTS * (_REGISTERS_OF_PART // of_warp)


def lines_of(kernels: Iterable[Kernel]) -> list[str]:
    """The lines of the file that these kernels ask for."""
    return sorted(
        f"{kernel.architecture} {warps_of(kernel.registers)} {_NAMESPACES.sub('', kernel.name)}"
        for kernel in kernels
        if kernel.architecture == ARCHITECTURE and _PLANNED.search(kernel.name)
    )


def read_declared(path: Path = DECLARED) -> list[str]:
    """The lines of the file as they stand."""
    return [line for line in path.read_text().splitlines() if line and line[0] != "#"]


def declare(kernels: Iterable[Kernel], path: Path = DECLARED) -> None:
    """Make the file tell what is there."""
    path.write_text(HEADER + "".join(f"{line}\n" for line in lines_of(kernels)))


def outdated(kernels: Iterable[Kernel], declared: list[str]) -> list[str]:
    """A complaint for each line that is missing, and for each that no kernel asks for."""
    found = lines_of(kernels)
    if not found:  # another architecture was compiled
        return []
    missing, stale = sorted({*found} - {*declared}), sorted({*declared} - {*found})
    complaints = [f"occupancy: {line}: not declared" for line in missing]
    complaints += [f"occupancy: {line}: declared, but no kernel has it" for line in stale]
    return [
        f"{each}; `python3 dev.py spills --declare` writes csrc/occupancy.txt anew" for each in complaints
    ]
