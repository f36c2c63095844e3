"""Parallel text in columns and in files side by side, its errors, and the parts held out of it."""

from __future__ import annotations

import csv
import gzip
import io
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.text import SentencePair, columns, read_pairs, split_pairs

SENTENCE = (
    st.text(st.characters(codec="utf-8", exclude_characters="\0\t\n\r\ufeff")).map(str.strip).filter(bool)
)
PAIRS = st.lists(st.builds(SentencePair, SENTENCE, SENTENCE), min_size=1, max_size=6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One for all examples of a property."""
    return tmp_path_factory.mktemp("pairs")


@given(
    pairs=PAIRS,
    ending=st.sampled_from(["\n", "\r\n"]),
    packed=st.booleans(),
    mark=st.booleans(),
    swap=st.booleans(),
)
def test_what_is_written_is_read(
    folder: Path, pairs: list[SentencePair], ending: str, packed: bool, mark: bool, swap: bool
) -> None:
    def written(name: str, text: str) -> Path:
        content = (b"\xef\xbb\xbf" if mark else b"") + text.encode()
        (folder / name).write_bytes(gzip.compress(content) if packed else content)
        return folder / name

    expected = [pair[::-1] for pair in pairs] if swap else pairs
    tsv = written("a.tsv", "".join(f"{a}\t{b}{ending}" for a, b in pairs))
    assert list(read_pairs(tsv, swap=swap)) == expected
    left = written("a.en", "".join(a + ending for a, _ in pairs))
    right = written("a.es", ending.join(b for _, b in pairs))
    assert list(read_pairs(left, right, swap=swap)) == expected
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator=ending)
    writer.writerows([["note", "to", "from"], *(["x", b, a] for a, b in pairs)])
    table = written("a.csv", rows.getvalue())
    assert list(read_pairs(table, format="csv", columns=("from", "to"), swap=swap)) == expected
    assert list(read_pairs(table, format="csv", columns=(3, "to"), swap=swap)) == expected
    assert list(read_pairs(table, format="csv", columns=(3, 2), swap=swap))[1:] == expected


def test_files_folders_and_blank_lines(tmp_path: Path) -> None:
    for name, text in {"en/1": "a\n\nb\n", "en/2": "c\n", "es/1": " A\n\nB \n", "es/2": "C"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "all.tsv").write_text("a\tA\n\n \t \nb\tB\nc\tC\n\n")
    expected = [("a", "A"), ("b", "B"), ("c", "C")]
    assert list(read_pairs(tmp_path / "en", tmp_path / "es")) == expected
    assert list(read_pairs(tmp_path / "all.tsv")) == expected
    assert list(read_pairs([tmp_path / "all.tsv", tmp_path / "all.tsv"])) == expected * 2


def test_a_pipe_is_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text("a\tA\n"))
    writer.start()
    assert list(read_pairs(tmp_path / "pipe")) == [("a", "A")]
    writer.join()


@pytest.mark.parametrize(
    ("content", "options", "words"),
    [
        ("a\tA\nb\n", {}, r"a.tsv, line 2: expected two columns, .*, got 1: 'b'; name the two with columns"),
        ("a\tA\tmore\n", {}, "line 1: expected two columns, .*, got 3: 'a', 'A', 'more'"),
        ("a\tA\n\n \tB\n", {}, "a.tsv, line 3: the source is empty, the other side is 'B'"),
        ("a\tA\nb\t\n", {"swap": True}, "line 2: the target is empty, the other side is 'b'"),
        ("\n\n", {}, "a.tsv: there are no pairs"),
        ("", {}, "a.tsv is empty"),
        (b"a\t\xe1\n", {}, "a.tsv is not UTF-8 at byte offset 2"),
        ("a\tA\nb\n", {"columns": (1, 2)}, "line 2: expected 2 columns or more, got 1: 'b'"),
        ("a\tA\n", {"columns": (0, 1)}, r"counted from 1, got \(0, 1\)"),
        ("a\tA\n", {"columns": ("en", "es")}, "line 1: expected the names of columns, among them 'en' once"),
        ("en\ten\n", {"columns": ("en", 2)}, "among them 'en' once, got 'en', 'en'"),
        ("", {"columns": ("en", "es")}, "is empty"),
        ("\n", {"columns": ("en", "es")}, "names of columns, among them 'en' once, got nothing"),
        ('a,"b\n', {"format": "csv"}, "a.tsv, line 1 is not CSV: unexpected end of data"),
        ('"a\n",b\nc\n', {"format": "csv"}, "line 3: expected two columns, .*, got 1: 'c'"),
        ('a,b\n"a\nc",b\n', {"format": "csv"}, "line 2: a sentence must not have several lines"),
        ("a\tA\n", {"format": "xml"}, "format must be one of tsv, csv, got 'xml'"),
    ],
)
def test_what_is_no_pair_is_named(
    content: str | bytes, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    (tmp_path / "a.tsv").write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=words):
        list(read_pairs(tmp_path / "a.tsv", **options))


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    left, right = tmp_path / "a.en", tmp_path / "a.es"
    left.write_text("a\nb\nc\n")
    right.write_text("A\nB\n")
    with pytest.raises(ValueError, match=r"a.en has 3 lines, .*a.es has 2: line n of one"):
        list(read_pairs(left, right))
    with pytest.raises(ValueError, match=r"a.es has 2 lines, .*a.en has 3"):
        list(read_pairs(right, left))
    right.write_text("A\n\nC\n")
    with pytest.raises(ValueError, match=r"a.en and .*a.es, line 2: the target is empty"):
        list(read_pairs(left, right))
    with pytest.raises(ValueError, match="1 files of sources need as many of targets, got 2"):
        list(read_pairs(left, [right, right]))
    with pytest.raises(ValueError, match="a sentence a line: leave format and columns out"):
        list(read_pairs(left, right, columns=(1, 2)))
    with pytest.raises(FileNotFoundError):
        list(read_pairs(left, tmp_path / "absent"))


def test_a_line_that_does_not_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "LONGEST_LINE", 1000)
    (tmp_path / "a.tsv").write_text("a\tA\n" + "b" * (3 << 20))
    with pytest.raises(ValueError, match=r"a.tsv, line 2 has more than 1,000 characters"):
        list(read_pairs(tmp_path / "a.tsv"))


@given(
    pairs=st.lists(st.builds(SentencePair, st.sampled_from("abcdefghijklmn"), st.integers(0, 30).map(str))),
    validation=st.integers(0, 5),
    test=st.integers(0, 5),
    seed=st.integers(0, 9),
)
def test_held_out_pairs_share_no_side_with_others(
    pairs: list[SentencePair], validation: int, test: int, seed: int
) -> None:
    alone = [p for p in pairs if sum(p.source == q.source or p.target == q.target for q in pairs) == 1]
    if validation + test > min(len(alone), len(pairs) - 1):
        with pytest.raises(ValueError, match=f"of {len(pairs)} pairs {len(alone)} share no side"):
            split_pairs(pairs, validation=validation, test=test, seed=seed)
        return
    split = split_pairs(pairs, validation=validation, test=test, seed=seed)
    assert sorted(pair for part in split for pair in part) == sorted(pairs)
    assert (len(split.validation), len(split.test)) == (validation, test)
    for part, others in ((1, (0, 2)), (2, (0, 1))):
        seen = [pair for other in others for pair in split[other]]
        assert not {pair.source for pair in split[part]} & {pair.source for pair in seen}
        assert not {pair.target for pair in split[part]} & {pair.target for pair in seen}
    backwards = split_pairs(pairs[::-1], validation=validation, test=test, seed=seed)
    assert [part[::-1] for part in backwards] == list(split)


def test_the_seed_chooses() -> None:
    pairs = [SentencePair(f"a{n}", f"b{n}") for n in range(99)]
    assert split_pairs(pairs, validation=9, test=9) == split_pairs(pairs, validation=9, test=9, seed=0)
    assert (
        split_pairs(pairs, validation=9, test=9).test != split_pairs(pairs, validation=9, test=9, seed=1).test
    )
    with pytest.raises(ValueError, match="of 99 pairs 99 share no side with another, too few to hold out 99"):
        split_pairs(pairs, validation=9, test=90)
    with pytest.raises(ValueError, match="at least 0, got -1 and 2"):
        split_pairs(pairs, validation=-1, test=2)
