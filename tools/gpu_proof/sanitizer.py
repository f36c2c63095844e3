"""The sanitizer stage: NVIDIA's compute-sanitizer around small training steps, one tool after another."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pyrnn import _native
from pyrnn.bench import record
from tools.gpu_proof.stages import ABSENT, orders, python

TOOLS = ("memcheck", "racecheck", "synccheck")

#: What the sanitizer exits with when it found something; the program itself never does.
FOUND = 86

#: Only this package's kernels are watched: all their names, mangled, hold this.
FILTER = ("--kernel-name", "kns=pyrnn")

#: What the sanitizer says where the machine does not let it in, for instance in some virtual ones.
UNSUPPORTED = "Device not supported"

#: How it names the injected fault.
INVALID = "Invalid __global__"

#: Seconds for finding the injected fault.
PROBE_SECONDS = 20.0

_INJECTED = Path(__file__).with_name("injected_fault.py")
_TAIL = 40


def sanitizer() -> str | None:
    """Its path: on PATH, or in the toolkit."""
    toolkit = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    places = [toolkit / "bin", toolkit / "compute-sanitizer"]
    return shutil.which("compute-sanitizer", path=os.pathsep.join([os.environ["PATH"], *map(str, places)]))


def run(
    program: str, tool: str, options: tuple[str, ...], command: tuple[str, ...], *, seconds: float
) -> tuple[int, str]:
    """Exit status and output of a command under one tool."""
    result = subprocess.run(
        [
            *("timeout", "-k", "5", f"{seconds:.0f}"),
            *(program, "--tool", tool, "--error-exitcode", str(FOUND), *options, *command),
        ],
        # Without torch's own cache every tensor is an allocation: reading past its end is seen.
        env={**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    return result.returncode, result.stdout


def probe(program: str) -> tuple[record.Row, tuple[str, ...]]:
    """Let it find an error injected in one of our kernels; the options with which it does.

    A filter that matches nothing, or that this version does not know, would make every run clean.
    """
    row: record.Row = {"tool": "injected fault"}
    command = (sys.executable, "-I", "-S", str(_INJECTED), _native.cuda.__file__)
    output = ""
    for options, words in ((FILTER, "among our kernels alone"), ((), "without the filter, which is blind")):
        code, output = run(program, "memcheck", options, command, seconds=PROBE_SECONDS)
        if UNSUPPORTED in output:
            return {**row, "outcome": "absent", "summary": UNSUPPORTED}, ()
        if code == FOUND and INVALID in output:  # failing calls of CUDA are reported too
            return {**row, "outcome": "found", "summary": words}, options
    return {
        **row,
        "outcome": "not found",
        "summary": f"no run below proves anything; exit status {code}",
        "output": output.splitlines()[-_TAIL:],
    }, ()


def watch(program: str, tool: str, options: tuple[str, ...], *, seconds: float) -> record.Row:
    """Run the small steps under one tool."""
    code, output = run(program, tool, options, python("tools.gpu_proof.small"), seconds=seconds)
    row: record.Row = {"tool": tool, "outcome": outcome(code, output)}
    summary = re.findall(r"^=+ (.*SUMMARY.*)$", output, re.M)
    if row["outcome"] != "clean":
        row["output"] = output.splitlines()[-_TAIL:]
    return {**row, "summary": summary[-1] if summary else "none"}


def outcome(code: int, output: str) -> str:
    """A run that did not end, or that the tool never watched, is not clean."""
    if UNSUPPORTED in output:
        return "absent"
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
    if why := _native.why_no_cuda():
        print(f"nothing to watch: pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    ends = time.monotonic() + told.seconds - 3

    def keep(row: record.Row) -> str:
        record.append(told.rows, row)
        said = f"{row['tool']}: {row['outcome']}; {row['summary']}"
        print(said, *row.get("output", []), sep="\n", flush=True)
        return row["outcome"]

    row, options = probe(program)
    found = keep(row)
    if found == "absent":
        return ABSENT
    outcomes = []
    for number, tool in enumerate(TOOLS):
        share = max(1.0, (ends - time.monotonic()) / (len(TOOLS) - number))
        outcomes.append(keep(watch(program, tool, options, seconds=share)))
    return 0 if found == "found" and set(outcomes) == {"clean"} else 1


if __name__ == "__main__":
    sys.exit(main())
