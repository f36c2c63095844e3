from pathlib import Path

import pytest

from pyrnn import demo
from pyrnn.bench.speed import compare_layers
from pyrnn.models import LanguageModelConfig
from pyrnn.tasks import load_run


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_command_trains_samples_compares_and_saves(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--quick", "--cell", cell, "--hidden", "16", "--run", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert demo.PROMPT in printed
    assert "whole training step" in printed
    run = load_run(tmp_path / "run")
    assert run.model.config.architecture == cell
    assert f"validation loss {run.best.score:.4f}" in printed


def test_the_model_writes_after_every_epoch_without_changing_what_is_trained(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--quick", "--hidden", "8", "--epochs", "2"]
    assert demo.main([*arguments, "--run", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.count(demo.PROMPT) == 2
    monkeypatch.setattr(demo, "write", lambda *_, **__: "")
    assert demo.main([*arguments, "--run", str(tmp_path / "silent")]) == 0
    scores = [load_run(tmp_path / name).epochs[-1].score for name in ("run", "silent")]
    assert scores[0] == scores[1]


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        demo.main(["--cell", "qrnn"])
    assert stop.value.code == 2
    assert "invalid choice: 'qrnn'" in capsys.readouterr().err


def test_a_comparison_measures_both_sides() -> None:
    sizes = LanguageModelConfig(1, embedding_size=8, hidden_size=16)
    row = compare_layers(sizes, steps=4, batch=2, rounds=2)
    assert set(row.tokens_per_second) == {"pyrnn", "torch"}
    assert row.ratio == row.tokens_per_second["pyrnn"] / row.tokens_per_second["torch"]
