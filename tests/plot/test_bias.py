from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.plot import SidePlaces, plot_bias


def test_words_stand_in_the_order_of_what_they_were_and_both_states_are_shown(
    tmp_path: Path, figures: list[Any]
) -> None:
    before, after = torch.tensor([0.1, -0.3, 0.4]), torch.tensor([0.0, 0.5, 0.25])
    plot_bias(["smith", "국왕", "nurse"], before, after, tmp_path / "a.png", sides=("female", "male"))
    (axis,) = figures[0].axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["□□", "smith", "nurse"]
    points = {line.get_label(): list(line.get_xdata()) for line in axis.lines if line.get_marker() == "o"}
    assert points == {"before": pytest.approx([-0.3, 0.1, 0.4]), "after": pytest.approx([0.5, 0.0, 0.25])}
    assert axis.get_xlabel() == "← male    cosine with the bias direction    female →"


def test_sides_keep_their_colours_after(tmp_path: Path, figures: list[Any]) -> None:
    states = (SidePlaces(torch.randn(8, 2), 0.9), SidePlaces(torch.randn(8, 2), 0.8))
    plot_bias(["a"], torch.zeros(1), torch.zeros(1), tmp_path / "a.png", neighbourhoods=states)
    _, first, second = figures[0].axes
    for axis, state, name in ((first, states[0], "before: 90 %"), (second, states[1], "after: 80 %")):
        assert axis.get_title().startswith(name)
        drawn = torch.cat([torch.as_tensor(cloud.get_offsets().data) for cloud in axis.collections])
        assert torch.allclose(drawn.float(), state.places)
    colours = [[tuple(cloud.get_facecolor()[0]) for cloud in axis.collections] for axis in (first, second)]
    assert colours[0] == colours[1]
    assert len(set(colours[0])) == 2


def test_labels_of_many_words_do_not_touch(tmp_path: Path, figures: list[Any]) -> None:
    words, cosines = [f"word{n}" for n in range(50)], torch.linspace(-1, 1, 50)
    plot_bias(words, cosines, cosines, tmp_path / "a.png")
    figures[0].draw_without_rendering()
    boxes = [label.get_window_extent() for label in figures[0].axes[0].get_yticklabels()]
    assert all(upper.y0 > lower.y1 - 1 for lower, upper in itertools.pairwise(boxes))
    assert all(box.x0 >= 0 for box in boxes)


def test_what_does_not_fit_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="after: expected a finite cosine for each of 2 words"):
        plot_bias(["a", "b"], torch.zeros(2), torch.zeros(3), tmp_path / "a.png")
    with pytest.raises(ValueError, match="before: expected a finite cosine"):
        plot_bias([], torch.zeros(0), torch.zeros(0), tmp_path / "a.png")
    state = SidePlaces(torch.zeros(3, 2), 0.5)
    with pytest.raises(ValueError, match=r"expected \[2 n, 2\], got \(3, 2\)"):
        plot_bias(["a"], torch.zeros(1), torch.zeros(1), tmp_path / "a.png", neighbourhoods=(state, state))
