"""Texts as sentences of ids."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from pyrnn.embeddings import CountedVocabulary, make_corpus, read_sentences
from pyrnn.embeddings.corpus import Words


def ids_of(corpus_ids: object) -> list[int]:
    return torch.cat(list(corpus_ids.blocks())).tolist()  # type: ignore[attr-defined]


def test_a_line_is_a_sentence_and_rare_words_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("b a, b\n\nonce\na b a\n")
    corpus = make_corpus(tmp_path / "text.txt", tmp_path / "ids.bin", min_count=2)
    assert corpus.vocabulary.words == ("a", "b")
    assert corpus.vocabulary.counts.tolist() == [3, 3]
    assert ids_of(corpus.ids) == [1, 0, 1, 2, 0, 1, 0, 2]
    assert (corpus.words, corpus.left_out) == (6, 2)


@pytest.mark.parametrize(
    ("words", "expected"), [("words", ["a", ".", "b", "'", "s"]), ("spaces", ["a.b", "'s"])]
)
def test_two_ways_to_cut(words: Words, expected: list[str], tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("A.b 's\n")
    assert list(read_sentences(tmp_path / "text.txt", words=words, lowercase=True)) == [expected]


def test_every_source_gives_the_same(tmp_path: Path) -> None:
    lines = ["to be or", "not to be", "that is"] * 50
    text = "\n".join(lines)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.txt").write_text("\n".join(lines[:70]))
    (folder / "b.txt.gz").write_bytes(gzip.compress("\n".join(lines[70:]).encode()))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(text,))
    writer.start()
    sources = [folder, [folder / "a.txt", str(folder / "b.txt.gz")], [line.split() for line in lines], pipe]
    found = [make_corpus(source, tmp_path / "ids.bin", words="spaces", min_count=1) for source in sources]
    writer.join()
    assert len({corpus.vocabulary.words for corpus in found}) == 1
    assert len({tuple(ids_of(corpus.ids)) for corpus in found}) == 1


def test_a_long_text_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks end anywhere, also between sentences of which nothing is left."""
    lines = [["a", "b"], ["rare"], ["b", "c"], []] * 2 + [["a", "b"], [], ["b", "c"]] * 40
    expected = ids_of(make_corpus(lines, tmp_path / "ids.bin", min_count=3).ids)
    monkeypatch.setattr("pyrnn.embeddings.corpus._IDS_AT_ONCE", 2)
    assert ids_of(make_corpus(lines, tmp_path / "ids.bin", min_count=3).ids) == expected
    assert expected == [1, 0, 3, 0, 2, 3] * 42


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ([], {}, "no text is named"),
        ([[]], {}, "the corpus has no words"),
        (
            [["a", "b", "a"]],
            {"min_count": 5},
            "none of the 2 distinct words occurs 5 times, the most frequent 2",
        ),
        ([["a"]], {"min_count": 0}, "min_count must be at least 1, got 0"),
        ([["a"]], {"min_count": 1, "max_vocabulary": 0}, "max_size must be at least 1"),
        ([["a"], "b.txt"], {}, "not both"),
        ([["a", 1]] * 9, {}, "words must be strings, got 1"),
        ([["a", "\ud800"]] * 9, {}, "words must be text that UTF-8 can hold, got '\\\\ud800'"),
        ([["z"]], {"vocabulary": CountedVocabulary("a", [1])}, "none of the words of the corpus"),
        ("text.txt", {"words": "letters"}, "one of words, spaces"),
    ],
)
def test_what_cannot_be_used_is_refused(
    source: object, options: dict[str, object], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        make_corpus(source, tmp_path / "ids.bin", **options)  # type: ignore[arg-type]


def test_ids_do_not_depend_on_hashes(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("b c a\nc a b d\n" * 3)
    code = (
        "import sys; from pyrnn.embeddings import train_word2vec as t;"
        "r = t(sys.argv[1], vector_size=4, min_count=1);"
        "print(r.vocabulary.words, r.word_matrix().tolist())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "text.txt")],
            env={**os.environ, "PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert "('a', 'b', 'c', 'd')" in found.pop()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"words": ["a"], "counts": [1, 2]}', "a count of each of 1 words"),
        ('{"words": ["a", "a"], "counts": [2, 1]}', "distinct"),
        ('{"words": ["a", "b"], "counts": [1, 2]}', "none larger"),
        ('{"words": ["a"], "counts": [0]}', "at least 1"),
        ('{"words": [], "counts": []}', "at least one word"),
        ('{"words": ["a"], "counts": [1.5]}', "must be int"),
    ],
)
def test_a_damaged_vocabulary_is_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(content)
    with pytest.raises(ValueError, match=message) as refused:
        CountedVocabulary.load(tmp_path / "vocab.json")
    assert "vocab.json" in str(refused.value)


def test_a_vocabulary_comes_back(tmp_path: Path) -> None:
    vocabulary = CountedVocabulary.of({"été": 3, "a": 3, "b": 9})
    vocabulary.save(tmp_path / "vocab.json")
    again = CountedVocabulary.load(tmp_path / "vocab.json")
    assert again.words == ("b", "a", "été")
    assert again.counts.tolist() == [9, 3, 3]
    assert ("b" in again, again.find("été"), again.find("c"), again.total) == (True, 2, None, 15)
