"""The page says what the record says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from pyrnn.bench import record
from tools.gpu_proof.cases import GpuCase
from tools.gpu_proof.goals import GOALS
from tools.gpu_proof.page import markdown

CASE = GpuCase("gru", "bfloat16", "infer", "plain", T=512, B=32, I=512, H=512)
Page = Callable[..., list[str]]
PLAN = {"engine": "persistent", "resident": True}


def row(case: GpuCase = CASE, **changes: Any) -> record.Row:
    """A row as the bench stage makes them."""
    times = {"us_per_step": 2.5, "torch_us_per_step": 10.0, "ratio": 4.0}
    spread = {"ratio_spread": {"median": 4.0, "p20": 3.9, "p80": 4.1}}
    return {**asdict(case), **times, **spread, "cudnn": "standard", "plans": [PLAN], **changes}


@pytest.fixture
def page(environment: record.Row) -> Page:
    """The lines of the page of a record with these rows."""

    def lines(**rows: list[record.Row]) -> list[str]:
        stages = {name: {"status": "passed", "seconds": 12.4, "rows": found} for name, found in rows.items()}
        return markdown({"environment": environment, "stages": stages}).splitlines()

    return lines


def test_goals_stand_beside_what_was_reached(page: Page) -> None:
    rows = [row(), row(replace(CASE, H=256, B=1), ratio=1.0), row(replace(CASE, H=128), ratio=0.1)]
    assert (
        f"| {GOALS[0].what} | goal 3.0x | geometric mean 2.00x, smallest 1.00x, 1 of 2 reach it |"
    ) in page(bench=rows)
    large = [row(replace(CASE, H=1024), us_per_step=us) for us in (2.0, 8.0)]
    reached = "geometric mean 4.00 us, largest 8.00 us, 1 of 2 reach it"
    assert f"| {GOALS[-1].what} | goal 3.0 us a step | {reached} |" in page(bench=large)


def test_a_goal_without_rows_is_not_reached_but_not_measured(page: Page) -> None:
    assert sum("| not measured |" in line for line in page()) == len(GOALS)


def test_float32_with_tf32_counts_for_no_goal() -> None:
    case = replace(CASE, dtype="float32")
    assert [goal.what for goal in GOALS if goal.covers(case)] == [GOALS[1].what]
    assert not [goal for goal in GOALS if goal.covers(replace(case, arithmetic="default"))]


def test_forced_engines_have_a_table_and_count_for_no_goal(page: Page) -> None:
    case, cluster = replace(CASE, H=256), {"engine": "cluster", "resident": True}
    forced = replace(case, engine="cluster")
    lines = page(
        bench=[
            row(case, plans=[cluster]),
            row(forced, ratio=9.0, plans=[cluster]),
            {**asdict(replace(case, engine="step")), "refused": "it does not fit"},
        ]
    )
    assert "| goal 3.0x | geometric mean 4.00x, smallest 4.00x, 1 of 1 reach it |" in "".join(lines)
    assert "**GRU, bfloat16, each engine forced in turn, inference**" in lines
    assert "| 512 32 512 256 | 2.50 | 10.00 | 9.00x | 3.90-4.10 | - | cluster | standard |" in lines
    assert "- refused: gru bfloat16 infer plain 512x32x512x256 step engine: it does not fit" in lines


def test_cases(page: Page) -> None:
    trained = replace(CASE, mode="train", variant="lengths")
    streamed = {"engine": "persistent", "resident": False}
    lines = page(
        bench=[
            row(),
            row(trained, share_of_limit=0.5, plans=[PLAN, streamed]),
            {**asdict(replace(CASE, T=1)), "error": "the results differ"},
            {"peer": "flashrnn", "why": "not installed"},
            {"left_out": 2, "of": 5, "cases": ["gru x", "gru y"]},
        ]
    )
    assert "| 512 32 512 512 | 2.50 | 10.00 | 4.00x | 3.90-4.10 | - | persistent | standard |" in lines
    figures = "2.50 | 10.00 | 4.00x | 3.90-4.10 | 50% | persistent / streamed | standard"
    assert f"| 512 32 512 512 lengths | {figures} |" in lines
    assert "**GRU, bfloat16, inference**" in lines
    assert "- **not measured**: gru bfloat16 infer plain 1x32x512x512: the results differ" in lines
    assert "- flashrnn  : not installed" in lines
    assert "2 of 5 cases were left out when the time was spent; the first: gru x." in lines


def test_stages_ceilings_tests_and_sanitizer(page: Page) -> None:
    lines = page(
        rooflines=[
            {"what": "barrier", "blocks": 132, "seconds": 1.5e-6},
            {"what": "l2 read", "bytes_per_second": 5.5e12},
            {"what": "l2", "bytes_per_second": 4.5e12},
            {"what": "product", "dtype": "bfloat16", "flops": 7.9e14},
            {"what": "cudnn", "case": "gru", "cudnn": "standard", "us_per_step": 20.0},
            {"what": "no barrier", "why": "no module"},
        ],
        tests=[
            {"test": "a", "outcome": "passed", "why": ""},
            {"test": "b", "outcome": "failed", "why": "assert 1"},
            {"test": "c", "outcome": "skipped", "why": "no such"},
            {"test": "d", "outcome": "skipped", "why": "no such"},
        ],
        sanitizer=[{"tool": "memcheck", "outcome": "errors found", "summary": "2 errors", "output": ["bad"]}],
    )
    for expected in (
        "| rooflines | passed | 12 |  |",
        "| bench | not chosen | - |  |",
        "| barrier of a grid of 132 blocks | 1.50 us |",
        "| second-level cache, read by sums | 5.50 TB/s |",
        "| second-level cache, read and written by copies | 4.50 TB/s |",
        "| bfloat16 product | 790 TFLOP/s |",
        "| cuDNN alone, standard: gru | 20.00 us a step |",
        "| no barrier | no module |",
        "2 skipped, 1 passed, 1 failed.",
        "- failed: `b`: assert 1",
        "- skipped: `c` and 1 more: no such",
        "- memcheck: errors found; 2 errors",
        "bad",
    ):
        assert expected in lines, expected


def test_output_of_a_stage_that_failed_is_shown(environment: record.Row) -> None:
    stages = {"build": {"status": "failed", "seconds": 3.0, "rows": [], "output": ["nvcc: no"]}}
    lines = markdown({"environment": environment, "stages": stages}).splitlines()
    assert "| build | failed | 3 |  |" in lines
    assert lines[lines.index("## Output of build") + 3] == "nvcc: no"
