"""GloVe's steps against float64 autograd, what it learns, and what it refuses."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pyrnn.embeddings import PAIR, Cooccurrences, Glove, GloveConfig, PairBatches, count_cooccurrences
from pyrnn.reference.glove import GloveParameters, glove_steps, glove_terms

V = 9


def _parameters(glove: Glove, *, sums: bool = False) -> GloveParameters:
    rows = glove.rows[:, :, int(sums)].double().clone()
    D = glove.dimension
    return GloveParameters(rows[0, :, :D], rows[1, :, :D], rows[0, :, -1], rows[1, :, -1])


def _batch(pairs: list[tuple[int, int, float]], order: int = 0) -> dict[str, torch.Tensor]:
    rows = np.array(pairs, PAIR).view(np.uint8).reshape(-1, PAIR.itemsize)
    return {"pairs": torch.from_numpy(rows.copy()), "order": torch.tensor(order)}


def _pairs(folder: Path, N: int = 400) -> Cooccurrences:
    ids = torch.randint(0, V, (N,), generator=torch.Generator().manual_seed(1))
    return count_cooccurrences([ids], folder / "pairs.bin", vocabulary_size=V, window=3)


@pytest.mark.parametrize("D", [1, 15, 16, 17, 100])
def test_a_step_is_adagrad_on_half_a_term(isa: str, D: int) -> None:
    """Pair by pair, so that the order is known: of equal ids, of a count above x_max, and of one below 1."""
    glove = Glove(V, D, seed=2)
    expected, sums = _parameters(glove), _parameters(glove, sums=True)
    settings: dict[str, Any] = {"x_max": 10.0, "alpha": 0.6, "learning_rate": 0.3}
    for pair in [(0, 1, 3.0), (4, 4, 2.5), (8, 0, 500.0), (1, 0, 0.1), (0, 1, 3.0)]:
        loss = glove.train(_batch([pair]), GloveConfig(**settings))
        assert loss == pytest.approx(glove_steps(expected, sums, [pair], **settings), rel=1e-5)
    eps = 8 * torch.finfo(torch.float32).eps
    for found, wanted in zip(_parameters(glove), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=eps, atol=eps)
    for found, wanted in zip(_parameters(glove, sums=True), sums, strict=True):
        torch.testing.assert_close(found, wanted, rtol=eps, atol=eps)
    between = glove.rows[..., D:-1]
    assert (between[:, :, 0] == 0).all()
    assert (between[:, :, 1] == 1).all()


def test_a_step_is_the_one_of_torchs_adagrad() -> None:
    glove = Glove(V, 6, seed=2)
    own = GloveParameters(*(p.requires_grad_() for p in _parameters(glove)))
    optimizer = torch.optim.Adagrad(own, lr=0.1, initial_accumulator_value=1.0, eps=0.0)
    pair = torch.tensor([2]), torch.tensor([5]), torch.tensor([7.0], dtype=torch.float64)
    (glove_terms(own, *pair, x_max=100.0, alpha=0.75).sum() / 2).backward()
    optimizer.step()
    glove.train(_batch([(2, 5, 7.0)]), GloveConfig(learning_rate=0.1))
    for found, wanted in zip(_parameters(glove), own, strict=True):
        torch.testing.assert_close(found, wanted.detach(), rtol=1e-6, atol=1e-6)


def test_the_loss_is_the_one_of_the_paper(isa: str, tmp_path: Path) -> None:
    pairs, glove, config = _pairs(tmp_path), Glove(V, 20), GloveConfig(x_max=50.0)
    for step in range(3):
        glove.train(PairBatches(pairs, seed=1)[step], config)
    rows = pairs.read(0, len(pairs))
    i, j = (torch.from_numpy(rows[name].astype(np.int64)) for name in ("row", "column"))
    terms = glove_terms(_parameters(glove), i, j, torch.tensor(rows["count"]), x_max=50.0, alpha=0.75)
    before = glove.rows.clone()
    assert glove.loss(pairs, config) == pytest.approx(terms.mean().item(), rel=1e-5)
    assert torch.equal(glove.rows, before)


def _shuffled(items: list[Any], seed: int) -> list[Any]:
    """Fisher and Yates with SplitMix64, of which the upper half of a word is used."""
    items, state = [*items], seed
    for n in range(len(items), 1, -1):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        word = state
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            word = (word ^ (word >> shift)) * factor % 2**64
        word ^= word >> 31
        place = (word >> 32) * n >> 32
        items[n - 1], items[place] = items[place], items[n - 1]
    return items


def test_all_pairs_of_a_block_are_stepped_in_a_shuffled_order(isa: str) -> None:
    pairs = [(i, j, 1.0 + i + j) for i in range(V) for j in range(V)]
    settings: dict[str, Any] = {"x_max": 10.0, "alpha": 0.75, "learning_rate": 0.2}
    glove = Glove(V, 8)
    expected, sums = _parameters(glove), _parameters(glove, sums=True)
    total = glove_steps(expected, sums, _shuffled(pairs, 7), **settings)
    assert glove.train(_batch(pairs, order=7), GloveConfig(**settings)) * len(pairs) == pytest.approx(total)
    for found, wanted in zip(_parameters(glove), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def _topics(folder: Path) -> Cooccurrences:
    """Sentences about one of two topics, of words 0-3 or 4-7, a tenth of the other; 8 is in all."""
    random = np.random.Generator(np.random.Philox(key=1))
    topics = random.integers(2, size=(400, 1)) ^ (random.random((400, 6)) < 0.1)
    sentences = np.pad(random.integers(0, 4, (400, 6)) + 4 * topics, ((0, 0), (0, 2)))
    sentences[:, -2:] = 8, V
    ids = torch.from_numpy(sentences.flatten())
    return count_cooccurrences([ids], folder / "pairs.bin", vocabulary_size=V)


@pytest.mark.parametrize("threads", [1, 2])
def test_words_of_one_topic_come_together(tmp_path: Path, threads: int) -> None:
    pairs, glove, config = _topics(tmp_path), Glove(V, 8), GloveConfig(learning_rate=0.2)
    batches, before = PairBatches(pairs, seed=0), glove.loss(pairs, config)
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for step in range(60):
            glove.train(batches[step], config)
    finally:
        torch.set_num_threads(kept)
    assert glove.loss(pairs, config) < 0.02 * before
    unit = torch.nn.functional.normalize(glove.vectors() - glove.vectors().mean(0))
    similarity = unit @ unit.T
    within = min(similarity[:4, :4].min(), similarity[4:8, 4:8].min())
    assert within > similarity[:4, 4:8].max() + 0.5


def _trained(folder: Path) -> str:
    """What two epochs leave, as a digest."""
    glove, batches = Glove(V, 20), PairBatches(_pairs(folder), seed=4, block=16)
    for step in range(2 * len(batches)):
        glove.train(batches[step], GloveConfig())
    return hashlib.sha256(glove.rows.numpy().tobytes()).hexdigest()


def test_one_thread_gives_the_same_bits_in_every_process(tmp_path: Path) -> None:
    call = "import sys, pathlib; from tests.embeddings import test_glove as own; "
    call += "print(own._trained(pathlib.Path(sys.argv[1])))"
    other = subprocess.run(
        [sys.executable, "-c", call, str(tmp_path)],
        env={**os.environ, "PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    kept = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        assert other.stdout.strip() == _trained(tmp_path)
    finally:
        torch.set_num_threads(kept)


def test_combinations() -> None:
    glove = Glove(V, 3)
    w, c = glove.word_vectors, glove.context_vectors
    assert torch.equal(glove.vectors(), w + c)
    assert torch.equal(glove.vectors("mean"), (w + c) / 2)
    assert torch.equal(glove.vectors("word"), w)
    with pytest.raises(ValueError, match="combination must be sum, mean or word, got 'product'"):
        glove.vectors("product")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"x_max": 0.0}, "x_max must be above 0 and finite, got 0.0"),
        ({"x_max": float("nan")}, "x_max must be above 0"),
        ({"x_max": float("inf")}, "x_max must be above 0 and finite"),
        ({"alpha": -1.0}, "alpha must not be negative, got -1.0"),
        ({"learning_rate": 0.0}, r"learning_rate must lie in \(0, 10\], got 0.0"),
        ({"learning_rate": float("nan")}, "learning_rate must lie"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        GloveConfig(**settings)


@pytest.mark.parametrize(
    "pair",
    [
        (V, 0, 1.0),
        (-1, 0, 1.0),
        (0, V, 1.0),
        (0, 0, 0.0),
        (0, 0, -1.0),
        (0, 0, float("nan")),
        (0, 0, float("inf")),
    ],
)
def test_a_damaged_pair_changes_nothing(pair: tuple[int, int, float]) -> None:
    glove = Glove(V, 4)
    before = glove.rows.clone()
    with pytest.raises(ValueError, match="ids lie outside the vocabulary, or whose count is not positive"):
        glove.train(_batch([(0, 0, 1.0), pair]), GloveConfig())
    assert torch.equal(glove.rows, before)


def test_pairs_of_another_layout_are_refused() -> None:
    batch = _batch([(0, 0, 1.0)])
    for wrong in (batch["pairs"][:, :8], batch["pairs"].int()):
        with pytest.raises(ValueError, match=r"pairs must be contiguous bytes \[P, 16\] of uint8"):
            Glove(V, 4).train({**batch, "pairs": wrong}, GloveConfig())


def test_vectors_that_are_no_numbers_any_more_are_refused() -> None:
    glove = Glove(V, 4)
    glove.rows[0, 3, 0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"beyond all numbers; lower learning_rate, which is 0.05"):
        glove.train(_batch([(3, 0, 1.0)]), GloveConfig())


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        Glove(*sizes)
