"""The benchmark of conditional random fields: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.crf import BENCHMARK, NAMES, STEPS, Case, sides
from pyrnn.bench.harness import check_agreement

SMALL = Case("sum", "float32", "train", "plain", B=3, C=8)


def test_operations() -> None:
    pairs = STEPS * 3 * 64
    assert SMALL.operations() == 6 * pairs
    assert replace(SMALL, mode="infer").operations() == 2 * pairs
    assert replace(SMALL, kind="path", mode="infer").operations() == pairs


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected)) == 2 * 9 * 3
    assert not any(case.kind == "path" and case.mode == "train" for case in selected)


@pytest.mark.parametrize("variant", ["plain", "lengths"])
@pytest.mark.parametrize(("kind", "mode"), [(kind, "infer") for kind in NAMES] + [("sum", "train")])
def test_contenders_compute_the_same(kind: str, mode: str, variant: str) -> None:
    case = replace(SMALL, kind=kind, mode=mode, variant=variant)
    ours, theirs = sides(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert len(ours.compared()) == (5 if mode == "train" else 1)
