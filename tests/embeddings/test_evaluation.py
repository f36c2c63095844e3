"""Analogies and similarities: counted by hand, and held against gensim where it is installed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pyrnn.embeddings import (
    Judging,
    WordVectors,
    evaluate_analogies,
    evaluate_similarities,
)
from pyrnn.embeddings.evaluation import AnalogySection
from pyrnn.metrics import correlation_p, pearson, spearman

SQUARE = WordVectors.from_arrays(
    ["man", "king", "woman", "queen", "Queen", "car"],
    [[1, 0, 0], [1, 0, 1], [0, 1, 0], [0, 1, 1], [0, 1, 0.9], [-1, -1, 0]],
)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "questions"
    path.write_text(text)
    return path


def test_questions_are_counted_by_section(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        ": family\nman king woman queen\nMAN KING WOMAN QUEEN\nman king woman car\nman king boy prince\n"
        "three words only\n\n: empty\n: other\nking man queen woman",
    )
    found = evaluate_analogies(SQUARE, path)
    assert found.sections == [
        AnalogySection("family", 2, 3, 1),
        AnalogySection("empty", 0, 0, 0),
        AnalogySection("other", 1, 1, 0),
    ]
    assert (found.total, found.questions, found.invalid) == (AnalogySection("total", 3, 4, 1), 5, 1)
    assert (found.unknown_rate, found.sections[1].accuracy, found.total.accuracy) == (0.2, None, 0.75)


def test_options_change_what_is_known(tmp_path: Path) -> None:
    path = written(tmp_path, ": family\nman king woman queen\nman king boy prince\nMan king woman Queen\n")
    strict = evaluate_analogies(SQUARE, path, Judging(case_insensitive=False))
    # Of the same spelling alone: Queen is another word than queen, and nearer.
    assert strict.total == AnalogySection("total", 0, 1, 2)
    zeros = evaluate_analogies(SQUARE, path, Judging(dummy_for_unknown=True))
    assert zeros.total == AnalogySection("total", 2, 3, 1)
    few = evaluate_analogies(SQUARE, path, Judging(restrict_vocab=3))
    assert few.total == AnalogySection("total", 0, 0, 3)


def test_both_methods_answer(tmp_path: Path) -> None:
    path = written(tmp_path, ": family\nman king woman queen\n")
    assert evaluate_analogies(SQUARE, path, method="multiply").total.correct == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("man king woman queen\n", "line 1: a line"),
        (": family\none two\n", "has no questions"),
        ("", "is empty"),
    ],
)
def test_files_without_questions_are_refused(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=told):
        evaluate_analogies(SQUARE, written(tmp_path, text))


def test_similarities_are_correlated(tmp_path: Path) -> None:
    lines = ["# a comment", "man\tking\t7", "man\twoman\t1", "king\tqueen\t5.5", "man\tship\t9", "man king 3"]
    path = written(tmp_path, "\n".join(lines))
    found = evaluate_similarities(SQUARE, path)
    cosines = [math.sqrt(0.5), 0.0, 0.5]
    assert (found.pairs, found.unknown, found.unknown_rate, found.invalid) == (3, 1, 0.25, 1)
    assert found.pearson == pytest.approx(np.corrcoef([7, 1, 5.5], cosines)[0, 1], abs=1e-6)
    assert found.spearman == pytest.approx(1)
    zeros = evaluate_similarities(SQUARE, path, Judging(dummy_for_unknown=True))
    assert (zeros.pairs, zeros.unknown, zeros.unknown_rate) == (4, 1, 0.25)
    # Ranks by hand: 7 1 5.5 9 are 3 1 2 4, and 0.707 0 0.5 0 are 4 1.5 3 1.5.
    assert zeros.spearman == pytest.approx(np.corrcoef([3, 1, 2, 4], [4, 1.5, 3, 1.5])[0, 1])


@pytest.mark.parametrize("text", ["man\tship\t9\n", "man\tking\t1\nman\twoman\t1\n", "a b c\n"])
def test_too_few_similarities_are_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="pairs of words"):
        evaluate_similarities(SQUARE, written(tmp_path, text))


def test_spearman_of_ties_is_that_of_the_definition() -> None:
    """Ranks by counting: half of the equal ones, and all that are smaller."""
    generator = np.random.default_rng(0)
    for _ in range(20):
        x, y = generator.integers(0, 4, (2, 9)).astype(float)
        ranks = [[sum(v < u for v in z) + (sum(v == u for v in z) + 1) / 2 for u in z] for z in (x, y)]
        if len(set(x)) > 1 < len(set(y)):
            assert spearman(x.tolist(), y.tolist()) == pytest.approx(np.corrcoef(ranks[0], ranks[1])[0, 1])


@pytest.mark.parametrize(
    ("x", "y", "told"),
    [([1], [1], "at least two"), ([1, 2], [3, 3], "all the same"), ([1, 2], [1, 2, 3], "one length")],
)
def test_what_has_no_correlation_is_refused(x: list[float], y: list[float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        pearson(x, y)
    with pytest.raises(ValueError, match="finite"):
        spearman([1, math.nan], [1, 2])


@pytest.mark.parametrize("r", [0.0, 1e-6, 0.1, 0.5, 0.99])
def test_the_probability_of_a_correlation_has_closed_forms(r: float) -> None:
    for sign in (-1, 1):
        assert correlation_p(sign * r, 3) == pytest.approx(1 - 2 / math.pi * math.asin(r), rel=1e-13)
        assert correlation_p(sign * r, 4) == pytest.approx(1 - r, rel=1e-13)
        # The density is (1 - x^2) 3 / 4.
        assert correlation_p(sign * r, 6) == pytest.approx((1 - r) ** 2 * (2 + r) / 2, rel=1e-13)
    with pytest.raises(ValueError, match=r"lies in \[-1, 1\], got 1.5"):
        correlation_p(1.5, 9)


@pytest.mark.parametrize("count", [3, 12, 201, 203, 999, 100_000])
def test_the_probability_of_a_correlation_is_that_of_scipy(count: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="compared with scipy where it is installed")
    for r in (0.001, 0.03, 0.2, 0.7, 0.999999):
        expected = 2 * float(stats.t.sf(r * math.sqrt((count - 2) / ((1 - r) * (1 + r))), count - 2))
        assert correlation_p(r, count) == pytest.approx(expected, rel=1e-12)


# ---- against gensim ------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("case_insensitive", [True, False])
@pytest.mark.parametrize("dummy", [False, True])
@pytest.mark.parametrize("restrict", [300_000, 500])
def test_scores_are_those_of_gensim(
    case_insensitive: bool, dummy: bool, restrict: int, tmp_path: Path
) -> None:
    reason = "the scores of gensim are compared with where it is installed"
    models = pytest.importorskip("gensim.models", reason=reason)
    data = Path(models.__file__).parents[1] / "test" / "test_data"
    vectors = of_test_files(data)
    theirs = models.KeyedVectors(vectors.dimension, dtype=np.float64)
    theirs.add_vectors(list(vectors.words), vectors.matrix.double().numpy())
    options = {"restrict_vocab": restrict, "case_insensitive": case_insensitive, "dummy4unknown": dummy}
    judging = Judging(restrict, case_insensitive, dummy)

    lines = (data / "questions-words.txt").read_text().splitlines()
    few = [line for number, line in enumerate(lines) if line.startswith(":") or number % 8 == 0]
    path = written(tmp_path, "\n".join(few))
    score, sections = theirs.evaluate_word_analogies(str(path), **options)
    found = evaluate_analogies(vectors, path, judging)
    expected = [(s["section"], len(s["correct"]), len(s["correct"]) + len(s["incorrect"])) for s in sections]
    assert [section[:3] for section in found.sections] == expected[:-1]
    assert found.total[1:3] == expected[-1][1:]
    assert (found.total.accuracy or 0.0) == score

    for name in ("wordsim353.tsv", "simlex999.txt"):
        path = without_reversed(data / name, tmp_path)
        product, rank, unknown = theirs.evaluate_word_pairs(str(path), **options)
        scores = evaluate_similarities(vectors, path, judging)
        assert scores.pearson == pytest.approx(float(product[0]), abs=1e-12)
        assert scores.spearman == pytest.approx(float(rank[0]), abs=1e-12)
        assert scores.pearson_p == pytest.approx(float(product[1]), rel=1e-9)
        assert scores.spearman_p == pytest.approx(float(rank[1]), rel=1e-9)
        assert scores.unknown_rate * 100 == pytest.approx(unknown, abs=1e-12)


def without_reversed(path: Path, folder: Path) -> Path:
    """The file without pairs that came before the other way round.

    Their cosines are equal here; in gensim they may differ in the last bit, which is a rank.
    """
    lines = {frozenset(line.lower().split("\t")[:2]): line for line in path.read_text().splitlines()}
    return written(folder, "\n".join(lines.values()))


def of_test_files(data: Path) -> WordVectors:
    """Vectors in which some analogies hold: each word's is the sum of what its pairs and itself have."""
    generator = torch.Generator().manual_seed(0)
    lines = [line.split() for line in (data / "questions-words.txt").read_text().splitlines()]
    questions = [words for words in lines if len(words) == 4][::40]
    pairs = (data / "wordsim353.tsv").read_text().splitlines() + (
        data / "simlex999.txt"
    ).read_text().splitlines()
    words = [word for line in pairs[1::3] if "\t" in line for word in line.split("\t")[:2]]
    relations: dict[str, torch.Tensor] = {}
    for a, b, c, d in questions:
        for first, second in ((a, b), (c, d)):
            stem = relations.setdefault(first, torch.randn(20, generator=generator))
            relations.setdefault(second, stem + 1.5 + 0.6 * torch.randn(20, generator=generator))
    every = list(dict.fromkeys([*relations, *words, *[word.lower() for word in relations]]))
    rows = [relations.get(word, torch.randn(20, generator=generator)) for word in every]
    return WordVectors.from_arrays(every, torch.stack(rows))
