"""The sizes stage: what its cases cover, and that it sees a wrong result."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn import _native
from pyrnn.bench import record
from pyrnn.bench.recurrent import Runner, runners
from tools.gpu_proof import sizes
from tools.gpu_proof.accuracy import exact_results, share_of_allowed
from tools.gpu_proof.cases import ENGINES, GpuCase
from tools.gpu_proof.sizes import CASES, REPEATED, check

SMALL = GpuCase("gru", "float32", "train", "bidirectional", T=5, B=3, I=6, H=6)
AXES: dict[str, tuple[Any, ...]] = {
    "cell": ("gru", "lstm", "rnn"),
    "dtype": ("bfloat16", "float16", "float32"),
    "H": (256, 512, 1024, 2048),
    "B": (1, 8, 64),
    "T": (64, 1000),
    "directions": (1, 2),
}


def test_every_pair_of_sizes_occurs() -> None:
    assert len(CASES) == len(set(CASES)) == 24
    for a, b in itertools.combinations(AXES, 2):
        pairs = {(getattr(case, a), getattr(case, b)) for case in CASES}
        expected = {*itertools.product(AXES[a], AXES[b])}
        # 1,000 steps are for small batches alone.
        expected -= {(64, 1000)} if (a, b) == ("B", "T") else set()
        assert pairs == expected, (a, b)


def test_every_engine_is_forced_and_repeated() -> None:
    assert {*ENGINES, ""} == {case.engine for case in CASES}
    assert {*ENGINES, ""} == {case.engine for case in REPEATED}
    assert len(REPEATED) == 6


@pytest.fixture
def no_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU, whose kernels have no plans of this kind."""
    monkeypatch.setattr(sizes, "plans", lambda case: [])


@pytest.mark.usefixtures("no_plans")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["gru", "lstm", "rnn"])
def test_right_results_are_right(cell: str, dtype: str) -> None:
    row = check(GpuCase(cell, dtype, "train", "bidirectional", T=5, B=3, I=6, H=6), "cpu", 3)
    assert row["outcome"] == "right"
    assert (row["repeats"], row["equal"]) == (3, 3)
    assert 0 < row["error_of_allowed"] <= 1


@pytest.mark.usefixtures("no_plans")
def test_a_wrong_gradient_and_other_bits_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = itertools.count()

    def spoilt(case: GpuCase, *, device: str) -> tuple[Runner, Runner]:
        ours, theirs = runners(case, device=device)
        compared = ours.compared

        def other() -> list[torch.Tensor]:
            found = [each.detach().clone() for each in compared()]
            found[-1][0] += 1e-3 * next(steps)
            return found

        monkeypatch.setattr(ours, "compared", other)
        return ours, theirs

    monkeypatch.setattr(sizes, "runners", spoilt)
    row = check(SMALL, "cpu", 3)
    assert row["outcome"] == "2 repetitions gave other bits"
    row = check(SMALL, "cpu", 0)
    assert "times what is allowed" in row["outcome"]


def test_nan_is_above_every_bound() -> None:
    one, nan = torch.ones(3), torch.full((3,), torch.nan)
    assert share_of_allowed([nan], [one], [one.double()]) == float("inf")
    assert share_of_allowed([one], [one], [one.double()]) == 0
    with pytest.raises(ValueError, match=r"different shapes: \[2\] against \[3\]"):
        share_of_allowed([one[:2]], [one], [one.double()])


@pytest.mark.parametrize("variant", ["plain", "lengths", "bidirectional-two-layer"])
def test_the_exact_results_belong_to_the_case(variant: str) -> None:
    """In float64 torch's own results are the exact ones, gradients of inputs and parameters among them."""
    case = GpuCase("lstm", "float64", "train", variant, T=5, B=3, I=4, H=6)
    _, theirs = runners(case)
    theirs.run()
    found = theirs.compared()
    for mine, exact in zip(found, exact_results(case, theirs), strict=True):
        torch.testing.assert_close(mine, exact, rtol=1e-12, atol=1e-12)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The outcomes that `check` gives in turn, instead of checking; "E:" raises."""
    outcomes: list[str] = []

    def given(case: GpuCase, device: str, repeats: int) -> record.Row:
        outcome = outcomes.pop(0)
        if outcome.startswith("E:"):
            raise (ValueError if case.engine else RuntimeError)(outcome[2:])
        return {"case": str(case), "outcome": outcome, "repeats": repeats}

    monkeypatch.setattr(sizes, "check", given)
    monkeypatch.setattr(sizes, "healthy", lambda: True)
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
    return outcomes


def test_a_refused_engine_is_no_failure_and_an_error_is(
    checked: list[str], run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "CASES", CASES[:3])
    checked += ["right", "E:does not fit", "right"]
    assert run_main("sizes", tmp_path) == 0
    rows = record.read(tmp_path / "rows.jsonl")
    assert [row["outcome"] for row in rows] == ["right", "refused: does not fit", "right"]
    assert rows[0]["repeats"] == 20
    monkeypatch.setattr(sizes, "CASES", (SMALL, SMALL))
    checked += ["E:lost", "right"]
    assert run_main("sizes", tmp_path) == 1
    checked += ["right", "an error is 3 times what is allowed"]
    assert run_main("sizes", tmp_path) == 1


def test_what_had_no_time_is_named(
    checked: list[str], run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizes, "RESERVE", 1e6)
    assert run_main("sizes", tmp_path) == 0
    (row,) = record.read(tmp_path / "rows.jsonl")
    assert (row["left_out"], row["of"], row["cases"][0]) == (24, 24, str(CASES[0]))
