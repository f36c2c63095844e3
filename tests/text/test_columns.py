"""Annotated sentences in columns, and sentences of a token a line."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.text import read_columns, read_sentences
from pyrnn.text.columns import split_lines

WORD = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5)
SENTENCES = st.lists(st.lists(st.tuples(WORD, WORD), min_size=1, max_size=4), min_size=1, max_size=5)


@given(sentences=SENTENCES, ending=st.sampled_from(["\n", "\r\n"]), gap=st.integers(1, 3))
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    sentences: list[list[tuple[str, str]]],
    ending: str,
    gap: int,
) -> None:
    lines = ["".join(f"{a}\t{b}{ending}" for a, b in sentence) for sentence in sentences]
    path = tmp_path_factory.getbasetemp() / "columns.tsv"
    path.write_bytes((ending * gap).join(lines).encode())
    assert [list(zip(*sentence, strict=True)) for sentence in read_columns(path)] == sentences


def test_a_gzip_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"a\tB\n"))
    assert list(read_columns(tmp_path / "a.gz")) == [(["a"], ["B"])]


def test_sentences_end_with_their_file(tmp_path: Path) -> None:
    (tmp_path / "1.tsv").write_text("a\tB")
    (tmp_path / "2.tsv").write_text("c\tD\n")
    two = [(["a"], ["B"]), (["c"], ["D"])]
    assert list(read_columns(tmp_path)) == two
    assert list(read_columns([tmp_path / "1.tsv", tmp_path / "2.tsv"])) == two


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a\tB\nc\n", r"line 2: expected a token, a tab and its tag, got 'c'"),
        ("a\tB\tC\n", "line 1: expected"),
        ("\tB\n", "line 1: expected"),
        ("a\t\n", "line 1: expected"),
        ("\n\n", "has no sentences"),
        ("", "empty"),
    ],
)
def test_lines_that_are_no_columns_are_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text(text)
    with pytest.raises(ValueError, match=words):
        list(read_columns(tmp_path / "a.tsv"))


@given(text=st.text(st.sampled_from("ab\n")), cuts=st.lists(st.integers(0, 20)))
def test_lines_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    ends = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(ends)]
    assert list(split_lines(pieces)) == text.splitlines()


def test_sentences_of_a_token_a_line() -> None:
    assert list(read_sentences(["a\n", "b\r\n", "\n", "\n", "c"])) == [["a", "b"], ["c"]]
    assert list(read_sentences([])) == []
