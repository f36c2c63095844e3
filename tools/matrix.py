"""`python3 dev.py matrix`: a part of the suite on other releases of Python and torch.

Each release has an environment of its own outside the checkout, which is kept: a second run installs pyrnn
anew and nothing else. What was found goes into bench/results/matrix.json, and from there into the README.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from pyrnn import _native
from pyrnn._files import read_json, write_text
from pyrnn.bench import record
from pyrnn.bench.report import put_in_readme, table_line
from tools.dev.pack import interpreter
from tools.dev.setup import TOOLS
from tools.dev.shell import ROOT, fail, run

RESULTS = ROOT / "bench" / "results" / "matrix.json"
ENVIRONMENTS = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pyrnn" / "matrix"
TESTING = ("hypothesis", "matplotlib", "pytest", "pytest-timeout", "pytest-xdist", "tokenizers")

#: What torch's releases differ in: operators and their tracing, layers, drop-in behaviour, training.
CHOSEN = ("tests/ops", "tests/nn", "tests/swap")


class Release(NamedTuple):
    """A pair to be tested, and why."""

    python: str
    torch: str
    why: str


RELEASES = (
    Release("3.10", "2.8.0", "the oldest of both"),
    Release("3.12", "2.11.0", "in between"),
    Release("3.13", "2.14.1", "the newest"),
)


def environment(release: Release) -> Path:
    """The interpreter of the release's environment, made where there is none."""
    folder = ENVIRONMENTS / f"python-{release.python}-torch-{release.torch}"
    python = folder / "bin" / "python"
    if (folder / "complete").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    check_call(interpreter(release.python), "-m", "venv", folder)
    pip = (python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    check_call(*pip, "--upgrade", "pip")  # that of Python 3.10 cannot pass settings to a build
    # The build for CPUs where the index has it: the other one is gigabytes.
    if run(*pip, "--retries", "0", f"torch=={release.torch}+cpu") != 0:
        check_call(*pip, f"torch=={release.torch}")
    check_call(*pip, *TOOLS, *TESTING, *requirements())
    (folder / "complete").touch()
    return python


def requirements() -> list[str]:
    """What pyrnn itself needs, less torch."""
    (block,) = re.findall(r"^dependencies = \[\n(.*?)^\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)
    return [name for name in re.findall(r'^\s*"([^"]+)"', block, re.M) if not name.startswith("torch")]


def check_call(*command: str | Path) -> None:
    """Run a command that nothing can go on without."""
    if run(*command) != 0:
        fail("matrix: this release cannot be tested: the messages stand above")


def test(release: Release, arguments: list[str]) -> record.Row:
    """Install pyrnn there, run the tests from a copy that no source folder stands beside, and count."""
    python = environment(release)
    folder = python.parents[1]
    sets, known = ";".join(_native.isas()), facts()  # of the tree that is installed now, not of a later one
    check_call(
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"),
        *("--no-build-isolation", "--force-reinstall", f"-Cbuild-dir={folder / 'build'}"),
        *("-Ccmake.define.PYRNN_CUDA=OFF", f"-Ccmake.define.PYRNN_INSTRUCTION_SETS={sets}", ROOT),
    )
    suite = folder / "suite"
    shutil.rmtree(suite, ignore_errors=True)
    suite.mkdir()
    shutil.copytree(ROOT / "tests", suite / "tests")
    shutil.copyfile(ROOT / "pyproject.toml", suite / "pyproject.toml")
    outcome = suite / "outcome.xml"
    # Other releases have other warnings.
    options = ("-q", "-W", "default", "-n", "2", "--dist", "loadfile", f"--junitxml={outcome}")
    run(python, "-m", "pytest", *options, *(arguments or CHOSEN), cwd=suite)
    if not outcome.exists():
        fail("matrix: pytest ended without a result")
    return {**release._asdict(), **counts(outcome), **known, "arguments": arguments or [*CHOSEN]}


def counts(path: Path, module: str = "") -> record.Row:
    """How many tests, of one module or of all, had which outcome, and the names of those that failed."""
    cases = [*ElementTree.parse(path).iter("testcase")]
    cases = [case for case in cases if not module or case.get("classname") == module]
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = sorted(f"{case.get('classname')}::{case.get('name')}" for case in failed)
    return {
        "passed": len(cases) - len(failed) - skipped,
        "skipped": skipped,
        "failed": len(failed),
        "names": names,
    }


def facts() -> record.Row:
    """Of the run."""
    env = record.environment()
    return {name: env[name] for name in ("date", "commit", "processor", "isa")}


def table(rows: list[record.Row]) -> str:
    """For the README."""
    lines = [table_line(["Python", "torch", "passed", "failed", "skipped", "at"])]
    lines.append(table_line(["---", "---", "---:", "---:", "---:", "---"]))
    for row in rows:
        figures = [str(row[name]) for name in ("passed", "failed", "skipped")]
        at = f"{row['commit']}, {row['date'][:10]}"
        lines.append(table_line([row["python"], row["torch"], *figures, at]))
    return "\n".join(lines)


def keep(found: list[record.Row]) -> None:
    """Put these rows in the place of older ones, in the record and in the README."""
    older = read_json(RESULTS) if RESULTS.exists() else []
    kept = {row["torch"]: row for row in (*older, *found)}
    rows = [kept[release.torch] for release in RELEASES if release.torch in kept]
    write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    put_in_readme("matrix", table(rows), ROOT / "README.md")


def main(argv: list[str] | None = None) -> int:
    """Test the chosen releases; 1 if a test failed on one of them."""
    parser = argparse.ArgumentParser(prog="dev.py matrix", description=__doc__)
    parser.add_argument("--torch", nargs="+", choices=[release.torch for release in RELEASES])
    parser.add_argument(
        "arguments", nargs="*", metavar="ARGS", help=f"for pytest (default: {' '.join(CHOSEN)})"
    )
    told = parser.parse_args(argv)
    chosen = [release for release in RELEASES if not told.torch or release.torch in told.torch]
    found: list[record.Row] = []
    try:
        for release in chosen:
            row = test(release, told.arguments)
            found.append(row)
            print(f"Python {row['python']}, torch {row['torch']}: {row['passed']} passed, ", end="")
            print(f"{row['failed']} failed, {row['skipped']} skipped", *row["names"], sep="\n  ", flush=True)
    finally:  # at the end, for what is written makes the tree differ from its commit
        if found and not told.arguments:  # a part of the part is nobody's result
            keep(found)
    return 1 if any(row["failed"] for row in found) else 0


if __name__ == "__main__":
    sys.exit(main())
