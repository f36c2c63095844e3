"""Workers make the same batches in the same order, and draw from nobody's generator."""

from __future__ import annotations

import pytest
import torch

from pyrnn.data import PaddedBatches, PreparedBatches, StreamBatches
from pyrnn.train import Batches


def _padded() -> PaddedBatches:
    return PaddedBatches({"x": [torch.arange(1 + n % 5) for n in range(23)]}, batch_size=4, seed=7)


def _equal(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "batches", [_padded(), StreamBatches(torch.arange(99), batch_size=4, window=5)], ids=["padded", "streams"]
)
def test_they_are_the_same_over_epochs_and_from_any_step_on(batches: Batches, workers: int) -> None:
    prepared = PreparedBatches(batches, workers=workers)
    assert (len(prepared), prepared.batch_size) == (len(batches), batches.batch_size)
    for step in (*range(2 * len(batches)), 3, 4, 5, 0):
        assert _equal(prepared[step], dict(batches[step])), step


def test_shards_are_those_of_the_batches() -> None:
    prepared = PreparedBatches(_padded(), workers=1)
    prepared[0]
    for rank in range(2):
        shard = prepared.shard(rank, 2)
        assert shard.batch_size == 2
        assert all(_equal(shard[step], _padded().shard(rank, 2)[step]) for step in range(3))


def test_no_generator_of_the_training_is_touched() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    prepared = PreparedBatches(_padded(), workers=2)
    for step in (0, 1, 5):
        prepared[step]
    assert torch.equal(torch.get_rng_state(), before)


def test_no_workers_are_refused() -> None:
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        PreparedBatches(_padded(), workers=0)
