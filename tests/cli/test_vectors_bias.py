"""Bias, debiasing and pictures of word vectors from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pyrnn.embeddings import CharacterNgrams, WordVectors, gender_words
from tests.cli.conftest import Command

PAIRS = dict.fromkeys(word for own in (*gender_words().pairs, *gender_words().equalize) for word in own)
NEUTRAL = [f"word{n}" for n in range(60)]


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    """A folder of words: those of the pairs lie to their sides, and so do half of the others each."""
    words = [*PAIRS, *NEUTRAL]
    matrix = 0.3 * torch.randn(len(words), 10, generator=torch.Generator().manual_seed(0))
    for pair in (*gender_words().pairs, *gender_words().equalize):
        for word, sign in zip(pair, (1, -1), strict=True):
            matrix[words.index(word), 0] = sign
    matrix[len(PAIRS) :, 0] = torch.linspace(-1, 1, len(NEUTRAL))
    ngrams = CharacterNgrams(torch.randn(50, 10, generator=torch.Generator().manual_seed(1)), 3, 4)
    WordVectors(words, matrix, ngrams=ngrams).save(tmp_path / "in")
    return tmp_path / "in"


def test_debiasing_is_measured_drawn_and_written(vectors: Path, command: Command, tmp_path: Path) -> None:
    out, picture = tmp_path / "out", tmp_path / "bias.png"
    code, told, err = command(f"vectors debias {vectors} {out} --to {picture} --most-biased 20")
    assert code == 0, err
    assert "bias of 10 pairs, female and male: 1 direction with" in err
    assert err.endswith(f"written: {out} and {picture}\n")
    lines = [line.split("\t") for line in told.splitlines()]
    rows = {name: (float(first), float(last)) for name, first, last in lines}
    before, after = rows["direct bias of 60 neutral words"]
    assert after == 0 < 0.3 < before
    assert "neighbours of the same side (20 words each, by chance 0.49)" in rows
    assert picture.read_bytes().startswith(b"\x89PNG")
    given, made = WordVectors.load(vectors), WordVectors.load(out)
    assert list(made.words) == list(given.words)
    for word in NEUTRAL:
        assert made.similarity(word, "she") == pytest.approx(made.similarity(word, "he"), abs=1e-6)
    # A word without a row is as neutral as one that has one.
    assert made.similarity("unseen", "she") == pytest.approx(made.similarity("unseen", "he"), abs=1e-6)
    assert given.similarity("unseen", "she") != pytest.approx(given.similarity("unseen", "he"), abs=1e-3)


def test_bias_is_told_as_words_and_as_json(vectors: Path, command: Command) -> None:
    code, told, err = command(f"vectors bias {vectors} --most-biased 15")
    assert code == 0, err
    assert "words of the lists without a vector, left out: home, family" in err
    most = dict(line.split("\t") for line in told.splitlines())
    assert {"word59", "word58"} & set(most["most female"].split(", "))
    assert {"word0", "word1"} & set(most["most male"].split(", "))
    code, told, err = command(f"vectors bias {vectors} --most-biased 15 --directions 2 --json")
    assert code == 0, err
    facts = json.loads(told)
    assert facts["pairs"] == 10
    assert len(facts["explained"]) == 2
    assert facts["neutral_words"] == 60
    assert facts["neighbourhoods"]["same_side"] > 0.6
    assert len(facts["most_biased"]["female"]) == 15


def test_lists_of_the_users_own_and_a_file_of_another_program(
    vectors: Path, command: Command, tmp_path: Path
) -> None:
    lists, out = tmp_path / "lists.tsv", tmp_path / "out.txt"
    test = "".join(
        f"test\tplanted\t{name}\t{words}\n"
        for name, words in (("X", "word59\tword58"), ("Y", "word0\tword1"), ("A", "she"), ("B", "he"))
    )
    lists.write_text(f"pair\tshe\the\npair\twoman\tman\nequalize\tshe\the\nneutral\tword0\tword59\n{test}")
    code, told, err = command(f"vectors debias {vectors} {out} --lists {lists} --json")
    assert code == 0, err
    states = json.loads(told)
    assert states["before"]["tests"]["planted"]["effect_size"] > 1.5
    assert states["before"]["tests"]["planted"]["p_value"] == pytest.approx(1 / 6)
    assert states["before"]["neighbourhoods"] is None
    assert states["after"]["direct_bias"] < 1e-6 < states["before"]["direct_bias"]
    assert out.read_text().startswith(f"{len(PAIRS) + 60} 10\nshe ")
    assert "against the direction" not in err
    lists.write_text("pair\tshe\the\npair\twoman\tman\nequalize\tking\tqueen\nequalize\tgirl\tboy\n")
    assert (
        "1 set to equalize against the direction, and kept so: king, queen"
        in command(f"vectors debias {vectors} {out} --lists {lists}")[2]
    )
    lists.write_text("pair\tshe\the\npair\tqueen\tkeng\npair\twoman\tman\n")
    assert command(f"vectors bias {vectors} --lists {lists} --skip-missing")[0] == 0


@pytest.mark.parametrize(
    ("lists", "line", "message"),
    [
        ("pair\tshe\the\n", "", "at least two defining pairs"),
        ("pair\tshe\the\npair\tqueen\tkeng\n", "", "1 word of the lists without a vector: 'keng'"),
        ("pair\tshe\the\npair\twoman\tman\n", "--directions 3", "span 2 directions, got 3"),
        ("pair\tshe\the\npair\twoman\tman\nequalize\tshe\the\nneutral\tshe\n", "", "'she' in both lists"),
        ("pair she he\n", "", "line 1: expected pair"),
    ],
)
def test_wrong_lists_are_an_error_in_words_and_nothing_is_written(
    lists: str, line: str, message: str, vectors: Path, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "lists.tsv").write_text(lists)
    code, out, err = command(f"vectors debias {vectors} {tmp_path}/out --lists {tmp_path}/lists.tsv {line}")
    assert (code, out) == (2, "")
    assert message in err
    assert not (tmp_path / "out").exists()


def test_words_are_drawn_by_name_by_neighbours_and_as_a_page(
    vectors: Path, command: Command, tmp_path: Path
) -> None:
    picture, page = tmp_path / "words.png", tmp_path / "words.html"
    code, out, err = command(f"vectors plot {vectors} --top 30 --to {picture}")
    assert (code, out) == (0, f"{picture}\n"), err
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, _, err = command(f"vectors plot {vectors} --near queen --near boy --top 5 --to {page}")
    assert code == 0, err
    assert '"names": ["near queen", "near boy"]' in page.read_text()
    code, _, err = command(
        f"vectors plot {vectors} --analogies 'he:she king:queen' --words boy,girl --to {page}"
    )
    assert code == 0, err
    assert '"words": ["he", "she", "king", "queen", "boy", "girl"]' in page.read_text()
    assert '"arrows": [[0, 1], [2, 3]]' in page.read_text()
    (tmp_path / "some.txt").write_text("she\nhe\nshe\nunseen\n")
    code, _, err = command(f"vectors plot {vectors} --words-file {tmp_path}/some.txt --to {page}")
    assert code == 0, err
    assert '"words": ["she", "he", "unseen"]' in page.read_text()


def test_tsne_is_the_same_for_a_seed(vectors: Path, command: Command, tmp_path: Path) -> None:
    pytest.importorskip("sklearn", reason="t-SNE needs scikit-learn")
    for name in ("a", "b"):
        code, _, err = command(f"vectors plot {vectors} --method tsne --top 20 --to {tmp_path}/{name}.html")
        assert code == 0, err
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--analogies he-she", "expected pairs such as 'man:king woman:queen', got 'he-she'"),
        ("--analogies he:he", "got 'he:he'"),
        ("--words she", "at least two words, got 1 word"),
        ("--near quen", "queen"),
        ("--to words.gif", "must end in .png"),
        ("--method tsne --perplexity 0", "perplexity of at least 1"),
        ("--words-file nowhere.txt", "nowhere.txt"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_in_words(
    line: str, message: str, vectors: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    stored = WordVectors.load(vectors)
    WordVectors(stored.words, stored.matrix).save(tmp_path / "plain")
    code, out, err = command(f"vectors plot plain {line}")
    assert (code, out) == (2, "")
    assert message in err
