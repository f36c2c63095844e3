"""The benchmark of nearest neighbours: counts, cases, and both sides finding the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.harness import check_agreement
from pyrnn.bench.nearest import BENCHMARK, Case, sides

SMALL = Case("cosine", "float32", "infer", "plain", Q=3, N=500, D=7)


@pytest.mark.parametrize("variant", ["plain", "mapped"])
def test_contenders_find_the_same(variant: str) -> None:
    ours, theirs = sides(replace(SMALL, variant=variant))
    ours.run()
    theirs.run()
    assert ours.compared()[0].shape == (3, 10)
    check_agreement(ours.compared(), theirs.compared(), str(SMALL))


def test_every_case_is_a_product_in_float32() -> None:
    cases = list(BENCHMARK.cases(BENCHMARK.arguments([])))
    assert [(case.variant, case.Q, case.N) for case in cases] == [
        ("plain", 64, 1_000_000),
        ("plain", 64, 100_000),
        ("plain", 1, 1_000_000),
        ("mapped", 64, 1_000_000),
    ]
    assert SMALL.operations() == 2 * 3 * 500 * 7
