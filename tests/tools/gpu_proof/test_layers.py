"""The bench stage: it ends in time, says what it left out, and survives a case that fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from pyrnn import _native
from pyrnn.bench import record
from pyrnn.bench.recurrent import Runner, runners
from pyrnn.ops.recurrent.cuda import recurrence
from tools.gpu_proof import layers
from tools.gpu_proof.cases import GpuCase, cases
from tools.gpu_proof.limits import Rooflines
from tools.gpu_proof.page import markdown

FIRST = cases()[:3]
original_measure = layers.measure


@pytest.fixture
def fake_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every case is measured at once, but the second: there the sides disagree."""

    def measure(case: GpuCase, rooflines: Rooflines | None) -> record.Row:
        if case == FIRST[1]:
            raise RuntimeError("an error is 9 times what is allowed\nmore")
        return {**asdict(case), "us_per_step": 1.0, "ratio": 2.0, "had_rooflines": rooflines is not None}

    monkeypatch.setattr(layers, "measure", measure)
    monkeypatch.setattr(layers, "cases", lambda: list(FIRST))
    monkeypatch.setattr(layers, "healthy", lambda: True)
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")


@pytest.mark.usefixtures("fake_device")
def test_a_case_in_error_is_recorded_and_fails_the_stage(
    run_main: Callable[[str, Path], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main("layers", tmp_path) == 1
    rows = record.read(tmp_path / "rows.jsonl")
    assert [row.get("ratio") for row in rows[:3]] == [2.0, None, 2.0]
    assert rows[1] == {**asdict(FIRST[1]), "error": "an error is 9 times what is allowed"}
    assert "1.00 us a step, 2.00x cuDNN" in capsys.readouterr().out


@pytest.mark.usefixtures("fake_device")
def test_a_forced_engine_that_the_device_lacks_is_no_error(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engines: list[str] = []

    def measure(case: GpuCase, _: Rooflines | None) -> record.Row:
        engines.append(recurrence.forced_engine)
        raise ValueError("the cluster engine does not fit")

    monkeypatch.setattr(layers, "measure", original_measure)
    monkeypatch.setattr(layers, "_measure", measure)
    forced = replace(FIRST[0], engine="cluster")
    monkeypatch.setattr(layers, "cases", lambda: [forced])
    assert run_main("layers", tmp_path) == 0
    assert record.read(tmp_path / "rows.jsonl")[0] == {
        **asdict(forced),
        "refused": "the cluster engine does not fit",
    }
    monkeypatch.setattr(layers, "cases", lambda: FIRST[:1])
    assert run_main("layers", tmp_path) == 1
    assert (engines, recurrence.forced_engine) == (["cluster", ""], "")


@pytest.mark.usefixtures("fake_device")
def test_what_does_not_fit_is_named(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layers, "RESERVE", 1e6)
    assert run_main("layers", tmp_path) == 0
    assert record.read(tmp_path / "rows.jsonl")[0] == {"left_out": 3, "of": 3, "cases": [*map(str, FIRST)]}


@pytest.mark.usefixtures("fake_device")
def test_a_lost_device_is_left_behind_with_its_process(
    run_main: Callable[[str, Path], int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced: list[list[str]] = []

    def execv(_: str, command: list[str]) -> None:
        replaced.append(command)
        raise SystemExit

    monkeypatch.setattr(layers, "healthy", lambda: False)
    monkeypatch.setattr("os.execv", execv)
    with pytest.raises(SystemExit):
        run_main("layers", tmp_path)
    ((*_, module, _, first, _, rows, _, seconds, _, _),) = replaced
    assert (module, first, rows) == ("tools.gpu_proof.layers", "2", str(tmp_path / "rows.jsonl"))
    assert 20 <= int(seconds) <= 30


def test_ceilings_come_from_the_same_record(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    assert layers.recorded_rooflines(path) is None
    rows: list[Any] = [
        {"what": "barrier", "blocks": 64, "seconds": 1e-6},
        {"what": "l2 read", "bytes_per_second": 5e12},
        {"what": "memory", "bytes_per_second": 4e12},
    ]
    path.write_text(json.dumps({"stages": {"rooflines": {"rows": rows}}}))
    assert layers.recorded_rooflines(path) == Rooflines({64: 1e-6}, 5e12, 4e12)


def test_both_passes_of_a_case_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, bool]] = []

    def plan(problem: Any, *, backward: bool, index: int) -> _native.CudaPlan:
        asked.append((problem, backward))
        return _native.CudaPlan("step", False, 1, 8, 4, 256, 0, 0, "")

    monkeypatch.setattr(recurrence, "plan", plan)
    case = GpuCase("rnn", "float16", "train", "bidirectional-two-layer", T=7, B=3, I=5, H=6)
    assert len(layers.plans(case)) == 2
    (problem, _), _ = asked
    assert [backward for _, backward in asked] == [False, True]
    assert (problem.cell, problem.T, problem.B, problem.H, problem.D) == ("rnn_tanh", 7, 3, 6, 2)


@pytest.mark.usefixtures("fake_events")
def test_a_measured_row_is_complete_and_the_page_shows_it(
    monkeypatch: pytest.MonkeyPatch, environment: record.Row
) -> None:
    device = SimpleNamespace(major=9, minor=0, multi_processor_count=132, L2_cache_size=2**20)
    plan = _native.CudaPlan("persistent", True, 1, 8, 2, 256, 0, 0, "")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)
    monkeypatch.setattr(layers, "runners", lambda case, *, device, inputs: runners(case, inputs=inputs))
    monkeypatch.setattr(layers, "plans", lambda case: [plan, plan])
    case = GpuCase("gru", "float32", "train", "bidirectional-two-layer", T=5, B=3, I=4, H=6)
    row = layers.measure(case, Rooflines({2: 1e-9}, 5e12, 4e12))
    assert row["ratio"] == pytest.approx(row["torch_us_per_step"] / row["us_per_step"])
    assert row["us_per_step"] == pytest.approx(row["pyrnn_s"]["median"] * 1e6 / 10)
    assert row["share_of_limit"] == pytest.approx(row["limit_s"] / row["pyrnn_s"]["median"])
    assert (row["inputs"], row["cudnn"]) == (8, "persistent for small H")
    assert GpuCase.of(json.loads(json.dumps(row))) == case
    content = {"environment": environment, "stages": {"bench": {"status": "passed", "rows": [row]}}}
    assert f"| 5 3 4 6 bidirectional-two-layer | {row['us_per_step']:.2f} |" in markdown(content)
    assert "share_of_limit" not in layers.measure(case, None)


def test_wrong_results_are_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    device = SimpleNamespace(L2_cache_size=2**20)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: device)

    def spoilt(case: GpuCase, *, device: str, inputs: int) -> tuple[Runner, Runner]:
        ours, theirs = runners(case, inputs=inputs)
        with torch.no_grad():
            next(ours.layer.parameters()).add_(0.1)
        return ours, theirs

    monkeypatch.setattr(layers, "runners", spoilt)
    case = GpuCase("lstm", "float32", "infer", "plain", T=5, B=3, I=4, H=6)
    with pytest.raises(RuntimeError, match=r"an error is .* times what is allowed; not timed"):
        layers.measure(case, None)
