"""How long building and the checks take, as a record: builds, and the steps of the last `.ci/run`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from tools.dev.setup import setup
from tools.dev.shell import PYTHON, ROOT, check_call, commit, tool

CI_TIMES = ROOT / "build" / "ci-times.json"
RECORD = ROOT / "bench" / "results" / "build.jsonl"
TABLE = RECORD.with_suffix(".md")

Row = dict[str, Any]


def build_times(arguments: list[str]) -> int:
    """Build from nothing in folders of their own, and keep the times with those of the last CI run."""
    parser = argparse.ArgumentParser(prog="dev.py bench build", description=build_times.__doc__)
    parser.add_argument("--no-record", action="store_true", help="print the table alone")
    parser.add_argument("--ci-only", action="store_true", help="build nothing: record the last .ci/run")
    told = parser.parse_args(arguments)
    setup()
    steps: dict[str, float] = {} if told.ci_only else builds()
    if CI_TIMES.exists():
        ended = json.loads(CI_TIMES.read_text())
        for step in ended["steps"]:  # an interpreter's path differs from place to place
            steps[f"CI: {step['command'].partition(' dev.py ')[2]}"] = step["seconds"]
        steps["CI: all"] = ended["seconds"]
    row = {**facts(), "seconds": {name: round(seconds, 1) for name, seconds in steps.items()}}
    rows = [json.loads(line) for line in RECORD.read_text().splitlines()] if RECORD.exists() else []
    text = table(row, rows[-1] if rows else None)
    print(text)
    if not told.no_record:
        with RECORD.open("a") as file:
            file.write(json.dumps(row) + "\n")
        TABLE.write_text(text)
    return 0


def builds() -> dict[str, float]:
    """Seconds of the native module as a development build has it, and of `pip install .`."""
    with tempfile.TemporaryDirectory(prefix="pyrnn-build-") as scratch:
        pybind11 = [PYTHON, "-c", "import pybind11; print(pybind11.get_cmake_dir())"]
        found = subprocess.run(pybind11, capture_output=True, text=True, check=True).stdout.strip()
        configure = (
            *(tool("cmake"), "-S", ROOT, "-B", Path(scratch) / "native", "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Release", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}", "-DPYRNN_CUDA=OFF"),
            *(f"-DPython_EXECUTABLE={PYTHON}", f"-Dpybind11_DIR={found}"),
        )
        started = time.monotonic()
        check_call(*configure, otherwise="it could not be configured")
        compile_it = (tool("cmake"), "--build", Path(scratch) / "native", "--target", "_cpu")
        check_call(*compile_it, otherwise="it does not compile")
        native = time.monotonic() - started

        # As pip sees a fresh checkout: no build folder, and what is installed here is left alone.
        checkout = Path(scratch) / "checkout"
        check_call("git", "clone", "--quiet", ROOT, checkout, otherwise="the checkout could not be copied")
        started = time.monotonic()
        install = (PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps")
        target = ("--no-build-isolation", "--target", Path(scratch) / "site", "-Ccmake.define.PYRNN_CUDA=OFF")
        check_call(*install, *target, checkout, otherwise="it does not install")
        installed = time.monotonic() - started
        shutil.rmtree(checkout)
    return {"native module, development build": native, "pip install . (less downloads)": installed}


def facts() -> Row:
    """Of the machine and the moment."""
    cpuinfo = Path("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo.read_text() if cpuinfo.exists() else "", re.M)
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "processor": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[2], 2),  # of the last quarter of an hour, this run included
    }


def table(row: Row, before: Row | None) -> str:
    """The record as a page, beside the one before it where there is one."""
    lines = [
        "# Times of building and of the checks, by `dev.py bench build`",
        "",
        f"{row['processor']}, {row['cores']} cores, load {row['load']}; {row['commit']}, {row['date'][:10]}.",
        "",
        "| step | seconds | before |",
        "|---|---:|---:|",
    ]
    older = before["seconds"] if before else {}
    lines += [f"| {name} | {seconds} | {older.get(name, '')} |" for name, seconds in row["seconds"].items()]
    if before:
        lines += ["", f"Before: {before['commit']}, {before['date'][:10]}, load {before['load']}."]
    return "\n".join(lines) + "\n"
