"""Where and with what a measurement was made, and the file of rows it is kept in."""

from __future__ import annotations

import datetime
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

import pyrnn
from pyrnn import _native
from pyrnn._files import to_json
from pyrnn.machine import processor

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"

#: Whether the package runs from a source checkout: only there are results kept.
IN_CHECKOUT = (ROOT / "pyproject.toml").exists() and RESULTS.parent.is_dir()

Row = dict[str, Any]


def environment() -> Row:
    """What a reader needs to judge a figure: the machine and its load, instruction set, versions, commit."""
    vendor, model = processor()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": commit(),
        "device": "cpu",
        "vendor": vendor,
        "processor": model,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "isa": _native.isa(),
        "pyrnn": pyrnn.__version__,
        "torch": torch.__version__,
        "torch_blas": blas(),
        "torch_onednn": torch.backends.mkldnn.is_available(),
        "python": sys.version.split()[0],
    }


def blas() -> str:
    """The library behind torch's matrix products; MKL is slow on processors that are not Intel's."""
    found = re.search(r"BLAS_INFO=(\w+)", torch.__config__.show())
    return found[1] if found else "unknown"


def commit() -> str:
    """The checked-out commit, marked when the tree differs from it; "unknown" without a repository or git.

    Records and the pages that show them may differ: what is measured doesn't depend on them.
    """
    if not IN_CHECKOUT or shutil.which("git") is None:
        return "unknown"
    described = _git("describe", "--always", "--exclude", "*")
    if described.returncode != 0:
        return "unknown"
    changed = _git("diff", "--quiet", "HEAD", "--", ".", ":!bench/results", ":!*.md").returncode
    return described.stdout.strip() + ("-dirty" if changed else "")


def _git(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)


def results_file(name: str, env: Row) -> Path:
    """<name>-<date>-<processor>-<instruction set>.jsonl: runs of one day on one kind of machine."""
    slug = re.sub(r"[^a-z0-9]+", "-", f"{env['processor']} {env['isa']}".lower()).strip("-")
    return RESULTS / f"{name}-{env['date'][:10]}-{slug}.jsonl"


def append(path: Path, row: Row) -> None:
    """Add one row at once, so that an interrupted run keeps what it measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(to_json(row) + "\n")


def read(path: Path) -> list[Row]:
    """All rows of a results file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def latest(rows: Iterable[Row], key: tuple[str, ...]) -> list[Row]:
    """The newest row of each case, in the order in which the cases first came.

    Example:
        >>> latest([{"T": 8, "s": 1.0}, {"T": 9, "s": 2.0}, {"T": 8, "s": 3.0}], key=("T",))
        [{'T': 8, 's': 3.0}, {'T': 9, 's': 2.0}]
    """
    return list({tuple(row[field] for field in key): row for row in rows}.values())
