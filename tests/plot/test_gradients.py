from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyrnn.diagnostics import GradientFlow
from pyrnn.plot import plot_gradient_panels, plot_gradients


def flow(rate: float, *, lags: int = 100, underflow: float = 1.2e-38) -> GradientFlow:
    norms = tuple(rate**lag for lag in range(lags))
    return GradientFlow(tuple(range(lags)), norms, (norms,), None, underflow)


def labels(axis: Any) -> list[str]:
    return [text.get_text() for text in axis.get_legend().get_texts()]


def test_each_flow_is_a_line_with_its_rate(tmp_path: Path, figures: list[Any]) -> None:
    plot_gradients({"RNN": flow(0.5), "LSTM": flow(1.25)}, tmp_path / "a.png")
    (axis,) = figures[0].axes
    assert labels(axis) == ["RNN: ×0.5 a step, vanishing", "LSTM: ×1.25 a step, exploding"]
    assert list(axis.lines[0].get_ydata()) == list(flow(0.5).norms)
    assert axis.get_yscale() == "log"
    assert (axis.get_xlabel(), axis.get_ylabel()) == (
        "time lag k (steps)",
        "gradient norm |∂L/∂h| at step T − k",
    )


@pytest.mark.parametrize("rate", [0.5, 0.99, 1.0, 3.0])
def test_ticks_are_few_powers_of_ten(rate: float, tmp_path: Path, figures: list[Any]) -> None:
    plot_gradients({"RNN": flow(rate)}, tmp_path / "a.png")
    axis = figures[0].axes[0]
    low, high = axis.get_ylim()
    ticks = [tick for tick in axis.get_yticks() if low <= tick <= high]
    assert 2 <= len(ticks) <= 10
    assert any(math.isclose(tick, 1.0) for tick in ticks)


def test_zeros_and_infinities_leave_a_gap(tmp_path: Path, figures: list[Any]) -> None:
    norms = (1.0, 0.1, 1e-40, 0.0)
    tiny = GradientFlow((0, 1, 2, 3), norms, (norms,), None, 1.2e-38)
    large = GradientFlow((0, 1, 2, 3), (1.0, 1e30, math.inf, math.nan), (norms,), None, 1.2e-38)
    plot_gradients({"tiny": tiny, "large": large}, tmp_path / "a.png")
    axis = figures[0].axes[0]
    drawn = [[y for y in line.get_ydata() if not math.isnan(y)] for line in axis.lines[:2]]
    assert drawn == [[1.0, 0.1, 1e-40], [1.0, 1e30]]
    assert [text.get_text() for text in axis.texts] == ["underflow below 1e-38"]


@pytest.mark.parametrize(
    ("norms", "words"),
    [((0.0, 0.0), "×0 a step, vanishing"), ((math.inf, math.inf), "×inf a step, exploding")],
)
def test_nothing_that_has_a_place(
    norms: tuple[float, ...], words: str, tmp_path: Path, figures: list[Any]
) -> None:
    plot_gradients({"dead": GradientFlow((0, 1), norms, (norms,), None, 1.2e-38)}, tmp_path / "a.png")
    assert labels(figures[0].axes[0]) == [f"dead: {words}"]


def test_the_whole_range_of_float64(tmp_path: Path, figures: list[Any]) -> None:
    norms = (5e-324, 1.0, 1.7e308)
    plot_gradients({"a": GradientFlow((0, 1, 2), norms, (norms,), None, 2.2e-308)}, tmp_path / "a.png")
    assert len(figures[0].axes[0].get_yticks()) <= 10


def test_panels_share_the_scale_and_a_name_keeps_its_colour(tmp_path: Path, figures: list[Any]) -> None:
    panels = {"first": {"RNN": flow(0.5), "LSTM": flow(0.9)}, "second": {"LSTM": flow(1.1)}}
    plot_gradient_panels(panels, tmp_path / "a.svg")
    left, right = figures[0].axes
    assert (left.get_title(), right.get_title()) == ("first", "second")
    assert left.get_ylim() == right.get_ylim()
    assert right.lines[0].get_color() == left.lines[1].get_color() != left.lines[0].get_color()


@pytest.mark.parametrize("panels", [{}, {"a": {}}])
def test_nothing_to_draw(panels: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no gradient flow to draw"):
        plot_gradient_panels(panels, tmp_path / "a.png")


def test_the_number_of_sequences_is_told(tmp_path: Path, figures: list[Any]) -> None:
    flows = [replace(flow(0.5), sequences=count) for count in (16, 4)]
    plot_gradients({"a": flows[0]}, tmp_path / "a.png")
    plot_gradients({"a": flows[0], "b": flows[1]}, tmp_path / "a.png")
    told = [figure.axes[0].get_ylabel().split("\n")[1] for figure in figures]
    assert told == ["(geometric mean of 16 sequences)", "(geometric mean of 4 to 16 sequences)"]
