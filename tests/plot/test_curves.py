from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from pyrnn.plot import curves, plot_curves


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
    ticks = {
        text.get_text(): place
        for text, place in zip(right.get_yticklabels(), right.get_yticks(), strict=True)
    }
    assert list(ticks) == ["2", "5", "10", "20"]
    assert ticks["10"] == pytest.approx(math.log(10))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (1.0, 20, [1, 2, 5, 10, 20]),
        (4.1, 4.6, [4.1, 4.2, 4.3, 4.4, 4.5, 4.6]),
        (90, 900, [200, 400, 600, 800]),
        (2, 9e6, [10, 100, 1000, 1e4, 1e5, 1e6]),
    ],
)
def test_perplexities_are_round(low: float, high: float, expected: list[float]) -> None:
    assert curves._round_between(low, high) == pytest.approx(expected)


def test_every_range_has_a_few_round_perplexities() -> None:
    for low in (1.0, 1.0001, 3.7, 88, 1e5, 1e200):
        for factor in (1.00001, 1.01, 1.5, 2, 9, 50, 1e3, 1e6, 1e100):
            found = curves._round_between(low, low * factor)
            assert 2 <= len(found) <= 9, (low, factor, found)


def test_runs_of_different_tokens_are_compared_in_bits_per_byte(tmp_path: Path, figures: list[Any]) -> None:
    rows = {
        "characters": [epoch(10, 2.0, 1.5)],
        "words": [epoch(10, 6.0, 5.0)],
        "tags": [epoch(10, 1.0, 0.5)],
    }
    lengths = {"characters": 1.0, "words": 5.0}
    plot_curves(rows, tmp_path / "a.png", bytes_per_token=lengths)
    left, right = figures[0].axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss (nats per token)", "loss (bits per byte)")
    drawn = [line.get_ydata()[0] for line in right.lines if len(line.get_ydata())]
    assert drawn == pytest.approx([n / math.log(2) for n in (2, 1.5, 6 / 5, 5 / 5)])
    assert labels(figures[0])[:3] == [
        "characters: best validation 1.500 (2.164 bits per byte)",
        "words: best validation 5.000 (1.443 bits per byte)",
        "tags: best validation 0.500",
    ]
    plot_curves(rows, tmp_path / "a.png", bytes_per_token={"characters": 1.0, "words": 1.01})
    assert len(figures[1].axes) == 1  # nothing to tell apart


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
