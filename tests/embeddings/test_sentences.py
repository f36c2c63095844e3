"""Vectors of sentences against the paper's algorithm, written with loops."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from pyrnn.embeddings import SentenceVectors, WordVectors

WORDS = ["the", "cat", "dog", "sat", "ran", "red", "blue", "and"]


@pytest.fixture
def vectors() -> WordVectors:
    draw = torch.Generator().manual_seed(3)
    return WordVectors(WORDS, torch.randn(len(WORDS), 6, generator=draw) + 1.0)


@pytest.fixture
def sentences() -> list[list[str]]:
    draw = np.random.default_rng(1)
    return [[str(w) for w in draw.choice([*WORDS, "unheard"], size=n)] for n in (1, 3, 4, 7, 5, 2, 9, 6)]


def by_the_paper(vectors: WordVectors, sentences: list[list[str]], a: float) -> np.ndarray:
    """Algorithm 1 of Arora et al."""
    counts = Counter(word for sentence in sentences for word in sentence)
    total = sum(counts.values())
    rows = []
    for sentence in sentences:
        known = [word for word in sentence if word in WORDS]
        row = np.zeros(vectors.dimension)
        for word in known:
            row += a / (a + counts[word] / total) * vectors[word].double().numpy()
        rows.append(row / max(len(known), 1))
    found = np.array(rows)
    _, _, directions = np.linalg.svd(found)
    common = directions[:1]
    return found - found @ common.T @ common


@pytest.mark.parametrize("a", [1e-4, 1e-3, 1.0])
def test_sif_is_the_algorithm_of_the_paper(
    a: float, vectors: WordVectors, sentences: list[list[str]]
) -> None:
    found = SentenceVectors(vectors, sentences, a=a)
    expected = by_the_paper(vectors, sentences, a)
    assert np.abs(found.matrix.numpy() - expected).max() < 1e-6 * max(np.abs(expected).max(), 1e-6)
    assert found.common is not None
    assert (found.matrix @ found.common).abs().max() < 1e-6
    torch.testing.assert_close(found.vectors_of(sentences), found.matrix)


def test_means_are_means_and_unknown_words_are_left_out(vectors: WordVectors) -> None:
    found = SentenceVectors(vectors, [["the", "unheard", "CAT"], ["unheard"]], a=None)
    torch.testing.assert_close(found.matrix[0], (vectors["the"] + vectors["cat"]) / 2)
    assert not found.matrix[1].any()
    assert found.common is None
    with_capitals = SentenceVectors(vectors, [["the", "CAT"]], a=None, lowercase=False)
    torch.testing.assert_close(with_capitals.matrix[0], vectors["the"])


def test_counts_of_a_larger_text_weigh_words(vectors: WordVectors, sentences: list[list[str]]) -> None:
    own = Counter(word for sentence in sentences for word in sentence)
    same = SentenceVectors(vectors, sentences, counts={word: 10 * n for word, n in own.items()})
    torch.testing.assert_close(same.matrix, SentenceVectors(vectors, sentences).matrix)
    rare = SentenceVectors(vectors, sentences, counts=dict.fromkeys(WORDS, 1))
    assert not torch.allclose(rare.matrix, same.matrix)


def test_the_nearest_have_the_highest_cosines(vectors: WordVectors, sentences: list[list[str]]) -> None:
    found = SentenceVectors(vectors, sentences)
    asked = [["red", "dog"], ["the", "cat", "ran"]]
    queries = found.vectors_of(asked).double()
    cosines = torch.nn.functional.cosine_similarity(queries[:, None], found.matrix.double()[None], dim=-1)
    for row, results in zip(cosines, found.nearest(asked, 3), strict=True):
        values, numbers = row.topk(3)
        assert [each.number for each in results] == numbers.tolist()
        assert [each.score for each in results] == pytest.approx(values.tolist(), abs=1e-6)
    assert len(found.nearest(asked, 100)[0]) == len(sentences)


def test_what_cannot_be_done_is_refused(vectors: WordVectors) -> None:
    with pytest.raises(ValueError, match="there are no sentences"):
        SentenceVectors(vectors, [])
    with pytest.raises(ValueError, match="a must be above zero and finite, got 0"):
        SentenceVectors(vectors, [["the"]], a=0)
    with pytest.raises(ValueError, match="no word of the sentences has a vector"):
        SentenceVectors(vectors, [["unheard"]])
    with pytest.raises(ValueError, match="k must be at least 1"):
        SentenceVectors(vectors, [["the"]], a=None).nearest([["cat"]], 0)


def test_capitals_change_no_weight() -> None:
    words = WordVectors.from_arrays(["of", "cat", "dog"], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    sentences = [["Of", "cat"], ["of", "dog"], ["of", "cat"]]
    lower = [[word.lower() for word in sentence] for sentence in sentences]
    found, expected = SentenceVectors(words, sentences), SentenceVectors(words, lower)
    assert torch.equal(found.matrix, expected.matrix)


def test_nothing_is_left_of_a_single_sentence() -> None:
    words = WordVectors.from_arrays(["the", "red"], [[1, 0.3], [0.2, 1]])
    assert not SentenceVectors(words, [["the", "red"]]).matrix.any()
