"""The decoder benchmark: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.decoder import BENCHMARK, LAYOUT, NAMES, STEPS, Case, sides
from pyrnn.bench.harness import check_agreement

SMALL = Case("gru-dot", "float32", "train", "plain", B=3, H=8)


def test_operations() -> None:
    forward = 2 * STEPS * 3 * (9 * 64 + 2 * STEPS * 8)
    assert replace(SMALL, mode="infer").operations() == forward
    assert SMALL.operations() == 3 * forward
    assert replace(SMALL, kind="lstm-additive", mode="infer").operations() == forward + 2 * STEPS * 3 * 4 * 64


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected)) == 2 * 6 * 4 * 2
    quick = BENCHMARK.arguments(["--shapes", "quick", "--kind", "gru-dot", "--mode", "infer"])
    assert len(list(BENCHMARK.cases(quick))) == 2 * 2 * 2


@pytest.mark.parametrize("variant", ["plain", "lengths"])
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("kind", NAMES)
def test_contenders_compute_the_same(kind: str, mode: str, variant: str) -> None:
    case = replace(SMALL, kind=kind, mode=mode, variant=variant)
    ours, theirs = sides(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    parameters = 6 if case.additive else 4
    assert len(ours.compared()) == (1 + 3 + parameters if mode == "train" else 1)


def test_measure_makes_a_complete_row() -> None:
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert row["benchmark"] == "decoder"
    assert row["S"] == STEPS
    assert set(LAYOUT.key) <= {*row, "threads", "isa"}
