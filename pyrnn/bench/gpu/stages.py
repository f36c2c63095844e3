"""The stages of the proof: what each runs, and how the time is shared among them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds for everything, the build included.
TOTAL = 480.0

#: Exit status of a stage whose tool this machine lacks.
ABSENT = 3


@dataclass(frozen=True)
class Stage:
    """One part of the proof, a command that gets `--rows`, `--seconds` and `--record`."""

    name: str
    does: str
    least: float  # seconds kept back for it while the stages before it run
    most: float
    command: tuple[str, ...]


#: An editable install asks cmake and ninja at its first import whether the C++ was edited. The process that
#: runs the stages has asked; stages, and what the sanitizer watches, need not. SKBUILD_EDITABLE_SKIP will not
#: do: scikit-build-core 1.1.2 finds no compiled module in a build that it names.
_START = """
import runpy, sys
for finder in sys.meta_path:
    if hasattr(finder, "rebuild_flag"):
        finder.rebuild_flag = False
del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def python(module: str, *arguments: str) -> tuple[str, ...]:
    """The command that does what `python -m module arguments` does, with the build as it is."""
    return (sys.executable, "-c", _START, module, *arguments)


def _module(name: str) -> tuple[str, ...]:
    return python(f"pyrnn.bench.gpu.{name}")


# A hanging kernel cannot be interrupted: the thread method says where the test stands and ends the process.
_TESTS = python(
    "pytest",
    *("-p", "pyrnn.bench.gpu.pytest_rows", "-q", "--tb=short", "--timeout=40", "--timeout-method=thread"),
    *("-o", "faulthandler_timeout=30", "tests/cuda"),
)

STAGES = (
    # dev.py itself runs this one, because without it there may be no pyrnn to import.
    Stage("build", "compile for this device's architecture alone", 0, 240, ()),
    Stage("ceilings", "what the device can do, and cuDNN at a few sizes", 25, 45, _module("ceilings")),
    Stage("tests", "the CUDA tests, on the device", 60, 200, _TESTS),
    Stage("sanitizer", "memcheck, racecheck and synccheck on small shapes", 20, 75, _module("sanitizer")),
    Stage("dump", "results of every PTX wrapper on random inputs", 10, 20, _module("wrappers")),
    Stage("bench", "pyrnn against torch.nn on cuDNN", 120, TOTAL, _module("layers")),
)
NAMES = tuple(stage.name for stage in STAGES)


def chosen(names: Sequence[str]) -> list[Stage]:
    """The named stages in the order in which they run; all of them where none is named."""
    return [stage for stage in STAGES if not names or stage.name in names]


def allowance(stage: Stage, later: Sequence[Stage], left: float) -> float:
    """Seconds for `stage` when `left` remain: what it may take, less what the later ones are sure of."""
    return max(0.0, min(stage.most, left - sum(other.least for other in later)))


@dataclass(frozen=True)
class Orders:
    """What a stage is told."""

    rows: Path  # takes each result at once
    seconds: float  # for the whole stage
    record: Path  # of the stages before it


def add_orders(add: Any) -> None:
    """Declare the options through `add_argument` of argparse or `addoption` of pytest."""
    add("--rows", type=Path, required=True, help="a file that takes the results, one JSON object a line")
    add("--seconds", type=float, default=TOTAL, help="time for this stage")
    add("--record", type=Path, required=True, help="the record so far; other files go beside it")


def orders(argv: list[str] | None = None) -> Orders:
    """The command line of a stage."""
    parser = argparse.ArgumentParser()
    add_orders(parser.add_argument)
    options = parser.parse_args(argv)
    return Orders(options.rows, options.seconds, options.record)
