"""The benchmark of generating models: its cases, and both sides writing the same logits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.generation import BENCHMARK, MODELS, Case, sides
from pyrnn.bench.harness import check_agreement

SMALL = Case("gru", "float32", "infer", "plain", B=3, H=16)


def test_operations() -> None:
    assert SMALL.operations() == 3 * (2 * 2 * 3 * 16 * (16 + 16) + 2 * 16 * 65)
    layer = 2 * 12 * 16**2 + 4 * 129 * 16
    assert replace(SMALL, model="transformer").operations() == 3 * (2 * layer + 2 * 16 * 65)


def test_selection() -> None:
    assert len(list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))) == 4 * 9
    assert BENCHMARK.arguments([]).threads == 1


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("B", [1, 3])
def test_both_sides_compute_the_same(model: str, B: int) -> None:
    ours, theirs = sides(replace(SMALL, model=model, B=B))
    for side in (ours, theirs):
        side.candidate().prepare()
        side.run()
    check_agreement(ours.compared(), theirs.compared(), model)


def test_a_row_tells_the_time_of_one_token() -> None:
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert 1e-6 < row["pyrnn_s"]["median"] < 1e-1
    assert row["calls"] == 32
