from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pyrnn.embeddings.bias_words import BiasWords, find_bias_words, gender_words, read_bias_words
from pyrnn.embeddings.words import WordList

TSV = """# gender
sides\tfemale\tmale

pair\tshe\the
pair\twoman\tman
equalize\tqueen\tking
neutral\tnurse\tsmith
test\tart\tX\tpoem\tsong
test\tart\tY\tatom\tforce
test\tart\tA\tshe
test\tart\tB\the
"""
WORDS = WordList.of(
    ["she", "he", "woman", "man", "queen", "king", "nurse", "smith", "poem", "song", "atom", "force", "the"]
)


def test_lines_and_json_say_the_same(tmp_path: Path) -> None:
    lines, object_ = tmp_path / "a.tsv", tmp_path / "a.json"
    lines.write_text(TSV)
    test = {"name": "art", "X": ["poem", "song"], "Y": ["atom", "force"], "A": ["she"], "B": ["he"]}
    told = {
        "sides": ["female", "male"],
        "pairs": [["she", "he"], ["woman", "man"]],
        "equalize": [["queen", "king"]],
        "neutral": ["nurse", "smith"],
        "tests": [test],
    }
    object_.write_text(json.dumps(told))
    assert read_bias_words(lines) == read_bias_words(object_)
    rows = find_bias_words(read_bias_words(lines), WORDS)
    assert (rows.pairs, rows.equalize, rows.neutral.tolist()) == ([(0, 1), (2, 3)], [(4, 5)], [6, 7])
    assert rows.tests == {"art": ([8, 9], [10, 11], [0], [1])}


def test_what_is_in_no_list_is_neutral_where_no_list_says() -> None:
    lists = BiasWords(
        (("she", "he"), ("woman", "man")), equalize=(("queen", "king"),), specific=("nurse", "wench")
    )
    rows = find_bias_words(lists, WORDS)
    assert [WORDS[row] for row in rows.neutral.tolist()] == ["smith", "poem", "song", "atom", "force", "the"]


def test_missing_words_are_named_or_left_out_with_their_set() -> None:
    words = WordList.of([word for word in WORDS if word not in ("king", "atom", "smith")])
    lists = BiasWords(
        (("she", "he"), ("woman", "man")),
        equalize=(("queen", "king"), ("woman", "man")),
        neutral=("nurse", "smith"),
        tests=gender_words().tests,
    )
    with pytest.raises(
        ValueError, match=r"words of the lists without a vector: 'king', 'smith', .*--skip-missing"
    ):
        find_bias_words(lists, words)
    rows = find_bias_words(lists, words, skip_missing=True)
    assert rows.equalize == [(2, 3)]
    assert rows.neutral.tolist() == [words.find("nurse")]
    assert rows.tests == {}
    assert {"king", "smith"} <= set(rows.missing)


def test_targets_stay_as_many_where_words_are_missing(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(TSV.replace("poem", "poem\tverse").replace("atom", "atom\tmass"))
    words = WordList.of([*WORDS, "mass"])
    rows = find_bias_words(read_bias_words(tmp_path / "a.tsv"), words, skip_missing=True)
    X, Y, _, _ = rows.tests["art"]
    assert [words[row] for row in X] == ["poem", "song"]
    assert [words[row] for row in Y] == ["atom", "mass"]


def test_the_shipped_lists_agree_with_one_another() -> None:
    lists = gender_words()
    paired = [word for own in lists.equalize for word in own]
    assert len(set(paired)) == len(paired)
    assert not set(paired) & set(lists.specific)
    assert len(set(lists.specific)) == len(lists.specific)
    for test in lists.tests:
        assert len(test.X) == len(test.Y) == len({*test.X, *test.Y}) / 2
        assert len(test.A) == len(test.B) == len({*test.A, *test.B}) / 2
        assert not {*test.X, *test.Y} & {*paired, *lists.specific, *test.A, *test.B}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.tsv", "pair she he\n", "line 1: expected pair, equalize"),
        ("a.tsv", "pair\tshe\n", "pairs must be pairs, or larger sets, of different words, got ('she',)"),
        ("a.tsv", "neutral\ta\n", "there are no pairs"),
        ("a.tsv", "pair\ta\tb\ntest\tart\tX\tc\n", "a test has a name and the words X, Y, A and B"),
        ("a.tsv", "pair\ta\tb\nsides\tc\n", "sides has two names, got 1"),
        ("a.json", "[]", "expected an object"),
        ("a.json", "{", "is not valid JSON"),
        ("a.json", '{"pair": []}', "unknown list 'pair'"),
        ("a.json", '{"pairs": [["a", 1]]}', "pairs must be a list of words"),
        ("a.json", '{"pairs": [], "neutral": "a"}', "neutral must be a list of words"),
        ("a.json", '{"pairs": [], "tests": [{"name": "x"}]}', "a test has a name"),
    ],
)
def test_files_that_hold_something_else_are_refused_in_words(
    name: str, content: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=re.escape(message)):
        read_bias_words(tmp_path / name)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"pair\t\xff\n")
    with pytest.raises(ValueError, match="is not UTF-8"):
        read_bias_words(tmp_path / "a.tsv")


def test_lists_that_contradict_one_another_or_leave_no_bias_are_refused() -> None:
    pairs = (("she", "he"), ("woman", "man"))
    with pytest.raises(ValueError, match="'queen' in both lists"):
        find_bias_words(BiasWords(pairs, equalize=(("queen", "king"),), neutral=("queen",)), WORDS)
    with pytest.raises(ValueError, match=r"at least two defining pairs .* got 1"):
        find_bias_words(BiasWords(pairs[:1]), WORDS)
