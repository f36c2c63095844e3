"""The commands behind `python3 dev.py spills` and `python3 dev.py sass`."""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tools.device_code import occupancy, rules, sass, spills
from tools.device_code.compile import (
    ARCHITECTURES,
    DISASSEMBLERS,
    disassembly,
    find_tools,
    for_each_source,
    missing,
    readable,
)


def cpu_seconds() -> float:
    """Of all programs that this one has run to their end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


#: Of the build: 300 s on two cores for one architecture; a wheel with all of them.
CPU_SECONDS, WHEEL_MIB = 600, 24


def over_budget(cpu_seconds: float, mib: float, architectures: int) -> list[str]:
    """What the build of so many architectures takes beyond its budget; code of kernels is most of a wheel."""
    share = cpu_seconds / architectures
    say(f"build: {share:.0f} CPU seconds an architecture of {CPU_SECONDS}; {mib:.1f} MiB of {WHEEL_MIB}")
    slow = f"compiling takes {share:.0f} CPU seconds an architecture, the budget is {CPU_SECONDS}"
    large = f"the objects take {mib:.1f} MiB, the budget of a wheel is {WHEEL_MIB}"
    return [text for text, over in ((slow, share > CPU_SECONDS), (large, mib > WHEEL_MIB)) if over]


def judge_spills(kernels: Sequence[spills.Kernel], *, declare: bool) -> list[str]:
    """What is not declared of spills and occupancy; with `declare` everything is, before."""
    if declare:
        spills.DECLARED.write_text(spills.declaration(kernels))
        occupancy.declare(kernels)
    complaints = spills.undeclared(kernels, spills.read_declared(spills.DECLARED.read_text()))
    spilling, most = sum(k.spill_bytes > 0 for k in kernels), max(k.registers for k in kernels)
    say(
        f"spills: {len(kernels)} kernels, {spilling} spill, {len(complaints)} without leave; at most {most} "
        "registers"
    )
    return complaints + occupancy.outdated(kernels, occupancy.read_declared())


def main(argv: Sequence[str] | None = None) -> int:
    """Compile and judge."""
    parser = argparse.ArgumentParser(description="Register spills and machine code of the CUDA kernels.")
    parser.add_argument("what", choices=("spills", "sass"), help="sass judges both, of one compilation")
    parser.add_argument(
        "--declare", action="store_true", help="accept the spills and the occupancy that are there"
    )
    parser.add_argument(
        "--architectures", nargs="+", metavar="NAME", default=ARCHITECTURES.split(";"), help="default: all"
    )
    parser.add_argument("--jobs", type=int, default=1, help="compilations at a time (default 1)")
    told = parser.parse_args(argv)
    if told.declare and ";".join(told.architectures) != ARCHITECTURES:
        parser.error("--declare writes what all architectures have: leave --architectures out")
    find_tools()
    if missing("nvcc"):
        say(f"{told.what}: there is no nvcc here: nothing was checked")
        return 0
    lacking = missing(*DISASSEMBLERS) if told.what == "sass" else []
    if lacking:
        packages = " ".join(f"nvidia-cuda-{name}" for name in DISASSEMBLERS)
        say(f"sass: there is no {lacking[0]} here: only spills are checked; pip install {packages} brings it")
    sizes: list[int] = []
    disassembles = told.what == "sass" and not lacking

    def judge(report: str, object_file: Path) -> tuple[list[spills.Kernel], list[str]]:
        sizes.append(object_file.stat().st_size)
        kernels = [*spills.parse(report)]
        names = readable(kernel.name for kernel in kernels)
        kernels = [replace(kernel, name=names[kernel.name]) for kernel in kernels]
        code = sass.parse(disassembly(object_file)) if disassembles else ()
        functions = [replace(each, name=names.get(each.name, each.name)) for each in code]
        # What spills more than it may is named as such.
        spilling = {(kernel.architecture, kernel.name) for kernel in kernels if kernel.spill_bytes}
        return kernels, [*rules.judge(functions, spilling), *spills.serialised(report)]

    before = cpu_seconds()
    with tempfile.TemporaryDirectory(prefix="pyrnn-device-code-") as folder:
        found = for_each_source(Path(folder), ";".join(told.architectures), told.jobs, judge)
    kernels = [kernel for of_source, _ in found for kernel in of_source]
    if not kernels:
        say(f"{told.what}: no kernel was found in the assembler's report")
        return 1
    complaints = judge_spills(kernels, declare=told.declare)
    complaints += over_budget(cpu_seconds() - before, sum(sizes) / 2**20, len(told.architectures))
    if told.what == "sass":
        broken = [complaint for _, of_source in found for complaint in of_source]
        broken += [
            *rules.too_many_registers(kernels),
            *rules.without_kernels((k.architecture, k.name) for k in kernels),
        ]
        say(f"sass: {len(broken)} rules broken" + ("" if disassembles else ", instructions not looked at"))
        complaints += broken
    for complaint in complaints:
        say(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
