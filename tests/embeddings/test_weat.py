from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pyrnn.embeddings import weat as module
from pyrnn.embeddings.weat import association_test


def by_the_book(
    vectors: torch.Tensor, X: list[int], Y: list[int], A: list[int], B: list[int]
) -> tuple[float, float, float]:
    """Statistic, effect size and p-value from the paper's formulas, word by word."""
    rows = vectors.double().numpy()

    def cosine(u: int, v: int) -> float:
        return rows[u] @ rows[v] / np.sqrt(rows[u] @ rows[u]) / np.sqrt(rows[v] @ rows[v])

    s = {w: np.mean([cosine(w, a) for a in A]) - np.mean([cosine(w, b) for b in B]) for w in X + Y}
    measured = sum(s[x] for x in X) - sum(s[y] for y in Y)
    larger = []
    for own in itertools.combinations(X + Y, len(X)):
        other = [w for w in X + Y if w not in own]
        larger.append(sum(s[w] for w in own) - sum(s[w] for w in other) >= measured - 1e-9)
    effect = (np.mean([s[x] for x in X]) - np.mean([s[y] for y in Y])) / np.std(list(s.values()))
    return float(measured), float(effect), float(np.mean(larger))


@settings(max_examples=30, deadline=None)
@example(seed=4, n=4, a=4, b=2)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 4), a=st.integers(1, 4), b=st.integers(1, 4))
def test_all_numbers_are_those_of_the_paper_by_brute_force(seed: int, n: int, a: int, b: int) -> None:
    # float64, for what differs by less than the rounding of the vectors counts as equal
    vectors = torch.randn(
        2 * n + a + b, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    rows = iter(range(len(vectors)))
    X, Y, A, B = ([*itertools.islice(rows, size)] for size in (n, n, a, b))
    found = association_test(vectors, X, Y, A, B)
    statistic, effect, p = by_the_book(vectors, X, Y, A, B)
    assert found.statistic == pytest.approx(statistic)
    assert found.effect_size == pytest.approx(effect)
    assert found.p_value == pytest.approx(p)
    assert found.exact
    swapped = association_test(vectors, Y, X, A, B)
    assert swapped.statistic == pytest.approx(-statistic)
    assert swapped.effect_size == pytest.approx(-effect)


def test_targets_that_coincide_with_the_attributes_have_the_largest_effect() -> None:
    vectors = torch.eye(2)[[0, 0, 0, 1, 1, 1, 0, 1]]
    found = association_test(vectors, [0, 1, 2], [3, 4, 5], [6], [7])
    assert found == (6.0, 2.0, 1 / 20, 20, True)  # s is 1 or -1; one cut of 20 reaches it


def test_words_that_associate_alike_have_no_effect_size_and_p_is_one() -> None:
    vectors = torch.randn(10, 8, generator=torch.Generator().manual_seed(0))
    vectors[8:] = torch.randn(8, generator=torch.Generator().manual_seed(1))  # A and B are the same word
    found = association_test(vectors, [0, 1, 2, 3], [4, 5, 6, 7], [8], [9])
    assert (found.effect_size, found.p_value) == (None, 1.0)
    assert abs(found.statistic) < 1e-6


def test_drawn_partitions_estimate_the_exact_share(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = torch.randn(16, 5, generator=torch.Generator().manual_seed(3))
    rows = [*range(6)], [*range(6, 12)], [12, 13], [14, 15]
    exact = association_test(vectors, *rows)
    monkeypatch.setattr(module, "_MOST_EXACT", 100)
    drawn = association_test(vectors, *rows, samples=20_000, seed=1)
    assert exact.exact
    assert not drawn.exact
    assert drawn.permutations == 20_000
    assert drawn.p_value == pytest.approx(exact.p_value, abs=4 * (0.25 / 20_000) ** 0.5)
    assert association_test(vectors, *rows, samples=20_000, seed=1) == drawn
    assert association_test(vectors, *rows, samples=20_000, seed=2) != drawn
    assert association_test(vectors, *rows, samples=1).p_value in (0.5, 1.0)


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (([0, 1], [2], [4], [5]), "got 2 and 1 targets"),
        (([0], [2], [4], [5]), "at least 2 each"),
        (([0, 1], [2, 3], [], [5]), "0 and 1 attributes"),
        (([0, 1], [1, 3], [4], [5]), "twice in X and Y"),
        (([0, 1], [2, 3], [4], [4]), "twice in A and B"),
        (([0, 1], [2, 3], [4], [9]), "rows from 0 to 6, got 9"),
        (([0, 1], [2, 3], [4], [6]), "vector of row 6 has length 0.0"),
    ],
)
def test_sets_that_are_none_are_refused_in_words(sets: tuple[list[int], ...], message: str) -> None:
    vectors = torch.eye(7, 8)
    vectors[6] = 0
    with pytest.raises(ValueError, match=message):
        association_test(vectors, *sets)
