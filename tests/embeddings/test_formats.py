"""Files of word2vec, GloVe and fastText: what is written comes back, what is wrong is refused in words."""

from __future__ import annotations

import gzip
import itertools
import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pyrnn.embeddings import Reading, WordVectors, convert_vectors, open_vectors, write_vectors
from pyrnn.embeddings.configs import FORMATS, Format

#: Any characters but what other programs take for the end of a word.
WORDS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters=" \t\n\r\v\f"), min_size=1, max_size=8
)
NUMBERS = st.floats(-(2.0**50), 2.0**50, width=32)


@st.composite
def word_vectors(draw: st.DrawFn) -> WordVectors:
    words = draw(st.lists(WORDS, min_size=1, max_size=6, unique=True))
    shape = (len(words), draw(st.integers(1, 5)))
    return WordVectors.from_arrays(words, draw(arrays.arrays(np.float32, shape, elements=NUMBERS)))


def same(read: WordVectors, vectors: WordVectors) -> bool:
    """Words and bits, the sign of a zero too."""
    bits = [each.matrix.view(torch.int32) for each in (read, vectors)]
    return list(read.words) == list(vectors.words) and torch.equal(*bits)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(vectors=word_vectors(), format=st.sampled_from(FORMATS), packed=st.booleans())
def test_every_format_gives_back_words_and_bits(
    vectors: WordVectors, format: Format, packed: bool, tmp_path: Path
) -> None:
    path = tmp_path / ("vectors.gz" if packed else "vectors")
    write_vectors(vectors, path, format)
    assert path.read_bytes().startswith(b"\x1f\x8b") == packed
    assert same(open_vectors(path, Reading(format)), vectors)
    convert_vectors(path, tmp_path / "folder", how=Reading(format), to="folder")
    assert same(open_vectors(tmp_path / "folder"), vectors)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_in_words_or_read(data: st.DataObject, tmp_path: Path) -> None:
    """Whatever happens to bytes, nothing but a ValueError that names the file comes out."""
    path = tmp_path / "vectors"
    write_vectors(data.draw(word_vectors()), path, data.draw(st.sampled_from(FORMATS)))
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    try:
        open_vectors(path)
    except ValueError as error:
        assert str(path) in str(error)  # noqa: PT017  it may be read as well


def text(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "vectors.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is empty"),
        ("\n", "line 1 is neither"),
        ("3 2\na 1 2\nb 3 4\n", "tells 3 words of 2 numbers, the file ends after 2"),
        ("1 2\na 1 2\nb 3 4\n", "tells 1 words of 2 numbers, the file goes on at line 3"),
        ("-1 2\na 1 2\n", "line 1 tells -1 words"),
        ("1 -2\na 1 2\n", "line 1 tells -2 dimensions"),
        ("0 2\n", "line 1 tells 0 words"),
        ("9999999999999999999999999 2\na 1 2\n", "line 1 tells 99,999"),
        ("2 9999999999\na 1 2\n", "line 1 tells 9,999,999,999 dimensions, expected 1 to 65,536"),
        ("2 3\na 1 2\nb 3 4\n", "line 2 should end with 3 numbers, as the header tells, and has 2"),
        ("2 1\na 1 2\nb 3 4\n", "line 2 should end with 1 number, as the header tells, and has 2"),
        ("a 1 2\nb 1 2 3\n", "line 2 should end with 2 numbers, as line 1 has, and has 3"),
        ("a 1 2\nb 1\n", "line 2 should end with 2 numbers, as line 1 has, and has 1"),
        ("a 1 2\nb 1 x\n", "line 2 should end with 2 numbers, as line 1 has, and has 0 .'x' is none"),
        ("a 1 2\nb 1_0 2\n", "line 2 should end with 2 numbers"),
        ("a 1 2\n 1 2\n", "line 2 begins with a space"),
        ("a 1 2\nb nan 2\n", "line 2: number 1 of 'b' is nan"),
        ("a 1 2\nb 1 -inf\n", "line 2: number 2 of 'b' is -inf"),
        ("a 1 2\nb 1 1e39\n", "line 2: number 2 of 'b' is inf"),
        ("a 1 2\nb 1 1e17\n", "line 2: number 2 of 'b' is .*, not finite or beyond 1e.16"),
        ("a 1 2\nb 1 2\na 1 2\n", "line 3: 'a' came before"),
        (b"a 1 2\nb\xff 1 2\n", "line 2: the word .* is not UTF-8"),
        ("to be or not to be\n", "line 1 is neither"),
        (b"\xba\x16\x4f\x2f\0\0", "model of the program fastText ends within its version"),
        (b"\x1f\x8b\x08\x00 cut", "damaged gzip"),
    ],
)
def test_text_that_cannot_be_used_is_refused_with_its_line(
    content: str | bytes, told: str, tmp_path: Path
) -> None:
    path = text(tmp_path, content)
    with pytest.raises(ValueError, match=told) as caught:
        open_vectors(path)
    assert str(path) in str(caught.value)
    with pytest.raises(ValueError, match=told):
        convert_vectors(path, tmp_path / "folder")
    assert not (tmp_path / "folder" / "vectors.safetensors").exists()


def binary(*rows: bytes, header: bytes = b"2 1\n") -> bytes:
    return header + b"".join(rows)


ONE = np.float32(1).tobytes()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (binary(b"a " + ONE), "tells 2 words of 1 numbers, the file ends after 1"),
        (binary(b"a " + ONE, b"b " + ONE[:3]), "ends after 1"),
        (binary(b"a " + ONE, b"b " + ONE, b"c " + ONE), "goes on behind them"),
        (binary(b"a " + ONE, b"a " + ONE), "word 2: 'a' came before"),
        (binary(b"a " + ONE, b" " + ONE), "word 2: a word has 1 to"),
        (binary(b"a " + ONE, b"\xe9 " + ONE), "word 2: the word .* is not UTF-8"),
        (binary(b"a " + ONE, b"b " + np.float32(np.nan).tobytes()), "word 2: number 1 of 'b' is nan"),
        (binary(b"a" * 70_000 + b"\0", header=b"2 1\n"), "word 1 does not end within 65,536 bytes"),
        (binary(b"a " + ONE, header=b"99999999 60000\n"), "ends after 0"),
        (b"no header " + ONE, "line 1 should be the numbers of words and of dimensions"),
    ],
)
def test_binary_that_cannot_be_used_is_refused_with_its_word(
    content: bytes, told: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=told):
        open_vectors(text(tmp_path, content), Reading("word2vec-binary"))


def test_a_header_that_promises_much_takes_no_memory(tmp_path: Path) -> None:
    path = text(tmp_path, b"2000000000 60000\na " + ONE * 10)
    tracemalloc.start()
    try:
        for format in ("word2vec", "word2vec-binary"):
            with pytest.raises(ValueError, match="header tells"):
                open_vectors(path, Reading(format))
        assert tracemalloc.get_traced_memory()[1] < 50_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("2 2 \na 1 2 \nb 3 4 \n", ["a", "b"]),  # as the programs word2vec and fastText end their lines
        ("\ufeff2 2\r\na 1 2\r\nb 3 4\r\n", ["a", "b"]),
        (". . . 1 2\nat a@b.c 3 4\n", [". . .", "at a@b.c"]),  # as GloVe has them
        ("a\N{NO-BREAK SPACE}b 1 2\n\nc 3 4\n\n", ["a\N{NO-BREAK SPACE}b", "c"]),
        ("2 1e0\n5 -3\n", ["2", "5"]),
    ],
)
def test_what_programs_write_is_read(content: str, words: list[str], tmp_path: Path) -> None:
    assert list(open_vectors(text(tmp_path, content)).words) == words


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_binary_rows_may_end_with_a_newline_or_not_and_are_recognised(newline: bytes, tmp_path: Path) -> None:
    rows = torch.randn(50, 300)
    lines = (b"w%d %b%b" % (i, row.numpy().tobytes(), newline) for i, row in enumerate(rows))
    read = open_vectors(text(tmp_path, b"50 300\n" + b"".join(lines)))
    assert torch.equal(read.matrix, rows)
    assert read.words[49] == "w49"


def test_what_is_wrong_can_be_passed_over(tmp_path: Path) -> None:
    path = text(tmp_path, b"a 1\n\xff 2\na 3\n\xfe 4\nb 5\n")
    read = open_vectors(path, Reading(invalid="replace", duplicates="skip"))
    assert list(read.words) == ["a", "\N{REPLACEMENT CHARACTER}", "b"]
    assert read.matrix.flatten().tolist() == [1, 2, 5]
    assert list(open_vectors(text(tmp_path, "9 1\na 1\nb 2\nc x\n"), Reading(limit=2)).words) == ["a", "b"]


def test_a_cut_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"w%d %f\n" % (i, i) for i in range(2000)))
    with pytest.raises(ValueError, match="damaged gzip"):
        open_vectors(text(tmp_path, packed[: len(packed) // 2]))


def test_a_word_with_white_space_is_not_written_where_others_would_cut_it(tmp_path: Path) -> None:
    vectors = WordVectors.from_arrays(["a", "b c"], np.eye(2))
    write_vectors(WordVectors.from_arrays(["old"], np.eye(1)), tmp_path / "a.vec", "word2vec")
    with pytest.raises(ValueError, match="'b c' has white space"):
        write_vectors(vectors, tmp_path / "a.vec", "word2vec")
    assert list(open_vectors(tmp_path / "a.vec").words) == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["a.vec"]


def test_every_file_becomes_every_other(tmp_path: Path) -> None:
    vectors = WordVectors.from_arrays([f"w{i}" for i in range(30)], torch.randn(30, 7))
    places = [tmp_path / name for name in ("a", "b.txt", "c.vec.gz", "d.bin", "e.bin.gz", "f")]
    vectors.save(places[0])
    for source, target in itertools.pairwise(places):
        convert_vectors(source, target)
        assert same(open_vectors(target), vectors)


def test_tabs_between_fields_are_named(tmp_path: Path) -> None:
    path = tmp_path / "tabs.txt"
    path.write_text("2 2\na\t1\t2\nb\t1\t3\n")
    with pytest.raises(ValueError, match="line 2 has tabs between its fields"):
        open_vectors(path)


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    vectors = WordVectors.from_arrays(["to", "be"], [[1, 0], [0, 1]])
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    with pytest.raises(ValueError, match="is a device or a pipe"):
        convert_vectors(vectors, pipe, to="glove")
    assert pipe.is_fifo()
    file.write_text("old")
    with pytest.raises(FileExistsError, match="is a file, and vectors are written to a folder"):
        convert_vectors(vectors, file)
    assert file.read_text() == "old"
