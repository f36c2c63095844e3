"""The benchmark of linear layers: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.harness import check_agreement
from pyrnn.bench.linear import BENCHMARK, LAYERS, SHAPES, Case, sides

SMALL = Case("plain", "float32", "train", "plain", N=5, I=6, O=7)


def test_operations() -> None:
    assert replace(SMALL, mode="infer").operations() == 2 * 5 * 6 * 7
    assert SMALL.operations() == 3 * 2 * 5 * 6 * 7


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected)) == 3 * len(SHAPES)
    assert {case.mode for case in selected if case.layer == "gelu"} == {"infer"}
    assert len(list(BENCHMARK.cases(BENCHMARK.arguments(["--shapes", "quick"])))) == 2 * 2 * 3


@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("layer", LAYERS)
def test_contenders_compute_the_same(layer: str, mode: str) -> None:
    case = replace(SMALL, layer=layer, mode=mode)
    if not case.meaningful():
        return
    ours, theirs = sides(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert len(theirs.compared()) == (4 if mode == "train" else 1)


def test_a_row_tells_who_computes() -> None:
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert set(row["routes"]) == {"forward", "input_gradient", "weight_gradient"}
    assert row["difference"] < 1e-4
    assert row["cpu_ratio"] > 0
