"""The recurrent benchmark: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyrnn.bench.harness import check_agreement
from pyrnn.bench.recurrent import BENCHMARK, Case, runners

SMALL = Case("gru", "float32", "train", "plain", T=5, B=3, I=4, H=6)


def test_operations() -> None:
    forward = 2 * 5 * 3 * 3 * 6 * (4 + 6)
    assert replace(SMALL, mode="infer").operations() == forward
    assert SMALL.operations() == 3 * forward
    assert replace(SMALL, variant="bidirectional").operations() == 2 * 3 * forward
    two_layer = replace(SMALL, variant="two-layer", mode="infer").operations()
    assert two_layer == forward + 2 * 5 * 3 * 3 * 6 * (6 + 6)


def test_lengths_count_real_tokens() -> None:
    case = replace(SMALL, variant="lengths", T=50, B=20)
    lengths = case.lengths()
    assert lengths is not None
    assert 1 <= int(lengths.min()) < int(lengths.max()) <= 50
    assert lengths.tolist() != sorted(lengths.tolist(), reverse=True)
    assert case.operations() == 3 * 2 * int(lengths.sum()) * 3 * 6 * (4 + 6)


def test_selection() -> None:
    selected = list(
        BENCHMARK.cases(BENCHMARK.arguments(["--cell", "gru", "--dtype", "float32", "--mode", "train"]))
    )
    assert {(case.cell, case.dtype, case.mode) for case in selected} == {("gru", "float32", "train")}
    assert len([case for case in selected if case.variant == "plain"]) == 13
    assert (
        len(list(BENCHMARK.cases(BENCHMARK.arguments(["--shapes", "quick", "--variant", "plain"]))))
        == 3 * 3 * 2 * 2
    )


@pytest.mark.parametrize("variant", ["plain", "bidirectional", "two-layer", "lengths"])
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_contenders_compute_the_same(cell: str, mode: str, variant: str) -> None:
    case = replace(SMALL, cell=cell, mode=mode, variant=variant)
    ours, theirs = runners(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    parameters = len(list(theirs.layer.parameters()))
    states = 2 if cell == "lstm" else 1
    assert len(theirs.compared()) == 1 + states + (1 + parameters if mode == "train" else 0)


def test_measure_makes_a_complete_row() -> None:
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert row["rounds"] == 3
    assert row["ratio"] == pytest.approx(row["torch_s"]["median"] / row["pyrnn_s"]["median"])
    assert row["gflops"] == pytest.approx(SMALL.operations() / row["pyrnn_s"]["median"] / 1e9)
    assert row["share_of_peak"] == pytest.approx(row["gflops"] / row["peak_gflops"])
    assert "gradients of the input" in row["includes"]


def test_training_rounds_do_not_accumulate_gradients() -> None:
    ours, _ = runners(SMALL)
    candidate = ours.candidate()
    candidate.timed()
    first = [gradient.clone() for gradient in ours.compared()]
    candidate.timed()
    torch.testing.assert_close(ours.compared(), first)
