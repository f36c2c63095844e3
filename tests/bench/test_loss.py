"""The benchmark of the loss: its cases, both sides computing the same thing, the memory that it tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench.harness import check_agreement
from pyrnn.bench.loss import BENCHMARK, Case, least_memory, sides

SMALL = Case("linear_cross_entropy", "float32", "train", "plain", N=40, H=8, V=30)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("variant", ["plain", "smoothed"])
def test_both_sides_compute_the_same(dtype: str, mode: str, variant: str) -> None:
    case = replace(SMALL, dtype=dtype, mode=mode, variant=variant)
    ours, theirs = sides(case)
    for side in (ours, theirs):
        side.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert len(ours.compared()) == len(theirs.compared()) == (4 if mode == "train" else 1)


def test_operations_and_gradients() -> None:
    assert SMALL.operations() == 3 * 2 * 40 * 8 * 30
    assert replace(SMALL, mode="infer").operations() == 2 * 40 * 8 * 30
    assert SMALL.facts()["gradient_bytes"] == 4 * (40 * 8 + 30 * 8 + 30)


def test_a_row_tells_the_peak() -> None:
    row = BENCHMARK.measure(replace(SMALL, N=512, V=2000), seconds=0.0, repeats=2)
    assert row["torch_bytes"] > 2 * 512 * 2000 * 4
    assert 0 < row["pyrnn_bytes"] < row["torch_bytes"]
    assert least_memory([row]).startswith("Peak of tensors beyond the gradients: float32, N = 512, H = 8, V")
    assert least_memory([{**row, "mode": "infer"}]) == ""
