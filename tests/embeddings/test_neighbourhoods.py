from __future__ import annotations

import pytest
import torch

from pyrnn.embeddings.debias import neutralize
from pyrnn.embeddings.neighbourhoods import Sides, measure_neighbourhoods, most_biased


def test_sides_that_have_nothing_to_do_with_places_are_found_by_chance() -> None:
    vectors = torch.randn(400, 10, generator=torch.Generator().manual_seed(0))
    found = measure_neighbourhoods(vectors, Sides([*range(200)], [*range(200, 400)]), neighbours=20)
    assert found.same_side == pytest.approx(found.by_chance, abs=0.02)
    assert found.clustered < 0.6


def test_words_that_still_lie_together_are_seen_where_the_direction_is_gone() -> None:
    """The finding of Gonen and Goldberg, planted: sides differ in a second direction, too."""
    vectors = torch.randn(200, 20, generator=torch.Generator().manual_seed(1))
    sign = torch.where(torch.arange(200) < 100, 1.0, -1.0)
    vectors[:, 0] += 4 * sign
    direction = torch.eye(1, 20)
    for second, remains in ((0.0, False), (4.0, True)):
        given = vectors.clone()
        given[:, 1] += second * sign
        sides = most_biased(given, range(200), direction[0], count=50)
        assert max(sides.first) < 100 <= min(sides.second)
        before = measure_neighbourhoods(given, sides, neighbours=10)
        after = measure_neighbourhoods(neutralize(given, range(200), direction), sides, neighbours=10)
        assert (before.same_side, before.clustered) > (0.95, 0.95)
        assert (after.same_side > 0.9) == remains
        assert (after.clustered > 0.9) == remains


def test_the_share_is_that_of_counting() -> None:
    angles = torch.tensor([0.0, 0.1, 0.25, 1.0, 1.15, 1.35])
    vectors = torch.stack([angles.cos(), angles.sin()], 1)
    # Nearest two of each by angle: 0: 1 2, 1: 0 2, 2: 1 0, 3: 4 5, 4: 3 5, 5: 4 3.
    found = measure_neighbourhoods(vectors, Sides([0, 1, 3], [2, 4, 5]), neighbours=2)
    assert found.same_side == pytest.approx((1 + 1 + 0 + 0 + 1 + 1) / 12)
    assert found.by_chance == pytest.approx(2 / 5)
    assert found.clustered == pytest.approx(4 / 6)


def test_sides_are_equal_in_number_and_in_order() -> None:
    vectors = torch.tensor([[0.5, 1.0], [-1.0, 1.0], [2.0, 1.0], [0.0, 1.0], [-3.0, 1.0], [0.1, 1.0]])
    direction = torch.tensor([1.0, 0.0])
    assert most_biased(vectors, range(6), direction) == ([2, 0], [4, 1])
    assert most_biased(vectors, [5, 1, 3], direction, count=9) == ([5], [1])


@pytest.mark.parametrize("sides", [Sides([0], [1]), Sides([0, 1], [2]), Sides([], [])])
def test_sides_without_neighbours_are_refused(sides: Sides) -> None:
    with pytest.raises(ValueError, match="sides of as many words, at least 2"):
        measure_neighbourhoods(torch.eye(4), sides)
