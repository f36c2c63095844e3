"""The harness: order of the rounds, statistics, and the refusal to time results that disagree."""

from __future__ import annotations

import pytest
import torch

from pyrnn.bench.harness import (
    Candidate,
    Spread,
    check_agreement,
    difference,
    fma_peak,
    geometric_mean,
    paired_timing,
)


def test_duel_alternates_and_prepares_every_round() -> None:
    log: list[str] = []

    def candidate(name: str) -> Candidate:
        return Candidate(lambda: log.append(name), lambda: log.append(f"prepare {name}"))

    result = paired_timing(candidate("a"), candidate("b"), seconds=0.0)
    assert result.rounds == 5
    rounds = 2 + 5  # with those that warm up
    assert log == [*["prepare a", "a"] * 2, *["prepare b", "b"] * 2] * rounds  # the first call is not timed


def test_duel_ends_after_max_rounds() -> None:
    assert (
        paired_timing(Candidate(lambda: None), Candidate(lambda: None), seconds=60.0, max_rounds=3).rounds
        == 3
    )


def test_ratio_above_one_means_ours_is_faster() -> None:
    slow = torch.randn(300, 300)
    result = paired_timing(Candidate(lambda: None), Candidate(lambda: slow @ slow @ slow), seconds=0.05)
    assert result.ratio > 1
    assert result.ratio == result.theirs.median / result.ours.median
    assert result.ratios.p20 <= result.ratios.median <= result.ratios.p80


def test_spread() -> None:
    assert Spread.of([6.0, 1.0, 2.0, 3.0, 4.0, 5.0]) == Spread(median=3.5, p20=2.0, p80=5.0)


def test_difference_is_the_largest_relative_one() -> None:
    same, off = torch.ones(4), torch.ones(4) * 1.5
    assert difference([same, off], [same, same]) == pytest.approx(0.5)
    assert difference([torch.zeros(2)], [torch.zeros(2)]) == 0


def test_results_of_different_shape_never_agree() -> None:
    with pytest.raises(ValueError, match="different shapes"):
        difference([torch.ones(2, 1)], [torch.ones(2)])


@pytest.mark.parametrize("wrong", [1.001, float("nan")])
def test_disagreement_is_refused(wrong: float) -> None:
    with pytest.raises(RuntimeError, match="gru: the results differ"):
        check_agreement([torch.tensor([wrong])], [torch.ones(1)], "gru")


def test_fma_peak_is_a_rate_that_processors_have() -> None:
    # Two 512-bit multiply-adds a cycle at 6 GHz are 384 GF/s. A loop that the compiler folded claims more.
    assert 1e8 < fma_peak(torch.float32, 1) < 3.84e11


def test_geometric_mean() -> None:
    assert geometric_mean([2.0, 0.5]) == pytest.approx(1.0)
