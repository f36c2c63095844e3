"""The sanitizer stage: NVIDIA's compute-sanitizer around small training steps, one tool after another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pyrnn.bench import record
from pyrnn.bench.gpu.stages import ABSENT, orders

TOOLS = ("memcheck", "racecheck", "synccheck")

#: What the sanitizer exits with when it found something; the program itself never does.
FOUND = 86

#: Only this package's kernels are watched: all their names, mangled, hold this.
_KERNELS = "kns=pyrnn"

_TAIL = 40


def sanitizer() -> str | None:
    """Its path: on PATH, or in the toolkit."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    places = [toolkit / "bin", toolkit / "compute-sanitizer"]
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))


def watch(program: str, tool: str, seconds: float) -> record.Row:
    """Run the small steps under one tool."""
    options = ("--tool", tool, "--error-exitcode", str(FOUND), "--kernel-name", _KERNELS)
    limited = ("timeout", "-k", "5", f"{seconds:.0f}")
    # Without torch's own cache every tensor is an allocation: reading past its end is seen.
    result = subprocess.run(
        [*limited, program, *options, sys.executable, "-m", "pyrnn.bench.gpu.small"],
        env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    row: record.Row = {"tool": tool, "outcome": outcome(result.returncode, result.stdout)}
    summary = re.findall(r"^=+ (.*SUMMARY.*)$", result.stdout, re.M)
    if row["outcome"] != "clean":
        row["output"] = result.stdout.splitlines()[-_TAIL:]
    return {**row, "summary": summary[-1] if summary else "none"}


def outcome(code: int, output: str) -> str:
    """A run that did not end, or that the tool never watched, is not clean."""
    if code in (124, 137):
        return "timed out"
    if code == FOUND:
        return "errors found"
    watched = "SUMMARY" in output and "training steps" in output
    return "clean" if code == 0 and watched else "failed"


def main() -> int:
    """Every tool gets its share of the time; absence is said and is no failure."""
    told, program = orders(), sanitizer()
    if program is None:
        record.append(told.rows, {"tool": "compute-sanitizer", "outcome": "absent"})
        print("compute-sanitizer is not installed here: nothing was checked", flush=True)
        return ABSENT
    ends = time.monotonic() + told.seconds - 3
    outcomes = []
    for number, tool in enumerate(TOOLS):
        share = max(1.0, (ends - time.monotonic()) / (len(TOOLS) - number))
        row = watch(program, tool, share)
        outcomes.append(row["outcome"])
        record.append(told.rows, row)
        print(f"{tool}: {row['outcome']}; {row['summary']}", *row.get("output", []), sep="\n", flush=True)
    return 0 if set(outcomes) == {"clean"} else 1


if __name__ == "__main__":
    sys.exit(main())
