"""Vectors of words that were never seen."""

from __future__ import annotations

import pytest
import torch

from pyrnn.embeddings import CharacterNgrams, UnknownWord, WordVectors, train_word2vec
from pyrnn.embeddings.ngrams import hash_of, ngrams_of


def test_ngrams_are_characters_with_brackets() -> None:
    assert ngrams_of("où", 1, 2) == ["<o", "o", "où", "ù", "ù>"]
    assert ngrams_of("a", 4, 6) == []
    assert len(ngrams_of("where", 3, 6)) == 14


def test_the_hash_extends_the_sign_of_bytes() -> None:
    """FNV-1a of ASCII; a byte above 127 also turns the upper bits, of which 0xC3 alone shows it."""
    assert [hash_of(text) for text in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    assert hash_of(b"\xc3") == ((0x811C9DC5 ^ 0xFFFFFFC3) * 16777619) & 0xFFFFFFFF


def test_the_rows_are_those_that_the_kernels_train() -> None:
    words = ["été", "hiver", "日本語", "a", "well-known"]
    sentences = [words, words[::-1]] * 3
    sizes = {"vector_size": 4, "min_n": 2, "max_n": 4, "buckets": 97, "min_count": 1, "epochs": 1}
    trained = train_word2vec(sentences, **sizes)
    rows = trained.model.input.detach()
    ngrams = CharacterNgrams(rows[len(words) :], shortest=2, longest=4)
    for number, word in enumerate(trained.vocabulary.words):
        bag = torch.cat([rows[number : number + 1], ngrams.matrix[ngrams.rows(word)]])
        torch.testing.assert_close(trained.word_matrix()[number], bag.mean(0))


def test_unseen_words_are_asked_like_others() -> None:
    ngrams = CharacterNgrams(torch.randn(50, 3), shortest=3, longest=5)
    vectors = WordVectors(["king", "queen"], torch.randn(2, 3), ngrams=ngrams)
    made = vectors["kings"]
    assert torch.equal(made, ngrams.matrix[ngrams.rows("kings")].mean(0))
    assert "kings" not in vectors
    found = vectors.nearest("kings", 2)
    assert {result.word for result in found} == {"king", "queen"}
    assert found[0].score == pytest.approx(vectors.similarity("kings", found[0].word), abs=1e-6)
    with pytest.raises(UnknownWord):  # no n-gram of three characters or more
        vectors[""]


@pytest.mark.parametrize(
    ("matrix", "shortest", "longest"),
    [
        (torch.ones(0, 3), 1, 2),
        (torch.ones(3), 1, 2),
        (torch.ones(3, 3, dtype=torch.float64), 1, 2),
        (torch.ones(3, 3), 0, 2),
        (torch.ones(3, 3), 3, 2),
        (torch.ones(3, 3), 3, 2000),
    ],
)
def test_tables_that_are_none_are_refused(matrix: torch.Tensor, shortest: int, longest: int) -> None:
    with pytest.raises(ValueError, match="n-grams need"):
        CharacterNgrams(matrix, shortest=shortest, longest=longest)
