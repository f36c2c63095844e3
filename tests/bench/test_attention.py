"""The attention benchmark: counts, cases, and both sides computing the same thing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyrnn.bench import report
from pyrnn.bench.attention import BENCHMARK, LAYOUT, VARIANT_SHAPES, Case, large_cases, sides
from pyrnn.bench.harness import check_agreement
from pyrnn.bench.quiet import Watch
from pyrnn.bench.step import Step

SMALL = Case("full", "float32", "train", "plain", B=2, H=4, T=5, S=5, D=8)


def test_operations() -> None:
    forward = 4 * 2 * 4 * 5 * 5 * 8
    assert replace(SMALL, mode="infer").operations() == forward
    assert SMALL.operations() == 3.5 * forward
    assert replace(SMALL, mask="causal", mode="infer").operations() == forward * (1 + 2 + 3 + 4 + 5) / 25
    assert replace(SMALL, mask="causal", mode="infer", S=2).pairs() == 2 * (1 + 2 + 2 + 2 + 2)
    assert replace(SMALL, variant="grouped").operations() == SMALL.operations()


def test_lengths_count_real_keys() -> None:
    case = replace(SMALL, variant="lengths", B=20, S=50)
    lengths = case.lengths()
    assert lengths is not None
    assert 1 <= int(lengths.min()) < int(lengths.max()) <= 50
    assert case.pairs() == case.T * int(lengths.sum())


def test_selection() -> None:
    selected = list(BENCHMARK.cases(BENCHMARK.arguments(["--dtype", "float32"])))
    assert len(selected) == len(set(selected))
    counts = {variant: sum(case.variant == variant for case in selected) for variant in VARIANT_SHAPES}
    assert counts == {"plain": 20, "dropout": 10, "lengths": 6, "grouped": 12, "decode": 4, "weights": 20}
    assert {case.mode for case in selected if case.variant == "dropout"} == {"train"}
    assert {(case.mask, case.mode) for case in selected if case.variant == "decode"} == {("full", "infer")}
    causal = BENCHMARK.arguments(["--mask", "causal", "--shapes", "quick", "--variant", "plain", "lengths"])
    assert len(list(BENCHMARK.cases(causal))) == 2 * 2 * 2


def test_choices_without_a_case_are_refused() -> None:
    with pytest.raises(SystemExit, match="these choices leave no case"):
        BENCHMARK.main(["--mask", "causal", "--variant", "decode", "--no-record"])


@pytest.mark.parametrize("variant", [variant for variant in VARIANT_SHAPES if variant != "dropout"])
@pytest.mark.parametrize("mode", ["infer", "train"])
@pytest.mark.parametrize("mask", ["full", "causal"])
def test_contenders_compute_the_same(mask: str, mode: str, variant: str) -> None:
    case = replace(SMALL, mask=mask, mode=mode, variant=variant)
    if not case.meaningful():
        return
    ours, theirs = sides(case)
    ours.run()
    theirs.run()
    check_agreement(ours.compared(), theirs.compared(), str(case))
    assert len(ours.compared()) == (4 if mode == "train" else 1)


def test_dropout_is_timed_after_both_sides_agree_without_it() -> None:
    row = BENCHMARK.measure(replace(SMALL, variant="dropout", B=8, T=64, S=64), seconds=0.0, repeats=3)
    assert row["variant"] == "dropout"
    assert row["difference"] < 1e-4


def test_sides_that_drop_differently_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unlike(case: Case) -> tuple[Step, Step]:
        ours, theirs = sides(case)
        with monkeypatch.context() as changed:
            changed.setattr("pyrnn.bench.attention.DROPOUT", 0.9)
            return sides(case)[0], theirs if case.variant == "dropout" else ours

    with pytest.raises(RuntimeError, match=r"full float32 train dropout .* norms of results"):
        replace(BENCHMARK, sides=unlike).measure(replace(SMALL, variant="dropout"), seconds=0.0, repeats=3)


@pytest.mark.parametrize(("loads", "kept"), [([0.5, 0.01], 0.01), ([0.3, 0.1, 0.2], 0.1), ([None], None)])
def test_a_row_is_timed_again_while_others_work(
    loads: list[float | None], kept: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter(loads)
    monkeypatch.setattr(Watch, "background_load", lambda self: next(told))
    row = BENCHMARK.measure(SMALL, seconds=0.0, repeats=3)
    assert row["background_load"] == kept
    assert next(told, "none left") == "none left"


def test_measure_makes_a_complete_row() -> None:
    row = BENCHMARK.measure(replace(SMALL, variant="weights"), seconds=0.0, repeats=3)
    assert row["benchmark"] == "attention"
    assert row["ratio"] == pytest.approx(row["torch_s"]["median"] / row["pyrnn_s"]["median"])
    assert row["gflops"] == pytest.approx(SMALL.operations() / row["pyrnn_s"]["median"] / 1e9)
    assert row["includes"].endswith("torch_s: pyrnn without weights")
    assert set(LAYOUT.key) <= {*row, "threads", "isa"}


def test_the_table_says_what_is_compared() -> None:
    names = {"vendor": "", "processor": "P", "threads": 2, "isa": "", "torch": "2", "torch_blas": "mkl"}
    versions = {"pyrnn": "1", "commit": "c", "date": "2030-01-01", "background_load": 0.0}
    rates = {"ratio": 3.0, "share_of_peak": 0.7, "gflops": 70.0, "peak_gflops": 100.0}
    shape = {"B": 8, "H": 16, "T": 256, "S": 256, "D": 128}
    row = {"mask": "causal", "dtype": "float32", "mode": "train", "variant": "plain"}
    rows = [row | shape | rates | names | versions]
    rows.append({**rows[0], "variant": "weights", "ratio": 0.8})
    text = report.summary(rows, LAYOUT, "x.md")
    assert "| float32, plain | **3.00x** (3.00) |" in text
    assert "| float32, without/with weights | **0.80x** (0.80) |" in text
    assert text.endswith(large_cases(rows))
    assert "float32 training 70% to 70%" in text
