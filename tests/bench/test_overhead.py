"""The benchmark of small calls: its cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench import overhead
from pyrnn.bench.harness import check_agreement
from pyrnn.bench.overhead import BENCHMARK, RECURRENT, Case, sides

SMALL = Case("gru", "float32", "train", "cell", T=1, B=3, H=8)
CASES = [
    replace(SMALL, module=module, mode=mode, variant=variant, T=1 if variant == "cell" else 5)
    for module in (*RECURRENT, "attention")
    for mode in ("infer", "train")
    for variant in overhead.VARIANT_SHAPES
]


def test_operations() -> None:
    assert replace(SMALL, mode="infer").operations() == 2 * 3 * 3 * 8 * (8 + 8)
    assert SMALL.operations() == 3 * replace(SMALL, mode="infer").operations()
    one = replace(SMALL, module="attention", variant="cached", mode="infer", T=5)
    assert one.operations() == 3 * (2 * 4 * 8 * 8 + 2 * 2 * 6 * 8)


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected)) == 16 * 6 + 15 * 6 + 2 * 3 + 4 * 2 + 3
    assert BENCHMARK.arguments([]).threads == 1


@pytest.mark.parametrize("case", [case for case in CASES if case.meaningful()], ids=str)
def test_both_sides_compute_the_same(case: Case) -> None:
    ours, theirs = sides(case)
    for side in (ours, theirs):
        side.candidate().prepare()
        side.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert len(ours.compared()) == len(theirs.compared())


def test_a_row_tells_the_time_of_one_call() -> None:
    row = BENCHMARK.measure(replace(SMALL, mode="infer"), seconds=0.0, repeats=3)
    assert 1e-7 < row["pyrnn_s"]["median"] < 1e-2
    assert row["cpu_ratio"] > 0
    assert row["calls"] == 20


def test_what_is_slower_is_named() -> None:
    case = {"module": "gru", "dtype": "float32", "mode": "infer", "variant": "cell", "T": 1, "B": 2, "H": 3}
    rows = [{**case, "cpu_ratio": ratio} for ratio in (1.5, 0.5)]
    assert overhead.below_one(rows[:1]) == "By processor time none of the 1 rows is below 1."
    told = overhead.below_one(rows)
    assert told.startswith("By processor time 1 of 2 rows are below 1: gru float32 infer 1 2 3 cell 0.50")
