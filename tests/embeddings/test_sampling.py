"""What is drawn comes as often as the formulas say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.embeddings import CountedVocabulary, Word2VecKernel
from pyrnn.embeddings.sampling import alias_table, keep_thresholds
from pyrnn.embeddings.word2vec_kernel import Block
from pyrnn.models import Word2VecConfig

COUNTS = np.array([5000, 2000, 300, 40, 5, 1])


@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50), st.sampled_from([-1.0, 0.0, 0.75, 1.0]))
def test_an_alias_table_holds_the_distribution(counts: list[int], exponent: float) -> None:
    table = alias_table(np.array(counts), exponent)
    found = np.zeros(len(counts))
    share = table["threshold"] / 2**32
    np.add.at(found, np.arange(len(counts)), share)
    np.add.at(found, table["other"], 1 - share)
    wanted = np.array(counts, np.float64) ** exponent
    np.testing.assert_allclose(found / len(counts), wanted / wanted.sum(), atol=1e-8)


def test_an_exponent_that_makes_no_probabilities_is_refused() -> None:
    with pytest.raises(ValueError, match="noise_exponent 400"):
        alias_table(COUNTS, 400)


def test_frequent_words_are_thinned_out() -> None:
    kept = keep_thresholds(COUNTS, 1e-2)
    assert kept is not None
    frequency = COUNTS / COUNTS.sum()
    expected = np.minimum(np.sqrt(1e-2 / frequency) + 1e-2 / frequency, 1)
    np.testing.assert_allclose(kept / 2**32, expected, rtol=1e-6)
    assert keep_thresholds(COUNTS, 0.0) is None


def test_the_kernel_keeps_as_many_as_it_should() -> None:
    config = Word2VecConfig(6, vector_size=16, sample=1e-2)
    kernel = Word2VecKernel(config, CountedVocabulary("abcdef", COUNTS.tolist()), seed=3)
    ids = torch.from_numpy(
        np.random.default_rng(0).permutation(np.repeat(np.arange(6, dtype=np.int32), COUNTS))
    )
    sums = kernel.run(Block(ids), torch.zeros(6, 16), torch.zeros(6, 16), updates=False)
    assert kernel.keep is not None
    share = kernel.keep / 2**32
    expected, deviation = (COUNTS * share).sum(), np.sqrt((COUNTS * share * (1 - share)).sum())
    assert abs(sums.words - expected) < 4 * deviation


def test_the_kernel_draws_noise_as_often_as_it_should() -> None:
    """All vectors alike, a prediction with n noise words that are not the word loses (n + 1) ln 2."""
    config = Word2VecConfig(6, vector_size=16, sample=0.0, negative=8, window=1)
    kernel = Word2VecKernel(config, CountedVocabulary("abcdef", COUNTS.tolist()), seed=3)
    weights = COUNTS**0.75 / (COUNTS**0.75).sum()
    for word in (0, 2, 5):  # pairs of the word with itself
        ids = torch.tensor([word, word, 6] * 3000, dtype=torch.int32)
        sums = kernel.run(Block(ids), torch.zeros(6, 16), torch.zeros(6, 16), updates=False)
        assert sums.predictions == 6000
        noise = sums.loss / np.log(2) - 6000
        deviation = np.sqrt(48000 * weights[word] * (1 - weights[word]))
        assert abs(noise - 48000 * (1 - weights[word])) < 4 * deviation + 0.1


def test_windows_of_every_size_are_equally_likely() -> None:
    config = Word2VecConfig(6, vector_size=16, sample=0.0, negative=1, window=4)
    kernel = Word2VecKernel(config, CountedVocabulary("abcdef", COUNTS.tolist()), seed=3)
    ids = torch.zeros(8000, dtype=torch.int32)
    sums = kernel.run(Block(ids), torch.zeros(6, 16), torch.zeros(6, 16), updates=False)
    deviation = 2 * np.sqrt(8000 * 1.25)  # a window of w has 2w words, w uniform in 1..4
    assert abs(sums.predictions - 8000 * 5) < 4 * deviation
