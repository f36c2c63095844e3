"""Where the labels of points go so that none lies on another one, on a point or on a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Of a label's nearest edge from its point, in units of the first ring's; labels beyond that get a line.
_RINGS = (1.0, 2.5, 5.0, 8.0, 12.0, 17.0)
_FIRST = (0, 4, 2, 6, 1, 3, 5, 7)  # right, left, above, below, then the corners, in eighths of a circle
_STEP = 3.0  # between the places at which a line is looked at
_GAP = 1.5  # between things that do not touch


class Placed(NamedTuple):
    """Where a label lies.

    Args:
        left: of its box.
        bottom: of its box.
        near: whether it touches its point, so that no line need lead to it.

    Example:
        >>> Placed(1.0, 2.0, near=True).near
        True
    """

    left: float
    bottom: float
    near: bool


def place_labels(
    points: NDArray[np.float64],
    sizes: NDArray[np.float64],
    *,
    bounds: tuple[float, float, float, float],
    radius: float,
    lines: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]] = (),
    labelled: Sequence[int] | None = None,
) -> list[Placed | None]:
    """Give each label a box beside its point, or farther off with a line, or None where there is no room.

    The labels are placed in turn, each at the first of a fixed list of places (right, left, above, below, the
    corners, then rings of 16) that is free of points, lines, labels and lines to labels before it. So the
    same points give the same places, earlier labels get the better ones, and no two boxes overlap.

    Args:
        points: [N, 2], in pixels.
        sizes: [N, 2], width and height of each label.
        bounds: left, bottom, right, top of where labels may lie.
        radius: of a point's mark.
        lines: pairs of ends, [2] each, that labels leave free.
        labelled: points to label, in the order in which they choose; by default all as they stand.

    Example:
        >>> places = place_labels(
        ...     np.array([[10.0, 10.0], [12.0, 10.0]]), np.full((2, 2), 8.0), bounds=(0, 0, 60, 60), radius=1
        ... )
        >>> [place.near for place in places]
        [True, True]
    """
    taken = _Taken(len(points))
    taken.add(np.concatenate([points - radius, points + radius], 1))
    for start, end in lines:
        taken.add(_along(start, end))
    found: list[Placed | None] = [None] * len(points)
    for n in range(len(points)) if labelled is None else labelled:
        for ring, centre in _candidates(points[n], sizes[n], radius + _GAP):
            box = np.concatenate([centre - sizes[n] / 2, centre + sizes[n] / 2])
            inside = (
                bounds[0] <= box[0] and bounds[1] <= box[1] and box[2] <= bounds[2] and box[3] <= bounds[3]
            )
            if not inside or taken.overlaps(box[None]):
                continue
            if ring:
                start, end = nearest(box, points[n]), points[n]
                way = end - start
                end = end - way * min(2 * (radius + _GAP) / max(math.hypot(*way), 1e-9), 1.0)
                line = _along(start, end)
                if taken.overlaps(line):
                    continue
                taken.add(line)
            taken.add(box[None])
            found[n] = Placed(float(box[0]), float(box[1]), near=not ring)
            break
    return found


def nearest(box: NDArray[np.float64], point: NDArray[np.float64]) -> NDArray[np.float64]:
    """The place of a box (left, bottom, right, top) that is nearest to a point.

    Example:
        >>> nearest(np.array([0.0, 0.0, 4.0, 2.0]), np.array([9.0, 1.0])).tolist()
        [4.0, 1.0]
    """
    return np.clip(point, box[:2], box[2:])


class _Taken:
    """Boxes that are in use, [M, 4]; room for more is kept."""

    def __init__(self, room: int) -> None:
        self._boxes, self._count = np.empty((max(room, 1) * 2, 4)), 0

    def add(self, boxes: NDArray[np.float64]) -> None:
        count = self._count + len(boxes)
        if count > len(self._boxes):
            self._boxes = np.concatenate([self._boxes, np.empty((count, 4))])
        self._boxes[self._count : count] = boxes
        self._count = count

    def overlaps(self, boxes: NDArray[np.float64]) -> bool:
        """Whether any of the boxes [K, 4] comes nearer than the gap to one in use."""
        own, used = boxes[:, None], self._boxes[None, : self._count]
        apart = (own[..., :2] >= used[..., 2:] + _GAP) | (own[..., 2:] <= used[..., :2] - _GAP)
        return not bool(apart.any(-1).all())


def _along(start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
    """Places of a line as boxes without size."""
    count = max(math.ceil(math.hypot(*(end - start)) / _STEP), 1) + 1
    places = start + np.linspace(0, 1, count)[:, None] * (end - start)
    return np.concatenate([places, places], 1)


def _candidates(
    point: NDArray[np.float64], size: NDArray[np.float64], distance: float
) -> list[tuple[int, NDArray[np.float64]]]:
    """The number of the ring and the centre of the label, the best place first."""
    found = []
    for ring, factor in enumerate(_RINGS):
        angles = [n * math.pi / 4 for n in _FIRST] if ring == 0 else [n * math.pi / 8 for n in range(16)]
        for angle in angles:
            way = np.array([math.cos(angle), math.sin(angle)])
            reach = factor * (distance + _GAP)
            # Beside a side the label is centred on it; at a corner its corner points to the point.
            corner = np.sign(np.round(way, 9))
            whole = np.where(np.abs(way) > 0.3827, corner, way) if ring == 0 else way
            found.append((ring, point + way * reach + whole * size / 2))
    return found
