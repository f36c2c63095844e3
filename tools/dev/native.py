"""Checks of the native code: C++ tests, random calls, the CUDA sources on the host, their machine code."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, check_call, fail, query, run, tool


def ctest(arguments: list[str]) -> int:
    setup()
    folder = checking_build("native_tests", sanitized="--plain" not in arguments)
    return run(tool("ctest"), "--test-dir", folder, "--output-on-failure", "--no-tests=error")


def checking_build(*targets: str, sanitized: bool) -> Path:
    """The folder where `targets` are built, with the instruction sets of a development build."""
    sanitize, folder = ("ON", "sanitized") if sanitized else ("OFF", "ctest-plain")
    options = {"CUDA": "OFF", "TESTS": "ON", "SANITIZE": sanitize, "INSTRUCTION_SETS": "native"}
    return cmake_build(folder, *targets, python=PYTHON, options=options)


def cmake_build(
    name: str,
    *targets: str,
    python: str | Path,
    options: Mapping[str, str | None],
    version: str = "0.0.0+dev",
) -> Path:
    """The folder build/NAME where `targets` are built for `python`; `options` are CMake's PYRNN_ ones."""
    folder = ROOT / "build" / name
    check_call(
        *(tool("cmake"), "-S", ROOT, "-B", folder, "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"),
        *("-DCMAKE_BUILD_TYPE=Release", *(f"-DPYRNN_{option}={value}" for option, value in options.items())),
        f"-DSKBUILD_PROJECT_VERSION={version}",
        f"-DPython_EXECUTABLE={python}",
        f"-Dpybind11_DIR={query('import pybind11 as p; print(p.get_cmake_dir())')}",
        otherwise=f"build/{name} could not be configured",
    )
    check_call(
        tool("cmake"), "--build", folder, "--target", *targets, otherwise="the C++ sources do not compile"
    )
    return folder


def emulate(arguments: list[str]) -> int:
    """The CUDA tests on a build for the host: tests/cuda/conftest.py makes it and reads the mode."""
    if not arguments or arguments[0] not in ("plain", "sanitized", "race"):
        fail("emulate: expected plain, sanitized or race")
    setup()
    mode, *rest = arguments
    os.environ["PYRNN_EMULATE_MODE"] = mode
    if mode == "sanitized":
        os.environ |= {"LD_PRELOAD": sanitizer_libraries(), "ASAN_OPTIONS": "detect_leaks=0"}
    return run(PYTHON, "-m", "pytest", *([] if any("tests" in a for a in rest) else ["tests/cuda"]), *rest)


def sanitizer_libraries() -> str:
    """What must be there before Python's first allocation, for LD_PRELOAD."""
    names = ("libasan.so", "libubsan.so", "libstdc++.so")
    asked = [subprocess.run(["g++", f"-print-file-name={n}"], capture_output=True, text=True) for n in names]
    return ":".join(each.stdout.strip() for each in asked)


def fuzz(arguments: list[str]) -> int:
    """tools/fuzz; with --sanitized its workers load another build of the native module."""
    setup()
    if "--sanitized" not in arguments:
        return run(PYTHON, "-m", "tools.fuzz", *arguments)
    (module,) = checking_build("_cpu", sanitized=True).glob("_cpu*.so")
    rest = [argument for argument in arguments if argument != "--sanitized"]
    return run(PYTHON, "-m", "tools.fuzz", "--native", module, "--preload", sanitizer_libraries(), *rest)


def spills(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "tools.device_code", "spills", *arguments)


def sass(arguments: list[str]) -> int:
    setup()
    return run(PYTHON, "-m", "tools.device_code", "sass", *arguments)
