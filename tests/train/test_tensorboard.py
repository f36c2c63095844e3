"""Event files for TensorBoard, read back by its own reader."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from pyrnn.train import Reporters, TensorBoardReporter, train
from tests.train.small_runs import KillAt, Killed, resume, small_job


def _scalars(folder: Path) -> dict[str, dict[int, float]]:
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )
    events: Any = reader.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {name: {e.step: e.value for e in events.Scalars(name)} for name in events.Tags()["scalars"]}


@pytest.fixture(autouse=True)
def _has_tensorboard() -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")


def test_losses_and_scores_are_in_the_event_file(tmp_path: Path) -> None:
    with TensorBoardReporter(tmp_path / "events") as reporter:
        run = train(small_job(tmp_path), tmp_path / "run", reporter=reporter)
    found = _scalars(tmp_path / "events")
    rows = {row["step"]: row for row in run.metrics if "loss" in row}
    for name in ("loss", "grad_norm", "learning_rate"):
        assert found[f"train/{name}"] == pytest.approx({step: row[name] for step, row in rows.items()})
    assert found["validation/loss"] == pytest.approx({epoch.step: epoch.score for epoch in run.epochs})
    assert found["train/epoch_loss"] == pytest.approx({e.step: e.train_loss for e in run.epochs})
    assert set(found["train/tokens per second"]) == {epoch.step for epoch in run.epochs}


def test_what_a_resumed_run_does_again_is_there_once(tmp_path: Path) -> None:
    """It was killed after step 6, and its checkpoint is of step 4."""
    with pytest.raises(Killed), TensorBoardReporter(tmp_path / "events") as reporter:
        train(small_job(tmp_path), tmp_path / "run", reporter=Reporters([reporter, KillAt(6)]))
    with TensorBoardReporter(tmp_path / "events") as reporter:
        run = resume(tmp_path / "run", reporter=reporter)
    steps = [row["step"] for row in run.metrics if "loss" in row]
    assert list(_scalars(tmp_path / "events")["train/loss"]) == steps


def test_a_missing_package_is_named_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ImportError, match=r"pip install 'pyrnn\[tensorboard\]'"):
        TensorBoardReporter("events")
