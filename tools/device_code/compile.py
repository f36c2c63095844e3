"""Compiles every .cu file with the flags of the real build, for each architecture of a release."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).resolve().parents[2]
ARCHITECTURES = "80;90a;100"
DISASSEMBLERS = ("cuobjdump", "nvdisasm")  # the first one calls the second

Result = TypeVar("Result")


def find_tools() -> None:
    """Extend PATH by where the toolkit is, and its packages of PyPI, though PATH does not say so."""
    packages = Path(sysconfig.get_path("purelib")) / "nvidia"
    places = [Path("/usr/local/cuda/bin"), *sorted(packages.glob("cu*/bin"))]
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", ""), *map(str, places)])


def missing(*programs: str) -> list[str]:
    """Those that PATH does not have."""
    return [program for program in programs if shutil.which(program) is None]


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


def compile_one(command: list[str], directory: Path, object_file: Path) -> str:
    """Make the object; returns the assembler's report."""
    place = command.index("-o") + 1
    with_report = [*command[:place], str(object_file), *command[place + 1 :], "-Xptxas=-v"]
    result = subprocess.run(with_report, cwd=directory, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{shlex.join(with_report)}\n{result.stdout}{result.stderr}")
    return result.stdout + result.stderr


def for_each_source(folder: Path, jobs: int, judge: Callable[[str, Path], Result]) -> list[Result]:
    """Compile into `folder`; `judge` gets each report and object, which is deleted then."""

    def work(number: int, command: list[str], directory: Path) -> Result:
        object_file = folder / f"{number}.o"
        found = judge(compile_one(command, directory, object_file), object_file)
        object_file.unlink()
        return found

    with ThreadPoolExecutor(jobs) as pool:
        begun = [pool.submit(work, i, *how) for i, how in enumerate(commands(folder))]
        return [each.result() for each in begun]


def disassembly(object_file: Path) -> str:
    """The machine code of all kernels in an object, as text."""
    command = ("cuobjdump", "-sass", str(object_file))
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode != 0:
        raise RuntimeError(f"{shlex.join(command)}\n{result.stdout}{result.stderr}")
    return result.stdout


def readable(names: Iterable[str]) -> dict[str, str]:
    """Demangled names without arguments, where there is a demangler."""
    mangled, program = sorted(set(names)), shutil.which("c++filt")
    if program is None or not mangled:
        return {name: name for name in mangled}
    text = "\n".join(mangled)
    shown = subprocess.run([program, "-p"], input=text, capture_output=True, text=True, check=True).stdout
    return dict(zip(mangled, shown.splitlines(), strict=True))
