from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn import ops
from pyrnn.plot import plot_attention


def weights(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).softmax(-1)


def panels(figure: Any) -> list[Any]:
    """The axes with a heat map."""
    return [axis for axis in figure.axes if axis.images]


def labels(axis: Any) -> list[str]:
    """The printed labels of an axis of a panel."""
    return [text.get_text() for text in axis.get_ticklabels()]


def test_one_head_with_its_tokens(tmp_path: Path, figures: list[Any]) -> None:
    drawn = weights(2, 3)
    plot_attention(drawn, tmp_path / "a.png", queries=["le", "chat"], keys=["the", "cat", "sat"])
    (panel,) = panels(figures[0])
    torch.testing.assert_close(torch.tensor(panel.images[0].get_array()), drawn)
    assert (labels(panel.xaxis), labels(panel.yaxis)) == (["the", "cat", "sat"], ["le", "chat"])
    assert panel.get_title() == ""
    assert (figures[0].get_supxlabel(), figures[0].get_supylabel()) == ("keys", "queries")


def test_what_the_operator_returns_is_drawn(tmp_path: Path, figures: list[Any]) -> None:
    q = torch.randn(2, 4, 5, 8, dtype=torch.bfloat16, requires_grad=True)
    for kind in ("mean", "full"):
        _, returned = ops.scaled_dot_product_attention(q, q, q, return_weights=kind)
        plot_attention(returned[0], tmp_path / "a.svg", queries=list("abcde"))
    assert [len(panels(figure)) for figure in figures] == [1, 4]
    assert labels(panels(figures[1])[0].xaxis) == list("abcde")  # the keys are the queries


def test_heads_share_one_scale(tmp_path: Path, figures: list[Any]) -> None:
    drawn = torch.stack([weights(4, 4) / 2, weights(4, 4)])
    plot_attention(drawn, tmp_path / "a.png")
    assert [panel.get_title() for panel in panels(figures[0])] == ["head 0", "head 1"]
    limits = {panel.images[0].get_clim() for panel in panels(figures[0])}
    assert limits == {(0.0, float(drawn.max()))}


@pytest.mark.parametrize("count", [1, 3, 5, 12, 13])
def test_every_head_has_its_place(count: int, tmp_path: Path, figures: list[Any]) -> None:
    names = [f"layer 1, head {h}" for h in range(count)]
    plot_attention(weights(count, 2, 3), tmp_path / "a.png", heads=names)
    shown = [panel for panel in panels(figures[0]) if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == names
    for panel in shown:  # the lowest panel of each column names the keys
        beneath = [other for other in shown if other.get_position().y1 < panel.get_position().y0]
        column = [other for other in beneath if other.get_position().x0 == panel.get_position().x0]
        drawn = any(text.get_visible() and text.get_text() for text in panel.xaxis.get_ticklabels())
        assert drawn == (not column)


def test_a_head_of_one_is_named_and_a_single_map_is_not(tmp_path: Path, figures: list[Any]) -> None:
    plot_attention(weights(1, 2, 2), tmp_path / "a.png")
    plot_attention(weights(2, 2), tmp_path / "a.png")
    assert [panels(figure)[0].get_title() for figure in figures] == ["head 0", ""]


def overlapping(axis: Any, along: int) -> bool:
    """Whether printed labels of an axis cover each other."""
    boxes = [text.get_window_extent() for text in axis.get_ticklabels() if text.get_text()]
    spans = sorted((box.p0[along], box.p1[along]) for box in boxes)
    return any(after[0] < before[1] for before, after in pairwise(spans))


@pytest.mark.parametrize(("size", "heads"), [(1, 4), (30, 1), (90, 4), (700, 1)])
@pytest.mark.parametrize("token", ["a", "Donaudampfschifffahrt", None])
def test_labels_never_overlap_nor_leave_the_picture(
    token: str | None, size: int, heads: int, tmp_path: Path, figures: list[Any]
) -> None:
    tokens = None if token is None else [token] * size
    plot_attention(weights(heads, size, size), tmp_path / "a.png", queries=tokens)
    (figure,) = figures
    for panel in panels(figure):
        assert not overlapping(panel.xaxis, 0)
        assert not overlapping(panel.yaxis, 1)
        box = panel.get_tightbbox()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y1 <= figure.bbox.height
    assert len(labels(panels(figure)[0].yaxis)) >= min(size, 5)


@pytest.mark.parametrize(("size", "expected"), [(1, ["0"]), (300, ["0", "20", "40"]), (7, ["0", "1", "2"])])
def test_positions_are_round_numbers(
    size: int, expected: list[str], tmp_path: Path, figures: list[Any]
) -> None:
    plot_attention(weights(2, size, size), tmp_path / "a.png")
    assert labels(panels(figures[0])[0].yaxis)[:3] == expected


def test_tokens_are_printed_as_they_are(tmp_path: Path, figures: list[Any]) -> None:
    tokens = [" ", "\n", "$x$", "_y", "a\tb", "x" * 99]
    plot_attention(weights(6, 6), tmp_path / "a.png", queries=tokens)
    printed = labels(panels(figures[0])[0].yaxis)
    assert printed == ["␣", "↵", r"\$x\$", " _y", "a⇥b", "x" * 15 + "…"]


def test_weights_of_zero(tmp_path: Path, figures: list[Any]) -> None:
    plot_attention(torch.zeros(2, 3), tmp_path / "a.png")
    assert panels(figures[0])[0].images[0].get_clim() == (0.0, 1.0)


@pytest.mark.parametrize(
    ("given", "names", "words"),
    [
        (torch.rand(2, 2, 3, 3), {}, r"got torch.float32 of shape \(2, 2, 3, 3\); of a batch give one"),
        (torch.rand(3), {}, r"expected a floating-point tensor \[T, S\] or \[H, T, S\]"),
        (torch.ones(3, 3, dtype=torch.long), {}, "got torch.int64"),
        (torch.rand(0, 3), {}, "not empty"),
        (-torch.ones(2, 2), {}, "got negative ones, inf or nan"),
        (torch.full((2, 2), torch.nan), {}, "got negative ones, inf or nan"),
        (torch.rand(2, 3), {"queries": ["a"]}, r"queries: expected 2 names .* \(2, 3\), got 1"),
        (torch.rand(2, 3), {"keys": ["a", "b"]}, "keys: expected 3 names"),
        (torch.rand(2, 3, 3), {"heads": ["a"]}, "heads: expected 2 names"),
    ],
)
def test_misuse(given: Tensor, names: dict[str, list[str]], words: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=words):
        plot_attention(given, tmp_path / "a.png", **names)
    assert not list(tmp_path.iterdir())


def test_a_causal_map_is_not_blank(tmp_path: Path, figures: list[Any]) -> None:
    uniform = torch.ones(120, 120).tril()
    drawn = uniform / uniform.sum(-1, keepdim=True)
    plot_attention(drawn, tmp_path / "a.png")
    image = panels(figures[0])[0].images[0]
    assert float(image.norm(1 / 60)) > 0.3  # it was a sixtieth of the scale
    assert image.get_clim()[1] == pytest.approx(1 / 13)
    bar = image.colorbar
    assert (bar.extend, bar.ax.get_ylabel()) == ("max", "attention weight (root scale)\ndarkest: 0.077 to 1")


def test_a_head_that_looks_at_one_key_keeps_its_scale(tmp_path: Path, figures: list[Any]) -> None:
    plot_attention(torch.eye(50) * 0.9 + 0.002, tmp_path / "a.png")
    image = panels(figures[0])[0].images[0]
    assert image.get_clim()[1] == pytest.approx(0.902)
    assert image.colorbar.extend == "neither"
