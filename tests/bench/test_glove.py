"""GloVe's benchmark: torch's side is the same training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pyrnn.bench.glove import CONFIG, TorchGlove
from pyrnn.embeddings import Glove, PairBatches, count_cooccurrences


def test_batches_of_one_pair_are_the_same_steps(tmp_path: Path) -> None:
    pairs = count_cooccurrences(
        [torch.tensor([0, 1])], tmp_path / "pairs.bin", vocabulary_size=2, sides="left"
    )
    glove, batches = Glove(2, 8), PairBatches(pairs, seed=0)
    other = TorchGlove(glove, pairs, batch_size=1)
    for step in range(3):
        glove.train(batches[step], CONFIG)
        other.epoch()
    torch.testing.assert_close(
        other.copy_to(Glove(2, 8)).rows[:, :, 0], glove.rows[:, :, 0], rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("batch_size", [16, 1 << 20])
def test_both_sides_learn(tmp_path: Path, batch_size: int) -> None:
    ids = torch.randint(0, 20, (500,), generator=torch.Generator().manual_seed(0))
    pairs = count_cooccurrences([ids], tmp_path / "pairs.bin", vocabulary_size=20)
    glove = Glove(20, 8)
    before, other = glove.loss(pairs, CONFIG), TorchGlove(glove, pairs, batch_size)
    for _ in range(20):
        other.epoch()
    assert other.copy_to(glove).loss(pairs, CONFIG) < 0.7 * before
