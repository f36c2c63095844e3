from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from matplotlib.text import Text

from pyrnn.plot import plot_words, write_words_page

WORDS = [f"{'word' * (n % 3 + 1)}{n}" for n in range(70)]


def places(count: int = 70) -> torch.Tensor:
    return torch.randn(count, 2, generator=torch.Generator().manual_seed(0))


def labels_of(figure: Any) -> dict[str, Any]:
    """The boxes of the labels as the file has them, in its pixels."""
    figure.set_dpi(150)
    figure.draw_without_rendering()
    found = [text for text in figure.axes[0].texts if text.get_text()]
    return {text.get_text(): Text.get_window_extent(text) for text in found}


def test_labels_do_not_overlap_nor_leave_the_frame(tmp_path: Path, figures: list[Any]) -> None:
    left_out = plot_words(WORDS, places(), tmp_path / "a.png", arrows=[(0, 1), (2, 3)])
    figure = figures[0]
    drawn = labels_of(figure)
    assert sorted([*drawn, *left_out]) == sorted(WORDS)
    assert len(left_out) < len(WORDS) / 4
    assert not [(a, b) for a, b in itertools.combinations(drawn, 2) if drawn[a].overlaps(drawn[b])]
    axis = figure.axes[0]
    frame = axis.get_window_extent()
    assert all(
        frame.x0 < box.x0 and box.x1 < frame.x1 and frame.y0 < box.y0 < box.y1 < frame.y1
        for box in drawn.values()
    )
    points = axis.transData.transform(places().numpy())
    assert not [word for word, box in drawn.items() if any(box.contains(x, y) for x, y in points)]


def test_labels_stand_beside_their_own_points(tmp_path: Path, figures: list[Any]) -> None:
    grid = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    assert plot_words(WORDS[:9], grid, tmp_path / "a.png") == []
    drawn = labels_of(figures[0])
    points = figures[0].axes[0].transData.transform(grid.numpy())
    for word, box in drawn.items():
        x, y = points[WORDS.index(word)]
        assert 0 < max(box.x0 - x, x - box.x1) < 18  # on the right, or on the left at the edge
        assert abs((box.y0 + box.y1) / 2 - y) < 3


def test_arrows_lead_from_word_to_word_on_axes_of_one_scale(tmp_path: Path, figures: list[Any]) -> None:
    square = torch.tensor([[0.0, 0.0], [0.0, 1.0], [9.0, 0.0], [9.0, 1.0]])
    words = ["man", "king", "woman", "queen"]
    plot_words(words, square, tmp_path / "a.svg", arrows=[(0, 1), (2, 3)], axes=("one", "two"))
    figures[0].draw_without_rendering()
    axis = figures[0].axes[0]
    arrows = [text for text in axis.texts if not text.get_text()]
    assert [(arrow.xyann, arrow.xy) for arrow in arrows] == [((0, 0), (0, 1)), ((9, 0), (9, 1))]
    across, up = (
        axis.transData.transform(end) - axis.transData.transform((0, 0)) for end in ((1, 0), (0, 1))
    )
    assert across[0] == pytest.approx(up[1], rel=0.006)  # what matplotlib lets pass
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("one", "two")


def test_groups_have_colours_of_their_own(tmp_path: Path, figures: list[Any]) -> None:
    plot_words(WORDS[:6], places(6), tmp_path / "a.png", groups=["a", "b", "a", "b", "_c", "a"])
    clouds = figures[0].axes[0].collections
    assert [len(cloud.get_offsets()) for cloud in clouds] == [3, 2, 1]
    assert len({tuple(cloud.get_facecolor()[0]) for cloud in clouds}) == 3
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["a", "b", " _c"]


def test_the_same_picture_has_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        plot_words(WORDS[:30], places(30), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_words_are_printed_as_they_are_and_points_may_coincide(tmp_path: Path, figures: list[Any]) -> None:
    plot_words(["$x$", "_y", "z" * 90], torch.zeros(3, 2), tmp_path / "a.png")
    assert set(labels_of(figures[0])) == {r"\$x\$", " _y", "z" * 23 + "…"}


def test_words_in_letters_that_the_font_lacks_have_no_label(tmp_path: Path, figures: list[Any]) -> None:
    assert plot_words(["король", "국왕", "king"], places(3), tmp_path / "a.png") == ["국왕"]
    assert set(labels_of(figures[0])) == {"король", "king"}


def test_a_page_holds_all_that_it_needs_and_words_only_as_data(tmp_path: Path) -> None:
    words = ["</script><script>alert(1)</script>", "a&b", "\u2028", '"', "/*DATA*/"]
    path = tmp_path / "a.html"
    write_words_page(
        words, places(5), path, groups=["<b>", "x", "x", "x", "x"], arrows=[(0, 1)], axes=("one", "two")
    )
    page = path.read_text(encoding="utf-8")
    assert page.count("<script") == page.count("</script") == 1
    assert not re.search(r"https?:|src=|href=|@import|<b>", page)
    assert "default-src 'none'" in page
    (data,) = re.findall(r"^const data = (.*);$", page, re.MULTILINE)
    assert not set("<>&\u2028") & set(data)
    told = json.loads(data)
    assert told["words"] == words
    assert told["names"] == ["<b>", "x"]
    assert (told["groups"], told["arrows"], told["axes"]) == ([0, 1, 1, 1, 1], [[0, 1]], ["one", "two"])
    assert torch.allclose(torch.tensor(told["places"]), places(5))
    assert "innerHTML" not in page


@pytest.mark.parametrize("draw", [plot_words, write_words_page])
def test_what_does_not_fit_is_refused_in_words(draw: Any, tmp_path: Path) -> None:
    path = tmp_path / ("a.png" if draw is plot_words else "a.html")
    with pytest.raises(ValueError, match=r"got 0 words"):
        draw([], torch.zeros(0, 2), path)
    with pytest.raises(ValueError, match=r"got 2 words and places of shape \(2, 3\)"):
        draw(["a", "b"], torch.zeros(2, 3), path)
    with pytest.raises(ValueError, match="finite"):
        draw(["a"], torch.full((1, 2), torch.nan), path)
    with pytest.raises(ValueError, match="a group for each of 2 words, got 1"):
        draw(["a", "b"], torch.zeros(2, 2), path, groups=["x"])
    with pytest.raises(ValueError, match=r"two of words 0 to 1, got \(0, 2\)"):
        draw(["a", "b"], torch.zeros(2, 2), path, arrows=[(0, 2)])
    with pytest.raises(ValueError, match="must end in"):
        draw(["a"], torch.zeros(1, 2), tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        draw(["a"], torch.zeros(1, 2), tmp_path / "nowhere" / path.name)
    assert list(tmp_path.iterdir()) == []
