"""Fails when a CUDA kernel keeps registers in memory without saying so in csrc/spills.txt.

A spill is a store and a load in every step, of which there may be thousands: it is allowed where somebody
has looked at it and found the alternative worse. Every .cu file is compiled with the flags of the real build,
for each architecture of a release, and the assembler's report is read. No GPU is needed.

    python3 dev.py spills              compile and compare
    python3 dev.py spills --declare    compile and write csrc/spills.txt anew
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DECLARED = ROOT / "csrc" / "spills.txt"
ARCHITECTURES = "80;90a;100"

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


def readable(names: Iterable[str]) -> dict[str, str]:
    """Demangled names without arguments, where there is a demangler."""
    mangled, program = sorted(set(names)), shutil.which("c++filt")
    if program is None or not mangled:
        return {name: name for name in mangled}
    text = "\n".join(mangled)
    shown = subprocess.run([program, "-p"], input=text, capture_output=True, text=True, check=True).stdout
    return dict(zip(mangled, shown.splitlines(), strict=True))


def read_declared(text: str) -> dict[tuple[str, str], int]:
    """Bytes by architecture and kernel."""
    lines = [line.split(maxsplit=2) for line in text.splitlines() if line.strip() and line[0] != "#"]
    # Kernels of several dtypes may share a name: sorted, the one that spills most comes last.
    ordered = sorted((int(number), architecture, name) for architecture, number, name in lines)
    return {(architecture, name): number for number, architecture, name in ordered}


def undeclared(kernels: Iterable[Kernel], declared: dict[tuple[str, str], int]) -> list[str]:
    """A complaint for each kernel that spills more than it may."""
    return [
        f"{kernel.architecture} {kernel.name}: spills {kernel.spill_bytes} bytes, "
        f"{declared.get((kernel.architecture, kernel.name), 0)} are declared ({kernel.registers} registers)"
        for kernel in kernels
        if kernel.spill_bytes > declared.get((kernel.architecture, kernel.name), 0)
    ]


def commands(folder: Path) -> list[tuple[list[str], Path]]:
    """How the real build compiles each .cu file, from CMake."""
    beside = Path(sys.executable).parent / "cmake"
    cmake = str(beside) if beside.exists() else "cmake"
    options = ("-DPYRNN_CUDA=ON", "-DPYRNN_PYTHON=OFF", "-DCMAKE_EXPORT_COMPILE_COMMANDS=ON")
    architectures = f"-DPYRNN_CUDA_ARCHITECTURES={ARCHITECTURES}"
    subprocess.run([cmake, "-S", ROOT, "-B", folder, *options, architectures], check=True)
    entries = json.loads((folder / "compile_commands.json").read_text())
    return [
        (shlex.split(entry["command"]), Path(entry["directory"]))
        for entry in entries
        if entry["file"].endswith(".cu")
    ]


def report_of(command: list[str], directory: Path, object_file: Path) -> str:
    """The assembler's report on one compilation, whose object is thrown away."""
    place = command.index("-o") + 1
    with_report = [*command[:place], str(object_file), *command[place + 1 :], "-Xptxas=-v"]
    result = subprocess.run(with_report, cwd=directory, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{shlex.join(with_report)}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def compiled(jobs: int) -> list[Kernel]:
    """Every kernel on every architecture, with readable names."""
    with tempfile.TemporaryDirectory(prefix="pyrnn-spills-") as name, ThreadPoolExecutor(jobs) as pool:
        folder = Path(name)
        work = commands(folder)
        reports = [
            pool.submit(report_of, command, directory, folder / f"{number}.o")
            for number, (command, directory) in enumerate(work)
        ]
        kernels = [kernel for report in reports for kernel in parse(report.result())]
    names = readable(kernel.name for kernel in kernels)
    return [Kernel(**{**vars(kernel), "name": names[kernel.name]}) for kernel in kernels]


def main() -> int:
    """Compile and judge."""
    parser = argparse.ArgumentParser(description="Register spills of the CUDA kernels.")
    parser.add_argument("--declare", action="store_true", help="accept what is there")
    parser.add_argument("--jobs", type=int, default=1, help="compilations at a time (default 1)")
    options = parser.parse_args()
    os.environ["PATH"] += f"{os.pathsep}/usr/local/cuda/bin"  # where the toolkit is but PATH does not say so
    if shutil.which("nvcc") is None:
        sys.stdout.write("spills: there is no nvcc here: nothing was checked\n")
        return 0
    kernels = compiled(options.jobs)
    if not kernels:
        sys.stdout.write("spills: no kernel was found in the assembler's report\n")
        return 1
    if options.declare:
        lines = {f"{k.architecture} {k.spill_bytes} {k.name}\n" for k in kernels if k.spill_bytes}
        DECLARED.write_text(HEADER + "".join(sorted(lines)))
    complaints = undeclared(kernels, read_declared(DECLARED.read_text()))
    sys.stdout.writelines(f"{complaint}\n" for complaint in complaints)
    spilling, most = sum(k.spill_bytes > 0 for k in kernels), max(k.registers for k in kernels)
    sys.stdout.write(
        f"spills: {len(kernels)} kernels, {spilling} spill, {len(complaints)} without leave; at most {most} "
        "registers\n"
    )
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
