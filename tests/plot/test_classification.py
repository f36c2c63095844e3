"""Pictures of confusions and of calibration."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.metrics import Calibration
from pyrnn.plot import plot_calibration, plot_confusion


def test_cells_hold_the_counts_and_colours_their_shares(tmp_path: Path, figures: list[Any]) -> None:
    plot_confusion(torch.tensor([[1200, 400], [0, 0]]), ["bad", "_$good$"], tmp_path / "a.png")
    axis = figures[0].axes[0]
    assert [text.get_text() for text in axis.texts] == ["1,200", "400", "0", "0"]
    assert axis.images[0].get_array().tolist() == [[0.75, 0.25], [0, 0]]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("taken for", "is")
    assert "good" in axis.get_yticklabels()[1].get_text()


def test_many_classes_have_colours_alone_and_names_that_do_not_touch(
    tmp_path: Path, figures: list[Any]
) -> None:
    plot_confusion(torch.eye(60).long(), [f"class {n}" for n in range(60)], tmp_path / "a.png")
    figure = figures[0]
    assert not figure.axes[0].texts
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
    assert all(a.y0 >= b.y1 - 1 for a, b in itertools.pairwise(boxes))
    assert max(figure.get_size_inches()) < 16


def test_a_bin_stands_at_its_mean_probability(tmp_path: Path, figures: list[Any]) -> None:
    scores = Calibration(4)
    scores.update(torch.tensor([[0.6, 0.4], [0.7, 0.3], [0.1, 0.9]]), torch.tensor([0, 1, 1]))
    plot_calibration(scores.bins(), tmp_path / "a.png")
    upper, lower = figures[0].axes
    (line,) = (line for line in upper.lines if line.get_label() == "this model")
    assert line.get_xdata() == pytest.approx([0.65, 0.9])
    assert list(line.get_ydata()) == [0.5, 1.0]
    assert [bar.get_height() for bar in lower.patches] == pytest.approx([0, 0, 2 / 3, 1 / 3])
    error = scores.compute()["calibration_error"]
    assert f"{error:.3f}, 3 examples" in upper.get_title()


def test_pictures_are_the_same_each_time(tmp_path: Path) -> None:
    for name in ("a", "b"):
        plot_confusion(torch.tensor([[3, 1], [0, 2]]), ["x", "y"], tmp_path / f"{name}.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected counts \[1, 1\] of 1 classes"):
        plot_confusion(torch.zeros(2, 2).long(), ["a"], tmp_path / "a.png")
    with pytest.raises(ValueError, match="expected counts"):
        plot_confusion(torch.tensor([[-1]]), ["a"], tmp_path / "a.png")
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_calibration(Calibration().bins(), tmp_path / "a.png")
