"""The benchmark of searches: its cases, and both sides finding the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyrnn.bench import record
from pyrnn.bench.harness import check_agreement
from pyrnn.bench.seq2seq import BENCHMARK, LAYOUT, MODELS, STEPS, VOCABULARY, WIDTH, Case, sides

SMALL = Case("lstm", "float32", "infer", "greedy", B=3, H=16)


def test_operations() -> None:
    cell, attention, combination = 4 * 16 * (16 + 16 + 16), 16 * 16 + 2 * STEPS * 16, 16 * 32
    step = 2 * (cell + attention + combination + 16 * VOCABULARY)
    assert SMALL.operations() == 3 * STEPS * step
    assert replace(SMALL, variant="beam").operations() == 3 * WIDTH * STEPS * step


def test_operations_of_a_transformer() -> None:
    own = sum(4 * 16 * 16 + 2 * seen * 16 for seen in range(1, STEPS + 1))
    other = STEPS * (2 * 16 * 16 + 2 * STEPS * 16)
    network, softmax = STEPS * 2 * 16 * 64, STEPS * 16 * VOCABULARY
    rows = 2 * (3 * (own + other + network) + softmax)
    keys = 2 * 3 * STEPS * 2 * 16 * 16
    case = replace(SMALL, model="transformer")
    assert case.operations() == 3 * (rows + keys)
    assert replace(case, variant="beam").operations() == 3 * (WIDTH * rows + keys)


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected)) == 2 * 2 * 6
    quick = BENCHMARK.arguments(["--shapes", "quick", "--variant", "beam", "--dtype", "float32"])
    assert len(list(BENCHMARK.cases(quick))) == 2 * 2
    assert BENCHMARK.arguments([]).threads == 1


@pytest.mark.parametrize("variant", ["greedy", "beam"])
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("B", [1, 3])
def test_both_sides_find_the_same(model: str, variant: str, B: int) -> None:
    case = replace(SMALL, model=model, variant=variant, B=B)
    ours, theirs = sides(case)
    for side in (ours, theirs):
        side.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert torch.equal(ours.results[0], theirs.results[0])
    assert ours.results[0].shape == (B, STEPS)


def test_outputs_depend_on_their_sources() -> None:
    ours, _ = sides(SMALL)
    ours.run()
    assert len(ours.results[0].unique(dim=0)) == SMALL.B


def test_a_row_tells_what_was_searched() -> None:
    row = BENCHMARK.measure(replace(SMALL, variant="beam"), seconds=0.0, repeats=3)
    assert row["benchmark"] == "seq2seq"
    assert (row["steps"], row["width"], row["vocabulary"]) == (STEPS, WIDTH, VOCABULARY)
    assert row["includes"].endswith("not: the encoder, keys of its outputs")
    assert row["torch_bytes"] > 0 < row["pyrnn_bytes"]
    assert set(LAYOUT.key) <= {*row, "threads", "isa"}


def test_the_page_has_the_block() -> None:
    assert "<!-- bench:seq2seq -->" in (record.ROOT / "docs" / "search.md").read_text()
