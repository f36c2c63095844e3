"""The stages of the proof: what each runs, how the time is shared among them, and the command line.

It imports nothing but Python's own library: dev.py loads this file where there may be no pyrnn yet.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Seconds for everything, the build included.
TOTAL = 480.0

REHEARSE = "without a GPU: the CUDA module compiled for the host, on which what can is run, small"

#: Where records are kept.
RESULTS = Path(__file__).resolve().parents[3] / "bench" / "results" / "gpu"

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
    rehearsed: bool = False  # whether the emulator can stand in for a device


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
    return python(f"tools.gpu_proof.{name}")


# A hanging kernel cannot be interrupted: the thread method says where the test stands and ends the process.
# Warnings stay warnings: another torch, Python or numpy than the project's own has its own. Two processes of
# torchrun take longer to start than all other tests.
_TESTS = python(
    "pytest",
    *("-p", "tools.gpu_proof.pytest_rows", "-q", "--tb=short", "--timeout=40", "--timeout-method=thread"),
    *("-o", "faulthandler_timeout=30", "-W", "default", "tests/cuda"),
    *("--deselect", "tests/cuda/test_training.py::test_processes_of_torchrun"),
)

STAGES = (
    # dev.py itself runs this one, because without it there may be no pyrnn to import.
    Stage("build", "compile for this device's architecture alone", 0, 240, ()),
    Stage("sizes", "layers of real sizes against torch.nn in float64", 20, 60, _module("sizes"), True),
    Stage("rooflines", "what the device can do, and cuDNN at a few sizes", 25, 45, _module("rooflines")),
    Stage("tests", "the CUDA tests, on the device", 60, 200, _TESTS, True),
    Stage("dump", "results of every PTX wrapper on random inputs", 10, 20, _module("wrappers"), True),
    Stage("attention", "attention against float64 and torch's backends", 40, 120, _module("attention"), True),
    Stage("bench", "pyrnn against torch.nn on cuDNN", 60, TOTAL, _module("layers")),
    Stage("sanitizer", "memcheck, racecheck and synccheck on small shapes", 20, 75, _module("sanitizer")),
)
NAMES = tuple(stage.name for stage in STAGES)


def chosen(names: Sequence[str]) -> list[Stage]:
    """The named stages in the order in which they run; all of them where none is named."""
    return [stage for stage in STAGES if not names or stage.name in names]


def allowance(stage: Stage, later: Sequence[Stage], left: float) -> float:
    """Seconds for `stage` when `left` remain: what it may take, less what the later ones are sure of."""
    return max(0.0, min(stage.most, left - sum(other.least for other in later)))


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line of `dev.py gpu`."""
    does = "; ".join(f"{stage.name}: {stage.does}" for stage in STAGES)
    parser = argparse.ArgumentParser(
        prog="dev.py gpu",
        description=f"Prove pyrnn on a GPU. Stages: {does}.",
        epilog="Beside the stages, each with --help: `gpu pack` builds for a machine that cannot, `gpu plan` "
        "says what to run there, `gpu compare` holds two records against each other, `gpu publish` "
        "writes pages and tables from the records again.",
    )
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(NAMES)} (default: all)")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the record")
    parser.add_argument("--copy-to", type=Path, help="a folder that gets the record, too, after each stage")
    parser.add_argument("--total", type=float, default=TOTAL, help=f"seconds for all (default {TOTAL:.0f})")
    parser.add_argument("--commit", help="name of the version, where there is no git to ask")
    parser.add_argument("--rehearse", type=Path, metavar="MODULE", help=REHEARSE)
    parser.add_argument("--build-seconds", type=float, default=0.0, help=argparse.SUPPRESS)
    told = parser.parse_args(argv)
    if unknown := [name for name in told.stages if name not in NAMES]:
        parser.error(f"no stage is called {unknown[0]!r}: choose among {', '.join(NAMES)}")
    return told


@dataclass(frozen=True)
class Orders:
    """What a stage is told."""

    rows: Path  # takes each result at once
    seconds: float  # for the whole stage
    record: Path  # of the stages before it
    rehearse: Path | None = None  # the module of the emulator, where there is no GPU


def add_orders(add: Any) -> None:
    """Declare the options through `add_argument` of argparse or `addoption` of pytest."""
    add("--rows", type=Path, required=True, help="a file that takes the results, one JSON object a line")
    add("--seconds", type=float, default=TOTAL, help="time for this stage")
    add("--record", type=Path, required=True, help="the record so far; other files go beside it")
    add("--rehearse", type=Path, help="the CUDA module compiled for the host: run on it, and small")


def orders(argv: list[str] | None = None) -> Orders:
    """The command line of a stage."""
    parser = argparse.ArgumentParser()
    add_orders(parser.add_argument)
    options = parser.parse_args(argv)
    return Orders(options.rows, options.seconds, options.record, options.rehearse)
