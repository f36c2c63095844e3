from pathlib import Path

import pytest

from pyrnn.models import LanguageModelConfig
from pyrnn.train import TrainConfig, demo, load_run
from pyrnn.train.speed import compare_layers

SMALL = LanguageModelConfig(1, embedding_size=8, hidden_size=16)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_the_command_trains_samples_compares_and_saves(
    cell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(["--quick", "--cell", cell, "--hidden", "16", "--save", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "validation loss" in printed
    assert demo.PROMPT in printed
    assert "whole training step" in printed
    run = load_run(tmp_path / "run")
    assert run.model.config.cell == cell
    assert f"{run.history[-1].validation_loss:.4f}" in printed


def test_an_unknown_option_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        demo.main(["--cell", "qrnn"])
    assert stop.value.code == 2
    assert "invalid choice: 'qrnn'" in capsys.readouterr().err


def test_a_text_too_short_for_the_recipe_is_refused() -> None:
    with pytest.raises(ValueError, match="too few for one window"):
        demo.train_on(
            "to be or not to be", TrainConfig(), cell="lstm", hidden_size=16, seed=0, backend="pyrnn"
        )


def test_a_comparison_measures_both_sides() -> None:
    row = compare_layers(SMALL, steps=4, batch=2, rounds=2)
    assert set(row.symbols_per_second) == {"pyrnn", "torch"}
    assert row.ratio == row.symbols_per_second["pyrnn"] / row.symbols_per_second["torch"]
