from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from pyrnn.plot import plot_curves


def epoch(step: int, train: float | None, validation: float | None) -> dict[str, Any]:
    return {"epoch": 1, "step": step, "train_loss": train, "validation_loss": validation, "tokens": 9}


def training(steps: int, *, every: int = 10) -> list[dict[str, Any]]:
    return [{"step": every * n, "loss": 3 / n, "grad_norm": 1.0} for n in range(1, steps + 1)]


def lines(figure: Any) -> list[tuple[list[float], list[float]]]:
    """The (steps, losses) of each line that has any."""
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines]
    return [points for points in drawn if points[0]]


def labels(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_both_losses_of_each_run_are_drawn(tmp_path: Path, figures: list[Any]) -> None:
    rows = [*training(3), epoch(30, 1.5, 1.25), epoch(60, 1.0, 1.5)]
    plot_curves({"lstm": rows, "gru": training(2)}, tmp_path / "a.png")
    assert lines(figures[0]) == [([10, 20, 30], [3, 1.5, 1]), ([30, 60], [1.25, 1.5]), ([10, 20], [3, 1.5])]
    assert labels(figures[0]) == ["lstm: best validation 1.250", "gru", "training", "validation"]
    axis = figures[0].axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("optimizer steps", "loss (nats per token)")


def test_the_right_hand_axis_is_perplexity(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves({"a": training(5)}, tmp_path / "a.png")
    axis = figures[0].axes[0]
    right = axis.child_axes[0]
    assert right.get_ylabel() == "perplexity"
    assert right.yaxis.get_major_formatter()(2.0, 0) == "7.39"
    assert right.yaxis.get_major_formatter()(1e9, 0)  # e^1e9 is more than a float


def test_a_resumed_run_counts_each_step_once(tmp_path: Path, figures: list[Any]) -> None:
    rows = [{"step": 10, "loss": 3.0}, {"step": 20, "loss": 2.0}, {"step": 30, "loss": 9.0}]
    plot_curves({"a": [*rows, {"step": 20, "loss": 2.5}, {"step": 30, "loss": 1.5}]}, tmp_path / "a.png")
    assert lines(figures[0]) == [([10, 20, 30], [3.0, 2.5, 1.5])]


def test_epochs_stand_for_training_rows_where_there_are_none(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves({"a": [epoch(50, 2.0, None), epoch(100, 1.0, None)]}, tmp_path / "a.png")
    assert lines(figures[0]) == [([50, 100], [2.0, 1.0])]


def test_a_single_point_can_be_seen(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves({"a": training(1)}, tmp_path / "a.png")
    assert figures[0].axes[0].lines[0].get_marker() == "o"


def test_many_rows_are_averaged(tmp_path: Path, figures: list[Any]) -> None:
    rows = [{"step": n, "loss": float(n % 2)} for n in range(1, 1001)]
    plot_curves({"a": rows}, tmp_path / "a.png")
    steps, losses = lines(figures[0])[0]
    assert 100 <= len(steps) <= 150
    assert steps[0] == 4
    assert sum(losses) / len(losses) == pytest.approx(0.5, abs=0.02)
    assert "training (means of neighbouring rows)" in labels(figures[0])


def test_a_diverging_run_does_not_flatten_the_others(tmp_path: Path, figures: list[Any]) -> None:
    wild = [
        *training(3),
        {"step": 40, "loss": 1e30},
        {"step": 50, "loss": math.nan},
        {"step": 60, "loss": math.inf},
    ]
    plot_curves({"good": training(9), "wild": wild}, tmp_path / "a.png")
    assert lines(figures[0])[1][0] == [10, 20, 30, 40]
    assert figures[0].axes[0].get_ylim()[1] < 4


def test_more_runs_than_colours_differ_by_marker(tmp_path: Path, figures: list[Any]) -> None:
    plot_curves({f"run {n}": [epoch(10, 1.0, 1.0 + n)] for n in range(10)}, tmp_path / "a.png")
    drawn = [line for line in figures[0].axes[0].lines if line.get_label().startswith("run")]
    assert len({(line.get_color(), line.get_marker()) for line in drawn}) == 10


@pytest.mark.parametrize(
    ("runs", "words"),
    [
        ({}, "no runs to draw"),
        ({"a": []}, "run 'a' has no finite loss .* its 0 rows"),
        ({"a": [{"step": 1, "loss": math.nan}]}, "no finite loss"),
        ({"a": training(2), "b": [{"step": 1, "learning_rate": 0.1}]}, "run 'b' has no finite loss"),
        ({"a": [{"step": 1, "loss": "3"}]}, "loss a number, got step 1 and loss '3'"),
        ({"a": [{"loss": 3.0}]}, "step must be an int .* got step None"),
    ],
)
def test_misuse(runs: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        plot_curves(runs, tmp_path / "a.png")
    assert not list(tmp_path.iterdir())
