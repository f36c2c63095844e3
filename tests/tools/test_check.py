"""`dev.py check` and the lanes of commands: which tests are the fast ones, and what becomes of a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tools.dev.check import FAST, SLOW_FOLDERS
from tools.dev.lanes import run_lanes, verdict

ROOT = Path(__file__).resolve().parents[2]


def test_every_fast_file_exists_and_no_folder_of_tests_is_forgotten() -> None:
    assert [name for name in FAST if not (ROOT / name).is_file()] == []
    assert len({*FAST}) == len(FAST)
    folders = {path.relative_to(ROOT / "tests").parts[0] for path in ROOT.glob("tests/*/**/test_*.py")}
    covered = {Path(name).parts[1] for name in FAST}
    assert covered - {path.name for path in ROOT.glob("tests/test_*.py")} | {*SLOW_FOLDERS} == folders
    assert not covered & {*SLOW_FOLDERS}


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_failure_ends_its_lane_alone_and_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    fails, works = python("print('so far'); raise SystemExit(3)"), python("print('it works')")
    results = run_lanes({"first": [fails, python("print('never')")], "second": [works, works]})
    assert sorted((result.lane, result.status) for result in results) == [
        ("first", 3),
        ("second", 0),
        ("second", 0),
    ]
    assert verdict(results) == 1
    assert verdict([result for result in results if result.lane == "second"]) == 0
    told = capfd.readouterr().out
    assert "FAILED with exit status 3" in told
    assert f"failed: first: {' '.join(fails)}" in told
    assert "never" not in told.replace("print('never')", "")


def test_the_output_of_a_lane_is_kept_whole(capfd: pytest.CaptureFixture[str]) -> None:
    count = python("import time\nfor n in range(20): print('line', n, flush=True); time.sleep(0.002)")
    run_lanes({"first": [count], "second": [count]})
    told = capfd.readouterr().out
    whole = "".join(f"line {n}\n" for n in range(20))
    assert told.count(whole) == 2
