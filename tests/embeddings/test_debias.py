from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.embeddings.debias import (
    bias_components,
    bias_subspace,
    direct_bias,
    equalize,
    hard_debias,
    neutralize,
)

PAIRS = [(0, 1), (2, 3), (4, 5), (6, 7)]


def drawn(seed: int, V: int = 30, D: int = 12, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(V, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    count=st.integers(1, 3),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_neutral_words_have_no_bias_and_equalised_ones_are_as_far_from_each_of_them(
    seed: int, count: int, dtype: torch.dtype, scale: float
) -> None:
    vectors = drawn(seed, dtype=dtype) * scale
    directions = bias_subspace(vectors, PAIRS, count=count).directions
    neutral, equal = range(8, 25), [(0, 1), (2, 3), (25, 26)]
    after = hard_debias(vectors, directions=directions, neutral=neutral, equal=equal)
    bound = 8 * torch.finfo(dtype).eps
    assert bias_components(after, neutral, directions).abs().max() <= bound
    assert direct_bias(after, neutral, directions) <= bound * count
    length = after.double().norm(dim=1)
    for a, b in equal:
        # To the bias they differ in alone they have opposite signs, and everything else in common.
        one, other = bias_components(after, [a, b], directions)
        assert torch.allclose(one, -other, atol=bound, rtol=0)
        assert abs(length[a] / length[b] - 1) <= bound
        for n in neutral:
            far = [(after[n].double() - after[row].double()).norm() for row in (a, b)]
            assert abs(far[0] / far[1] - 1) <= bound * max(1, float(length[a] / far[0]) ** 2)
    assert torch.allclose(
        after[8:25].double().norm(dim=1), vectors[8:25].double().norm(dim=1), rtol=bound, atol=0
    )
    assert torch.equal(after[27:], vectors[27:])


def test_neutralising_twice_changes_nothing_more() -> None:
    vectors = drawn(0, dtype=torch.float64)
    directions = bias_subspace(vectors, PAIRS, count=2).directions
    once = neutralize(vectors, range(30), directions)
    assert torch.allclose(neutralize(once, range(30), directions), once, rtol=0, atol=1e-14)


def test_equalised_unit_vectors_have_length_one_also_in_sets_of_three() -> None:
    unit = torch.nn.functional.normalize(drawn(1, dtype=torch.float64), dim=1)
    directions = bias_subspace(unit, PAIRS, count=3).directions
    after = equalize(unit, [(0, 1), (8, 9, 10)], directions)
    assert torch.allclose(after[[0, 1, 8, 9, 10]].norm(dim=1), torch.ones(5, dtype=torch.float64))
    common = after - (after @ directions.T) @ directions
    assert torch.allclose(common[8], common[9])
    assert torch.allclose(common[8], common[10])


def test_the_directions_are_the_eigenvectors_of_the_papers_matrix() -> None:
    vectors = drawn(2, dtype=torch.float64)
    sets = [(0, 1), (2, 3, 4), (5, 6)]
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    C = torch.zeros(12, 12, dtype=torch.float64)
    for rows in sets:
        mean = sum(unit[row] for row in rows) / len(rows)
        for row in rows:
            C += torch.outer(unit[row] - mean, unit[row] - mean) / len(rows)
    values, expected = torch.linalg.eigh(C)
    found = bias_subspace(vectors, sets, count=3)
    assert torch.allclose(
        (found.directions @ expected.T.flip(0)[:3].T).abs(), torch.eye(3, dtype=torch.float64), atol=1e-9
    )
    assert found.explained == pytest.approx((values.flip(0)[:3] / values.sum()).tolist())


def test_a_planted_direction_is_found_and_points_to_the_first_words() -> None:
    planted = torch.nn.functional.normalize(drawn(3, V=1, D=50), dim=1)[0]
    vectors = drawn(4, V=20, D=50) * 0.02
    vectors[0:20:2] += torch.arange(1, 11)[:, None] * 0.01 + planted
    vectors[1:20:2] += torch.arange(1, 11)[:, None] * 0.01 - planted
    found = bias_subspace(vectors, [(n, n + 1) for n in range(0, 20, 2)])
    assert float(found.directions[0] @ planted.double()) > 0.99
    assert (bias_components(vectors, range(0, 20, 2), found.directions) > 0).all()
    assert (bias_components(vectors, range(1, 20, 2), found.directions) < 0).all()
    assert found.explained[0] > 0.95


def test_direct_bias_is_the_mean_of_the_cosines_to_a_power() -> None:
    vectors, direction = torch.tensor([[3.0, 4.0], [-4.0, 3.0]]), torch.tensor([[1.0, 0.0]])
    assert direct_bias(vectors, [0, 1], direction) == pytest.approx(0.7)
    assert direct_bias(vectors, [0, 1], direction, strictness=2) == pytest.approx((0.36 + 0.64) / 2)


def test_a_vector_of_zeros_stays_neutral_as_it_is() -> None:
    vectors = drawn(5)
    vectors[9] = 0
    directions = bias_subspace(vectors, PAIRS).directions
    assert (neutralize(vectors, range(8, 30), directions)[9] == 0).all()


WORDS = [f"w{n}" for n in range(30)]


@pytest.mark.parametrize(
    ("sets", "count", "message"),
    [
        ([(0, 1)], 1, "at least two defining pairs .* got 1"),
        ([(0, 1), (2,)], 1, "different words, got 'w2'"),
        ([(0, 1), (2, 2)], 1, "different words, got 'w2', 'w2'"),
        ([(0, 1), (2, 3)], 3, "2 defining pairs span 2 directions, got 3"),
        ([(0, 1), (2, 3)], 0, "at least one direction, got 0"),
        ([(0, 1), (2, 30)], 1, "rows from 0 to 29, got 2 to 30"),
        ([(0, 1), (2, 29)], 1, "vector of 'w29' has length 0.0: it has no direction"),
        ([(0, 1), (2, 28)], 1, "vector of 'w28' has length nan"),
        ([(0, 27), (27, 0)], 1, "words of each of the 2 defining pairs have the same vector"),
    ],
)
def test_what_has_no_direction_is_refused_in_words(
    sets: list[tuple[int, ...]], count: int, message: str
) -> None:
    vectors = drawn(6)
    vectors[29], vectors[28, 0], vectors[27] = 0, torch.nan, 2 * vectors[0]
    with pytest.raises(ValueError, match=message):
        bias_subspace(vectors, sets, count=count, words=WORDS)


def test_words_that_cannot_be_debiased_are_named() -> None:
    vectors = drawn(7)
    directions = bias_subspace(vectors, PAIRS).directions
    vectors[9] = 3 * directions[0]
    vectors[11] = vectors[10]
    with pytest.raises(ValueError, match="'w9' lies in the bias subspace entirely"):
        neutralize(vectors, range(8, 30), directions, words=WORDS)
    with pytest.raises(ValueError, match="'w10' and 'w11' cannot be equalized"):
        equalize(vectors, [(10, 11)], directions, words=WORDS)
    with pytest.raises(ValueError, match="'w1' is in two sets"):
        equalize(vectors, [(0, 1), (1, 2)], directions, words=WORDS)
    with pytest.raises(ValueError, match="must differ: 'w1', 'w2' are both"):
        hard_debias(vectors, directions=directions, neutral=[1, 2, 3], equal=[(1, 2)], words=WORDS)
    vectors[12, 0] = torch.inf
    with pytest.raises(ValueError, match=r"row 12 .* not finite"):
        neutralize(vectors, [11, 12], directions)
