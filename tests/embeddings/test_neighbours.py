"""Nearest neighbours, analogies and similarities, held against float64 and plain loops over all words."""

from __future__ import annotations

import pytest
import torch

from pyrnn import _native
from pyrnn.embeddings import UnknownWord, WordList, WordVectors, neighbours
from pyrnn.embeddings.spelling import near_spellings


@pytest.fixture(params=[1, 3, 1000])
def rows_of_a_block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Blocks of one row, of a few, and one block for all."""
    monkeypatch.setattr(neighbours, "_BLOCK_BYTES", request.param * 5 * 4)
    return request.param


def some(count: int = 31) -> WordVectors:
    matrix = torch.randn(count, 5, generator=torch.Generator().manual_seed(count))
    matrix[count // 2] = 0
    matrix[count - 1] *= 1e-20  # whose squares float32 does not hold
    matrix[0] *= 1e10
    return WordVectors.from_arrays([f"w{i}" for i in range(count)], matrix)


def cosines(vectors: WordVectors) -> torch.Tensor:
    """[N, N] in float64."""
    rows = vectors.matrix.double()
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    return unit @ unit.T


@pytest.mark.parametrize("k", [1, 4, 30, 50])
def test_neighbours_are_those_of_all_words(k: int, rows_of_a_block: int) -> None:
    vectors, every = some(), cosines(some())
    found = vectors.nearest_of(list(vectors.words), k)
    for number, results in enumerate(found):
        others = torch.cat([every[number, :number], every[number, number + 1 :]])
        expected = others.sort(descending=True).values[:k]
        assert [result.score for result in results] == pytest.approx(expected.tolist(), abs=3e-7)
        assert vectors.words[number] not in [result.word for result in results]
        for result in results:
            assert result.score == pytest.approx(float(every[number, vectors.index(result.word)]), abs=3e-7)
    alone = vectors.nearest("w3", k)  # a product of other sizes, which may round otherwise
    assert [result.word for result in alone] == [result.word for result in found[3]]
    assert vectors.nearest(vectors.matrix[3], k)[0].word == "w3"


@pytest.mark.parametrize("method", ["add", "multiply"])
def test_analogies_are_those_of_the_formulas(method: neighbours.AnalogyMethod, rows_of_a_block: int) -> None:
    vectors, every = some(), cosines(some())
    rows = vectors.matrix.double()
    unit = rows / rows.norm(dim=1, keepdim=True).clamp_min(1e-300)
    for a, b, c in ((1, 2, 3), (4, 4, 9), (5, 6, 5)):
        if method == "add":
            target = unit[b] - unit[a] + unit[c]
            scores = unit @ target / target.norm()
        else:
            half = (every + 1) / 2
            scores = half[b] * half[c] / (half[a] + 0.001)
        scores[[a, b, c]] = -torch.inf
        best = scores.sort(descending=True)
        found = vectors.analogy(f"w{a}", f"w{b}", f"w{c}", 4, method=method)
        assert [result.word for result in found] == [f"w{i}" for i in best.indices[:4].tolist()]
        # 3CosMul divides by what may be near to 0.001.
        assert [result.score for result in found] == pytest.approx(best.values[:4].tolist(), rel=1e-3)


def test_results_do_not_depend_on_what_is_asked_with_them() -> None:
    vectors = some(600)
    questions = [f"w{i}" for i in range(600)]
    assert vectors.nearest_of(questions, 3)[590] == vectors.nearest_of(questions[580:], 3)[10]
    assert vectors.nearest_of([], 3) == []
    assert vectors.analogies([]) == []


def test_of_equal_rows_the_earlier_comes_first() -> None:
    matrix = torch.ones(9, 5)
    matrix[4] = -1
    vectors = WordVectors.from_arrays("abcdefghi", matrix)
    found = vectors.nearest(torch.ones(5), 9)
    assert "".join(result.word for result in found) == "abcdfghie"
    assert found[8] == ("e", pytest.approx(-1))


@pytest.mark.parametrize("multiplied", [False, True])
@pytest.mark.parametrize(
    ("N", "D", "Q", "k"),
    [(1, 1, 1, 1), (9, 4, 0, 3), (37, 3, 2, 50), (1300, 5, 3, 7), (1100, 65, 33, 1100), (700, 300, 66, 9)],
)
def test_rows_are_ranked_by_score_and_number_alone(
    N: int, D: int, Q: int, k: int, multiplied: bool, isa: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small whole numbers: scores are exact, and many are equal. Several blocks, whoever takes them."""
    generator = torch.Generator().manual_seed(N + Q)
    parts = 3 if multiplied else 1
    matrix = torch.randint(-2, 3, (N, D), generator=generator).float()
    queries = torch.randint(-1, 2, (parts * Q, D), generator=generator).float()
    inverse = torch.full((N,), 0.125)
    scores = queries @ matrix.T * inverse
    if multiplied:
        a, b, c = ((scores + 1) * 0.5).chunk(3)
        scores = b * c / (a + 0.001)
    best = scores.sort(dim=1, descending=True, stable=True)
    for threads in (1, 2, 3):
        monkeypatch.setattr(_native, "num_threads", lambda threads=threads: threads)
        found, numbers = neighbours.best_rows(queries, matrix, inverse, k, multiplied=multiplied)
        torch.testing.assert_close(found, best.values[:, :k], rtol=1e-6, atol=0)
        assert torch.equal(numbers, best.indices[:, :k])


def test_scores_that_are_no_numbers_are_no_results() -> None:
    queries = torch.tensor([[torch.nan, 0.0], [1.0, 0.0]])
    scores, numbers = neighbours.best_rows(queries, torch.eye(2), torch.tensor([torch.nan, 1.0]), 2)
    assert scores.tolist() == [[-torch.inf, -torch.inf], [0.0, -torch.inf]]
    assert numbers.tolist() == [[0, 0], [1, 0]]


def test_similarities_and_the_odd_one_are_computed_in_float64() -> None:
    vectors, every = some(), cosines(some())
    pairs = [(f"w{i}", f"w{j}") for i in range(8) for j in range(23, 31)]
    expected = [float(every[i, j]) for i in range(8) for j in range(23, 31)]
    assert vectors.similarities(pairs) == pytest.approx(expected, abs=1e-14)
    assert vectors.similarity("w1", "w1") == pytest.approx(1, abs=1e-15)
    assert vectors.similarity("w15", "w1") == 0
    rows = vectors[["w1", "w2", "w4", "w7"]].double()
    unit = rows / rows.norm(dim=1, keepdim=True)
    assert (
        vectors.odd_one_out(["w1", "w2", "w4", "w7"])
        == ["w1", "w2", "w4", "w7"][int((unit @ unit.sum(0)).argmin())]
    )


def test_wrong_questions_are_refused() -> None:
    vectors = some()
    with pytest.raises(ValueError, match="k must be at least 1"):
        vectors.nearest("w1", 0)
    with pytest.raises(ValueError, match=r"vectors \[Q, 5\]"):
        vectors.nearest(torch.ones(4))
    with pytest.raises(ValueError, match="add, multiply"):
        vectors.analogy("w1", "w2", "w3", method="mean")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least 3"):
        vectors.odd_one_out(["w1", "w2"])
    for ask in (
        lambda: vectors["w99"],
        lambda: vectors.nearest("w99"),
        lambda: vectors.analogy("w1", "w99", "w2"),
    ):
        with pytest.raises(UnknownWord, match="'w99' is not among the words; near in spelling: w") as caught:
            ask()
        assert isinstance(caught.value, KeyError)


def test_near_spellings_differ_in_case_or_a_letter_or_go_on() -> None:
    words = WordList.of(["the", "The", "then", "other", "hte", "été", "eté", "日本", "日", "theory"])
    assert near_spellings("THE", words) == ["the", "The", "then", "hte", "theory"]
    assert near_spellings("thee", words, most=3) == ["the", "then"]
    assert near_spellings("ete", words) == ["hte", "eté"]
    assert near_spellings("日本語", words) == ["日本"]
    assert near_spellings("zzz", words) == []
    assert near_spellings("x" * 100_000, words) == []
