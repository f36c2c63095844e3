"""Register spills: each must be declared in csrc/spills.txt.

A spill is a store and a load in every step, of which there may be thousands: it is allowed where somebody
has looked at it and found the alternative worse.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tools.device_code.compile import ROOT

DECLARED = ROOT / "csrc" / "spills.txt"

HEADER = """\
# Register spills that are known and accepted: architecture, bytes stored, kernel. A kernel may spill less
# than its line says; one without a line may not spill. Written by `python3 dev.py spills --declare`; say why
# in the commit.
"""


@dataclass(frozen=True)
class Kernel:
    """What the assembler reports of one kernel on one architecture."""

    architecture: str
    name: str
    spill_bytes: int
    stack_bytes: int
    registers: int


def parse(report: str) -> Iterator[Kernel]:
    """Read what `ptxas -v` writes."""
    pattern = re.compile(
        r"Compiling entry function '(?P<name>\S+)' for '(?P<architecture>\w+)'"
        r".*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, \d+ bytes spill loads"
        r".*?Used (?P<registers>\d+) registers",
        re.S,
    )
    for found in pattern.finditer(report):
        yield Kernel(
            found["architecture"],
            found["name"],
            int(found["stores"]),
            int(found["stack"]),
            int(found["registers"]),
        )


def serialised(report: str) -> Iterator[str]:
    """What the assembler says of kernels whose products of warpgroups wait for one another."""
    for line in report.splitlines():
        if "wgmma.mma_async instructions are serialized" in line:
            yield line.strip()


def read_declared(text: str) -> dict[tuple[str, str], int]:
    """Bytes by architecture and kernel."""
    lines = [line.split(maxsplit=2) for line in text.splitlines() if line.strip() and line[0] != "#"]
    # Kernels of several dtypes may share a name: sorted, the one that spills most comes last.
    ordered = sorted((int(number), architecture, name) for architecture, number, name in lines)
    return {(architecture, name): number for number, architecture, name in ordered}


def declaration(kernels: Iterable[Kernel]) -> str:
    """The file that accepts what is there."""
    return HEADER + "".join(
        sorted({f"{k.architecture} {k.spill_bytes} {k.name}\n" for k in kernels if k.spill_bytes})
    )


def undeclared(kernels: Iterable[Kernel], declared: dict[tuple[str, str], int]) -> list[str]:
    """A complaint for each kernel that spills more than it may."""
    return [
        f"{kernel.architecture} {kernel.name}: spills {kernel.spill_bytes} bytes, "
        f"{declared.get((kernel.architecture, kernel.name), 0)} are declared ({kernel.registers} registers)"
        for kernel in kernels
        if kernel.spill_bytes > declared.get((kernel.architecture, kernel.name), 0)
    ]
