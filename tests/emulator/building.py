"""Builds small CUDA sources with the emulator of `csrc/emulator`, in each of its three modes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

CSRC = Path(__file__).resolve().parents[2] / "csrc"
EMULATOR = CSRC / "emulator"

#: Flags of kernels, and of the emulator itself: those of its CMakeLists.txt.
MODES = {
    "plain": ((), ()),
    "sanitized": (("-g1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"),) * 2,
    "race": (
        ("-g1", "-fsanitize=thread", "--param=tsan-instrument-func-entry-exit=0"),
        ("-g1", "-DPYRNN_EMULATE_RACE"),
    ),
}


def why_not() -> str:
    """Why the emulator cannot be built here; empty where it can."""
    if shutil.which("g++") is None:
        return "no g++: the emulator of CUDA cannot be built"
    if os.uname().machine != "x86_64" or os.uname().sysname != "Linux":
        return "the emulator of CUDA switches fibers in assembly for Linux on x86-64"
    if cuda_include() is None:
        return "no CUDA headers (cuda_fp16.h): set CUDA_HOME"
    return ""


def cuda_include() -> Path | None:
    """The folder of CUDA's headers."""
    homes = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    nvcc = shutil.which("nvcc")
    if nvcc is not None:
        homes.append(str(Path(nvcc).resolve().parents[1]))
    folders = [Path(home) / "include" for home in homes if home]
    return next((folder for folder in folders if (folder / "cuda_fp16.h").exists()), None)


class Builder:
    """Programs of one mode, in a folder of their own."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.folder = folder / mode
        self.folder.mkdir()
        self.kernel_flags, own_flags = MODES[mode]
        sources = [
            source
            for source in sorted(EMULATOR.glob("*.cpp"))
            if mode == "race" or not source.name.startswith("race_")
        ]
        # All sources as one: the headers are most of the work.
        whole = self.folder / "emulator.cpp"
        whole.write_text("".join(f'#include "{source}"\n' for source in sources))
        self.emulator = self.folder / "emulator.o"
        occupancy = f'-DPYRNN_OCCUPANCY="{CSRC / "occupancy.txt"}"'
        self._compile(*own_flags, occupancy, "-c", str(whole), "-o", str(self.emulator))

    def program(self, source: Path, *definitions: str) -> Path:
        """The executable of one CUDA source with a `main`."""
        name = "-".join([source.stem, *(definition.replace("=", "") for definition in definitions)])
        target = self.folder / name
        if target.exists():
            return target
        arguments = [*self.kernel_flags, *(f"-D{definition}" for definition in definitions)]
        kernel = ["-fno-strict-aliasing", "-x", "c++", str(source), "-x", "none"]
        self._compile(*arguments, *kernel, str(self.emulator), "-ldl", "-o", str(target))
        return target

    def _compile(self, *arguments: str) -> None:
        common = ["g++", "-std=c++17", "-O1", "-DPYRNN_EMULATE", f"-I{CSRC}", "-isystem", str(cuda_include())]
        result = subprocess.run([*common, *arguments], capture_output=True, text=True, timeout=240)
        assert result.returncode == 0, result.stderr


def run(program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a built program to its end."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=120)
