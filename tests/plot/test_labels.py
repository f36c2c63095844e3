from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pyrnn.plot.labels import Placed, nearest, place_labels

Box = tuple[float, float, float, float]


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def box_of(place: Placed, size: NDArray[np.float64]) -> Box:
    return place.left, place.bottom, place.left + size[0], place.bottom + size[1]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(1, 60), room=st.sampled_from([60, 300, 2000]))
def test_no_label_lies_on_another_on_a_point_or_on_a_line(seed: int, count: int, room: int) -> None:
    draws = np.random.default_rng(seed)
    points = draws.random((count, 2)) * room
    sizes = np.stack([draws.integers(4, 60, count), np.full(count, 12)], 1).astype(float)
    lines = [(points[0], points[-1])]
    places = place_labels(points, sizes, bounds=(0, 0, room, room), radius=3, lines=lines)
    assert places == place_labels(points, sizes, bounds=(0, 0, room, room), radius=3, lines=lines)
    boxes = [box_of(place, size) for place, size in zip(places, sizes, strict=True) if place is not None]
    assert not any(overlap(a, b) for a, b in itertools.combinations(boxes, 2))
    for left, bottom, right, top in boxes:
        assert 0 <= left < right <= room
        assert 0 <= bottom < top <= room
        assert not any(left - 3 < x < right + 3 and bottom - 3 < y < top + 3 for x, y in points)
        along = points[0] + np.linspace(0, 1, 999)[:, None] * (points[-1] - points[0])
        # Between the places where a line is looked at it could cut a corner by less than the gap.
        assert not ((along > (left, bottom)) & (along < (right, top))).all(1).any()


def test_a_lonely_label_stands_on_the_right_and_a_crowded_one_farther_off() -> None:
    size = np.array([20.0, 10.0])
    (place,) = place_labels(np.array([[50.0, 50.0]]), size[None], bounds=(0, 0, 100, 100), radius=2)
    assert place is not None
    assert place.near
    assert place.left > 52
    assert place.bottom + 5 == pytest.approx(50)
    ring = np.array([[np.cos(a), np.sin(a)] for a in np.linspace(0, 2 * np.pi, 24, endpoint=False)])
    points = np.concatenate([[[200.0, 200.0]], 200 + 10 * ring])
    places = place_labels(points, np.full((25, 2), 10.0), bounds=(0, 0, 400, 400), radius=2)
    assert places[0] is None  # the line to it would cross the ring
    outside = [place for place in places[1:] if place is not None]
    assert len(outside) > 12
    assert {place.near for place in outside} == {True, False}


def test_only_those_asked_for_are_labelled_and_the_first_choose_first() -> None:
    points, sizes = np.array([[10.0, 10.0], [11.0, 10.0], [12.0, 10.0]]), np.full((3, 2), 8.0)
    places = place_labels(points, sizes, bounds=(0, 0, 100, 100), radius=1, labelled=[2, 0])
    assert places[1] is None
    assert places[2] is not None
    assert places[2].left > 12
    assert places[0] is not None
    assert places[0].left < 10


def test_a_label_larger_than_the_picture_is_left_out() -> None:
    assert place_labels(np.zeros((1, 2)), np.full((1, 2), 50.0), bounds=(-9, -9, 9, 9), radius=1) == [None]


def test_the_nearest_place_of_a_box() -> None:
    assert nearest(np.array([0.0, 0.0, 4.0, 2.0]), np.array([-1.0, 9.0])).tolist() == [0.0, 2.0]
