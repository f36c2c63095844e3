"""Models of the program fastText: their words, vectors and n-grams, and files that nobody should trust."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyrnn.embeddings import Reading, convert_vectors, open_vectors, select_vectors
from pyrnn.embeddings.formats import open_rows
from pyrnn.embeddings.ngrams import hash_of, ngrams_of

WORDS = ["</s>", "the", "king", "\N{LATIN SMALL LETTER U WITH DIAERESIS}ber", "a"]
BUCKETS, D = 7, 3


def matrix(rows: int = len(WORDS) + BUCKETS) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((rows, D)).astype("<f4")


def model(words: Sequence[str | bytes] = WORDS, /, **changes: int) -> bytes:
    """A file, as the program writes it; `changes` are numbers of its head."""
    told: dict[str, int] = {"magic": 793712314, "version": 12, "dim": D, "kind": 2, "bucket": BUCKETS}
    labels = changes.get("labels", 0)
    told |= {"minn": 2, "maxn": 4, "count": len(words), "labels": labels, "pruned": -1, "quantised": 0}
    told |= {"entries": len(words) + labels, "rows": len(words) + BUCKETS, "columns": D} | changes
    head = struct.pack("<2i", told["magic"], told["version"])
    head += struct.pack("<12id", told["dim"], 5, 5, 1, 5, 1, 2, told["kind"], told["bucket"], told["minn"],
                        told["maxn"], 100, 1e-4)  # fmt: skip
    head += struct.pack("<3i2q", told["entries"], told["count"], told["labels"], 99, told["pruned"])
    for i, word in enumerate([*words, *(f"__label__{n}" for n in range(labels))]):
        spelled = word if isinstance(word, bytes) else word.encode()
        head += spelled + b"\0" + struct.pack("<qb", 9, int(i >= len(words)))
    head += struct.pack("<b2q", told["quantised"], told["rows"], told["columns"])
    return head + matrix(len(words) + BUCKETS).tobytes() + struct.pack("<b2q", 0, 1, D) + bytes(4 * D)


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.bin"
    path.write_bytes(content)
    return path


def mean_of(word: str, own: int | None) -> np.ndarray:
    """By the definition, in float64."""
    ngrams = [] if word == "</s>" else ngrams_of(word, 2, 4)
    rows = ([] if own is None else [own]) + [len(WORDS) + hash_of(n.encode()) % BUCKETS for n in ngrams]
    return matrix()[rows].astype(np.float64).mean(0)


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("changes", [{}, {"labels": 2}, {"version": 11}])
def test_words_are_the_means_of_their_ngrams(packed: bool, changes: dict[str, int], tmp_path: Path) -> None:
    content = model(**changes)
    path = written(tmp_path, gzip.compress(content) if packed else content)
    found = open_vectors(path)
    assert list(found.words) == WORDS
    for row, word in enumerate(WORDS):
        np.testing.assert_allclose(found[word], mean_of(word, row), atol=1e-6)
    np.testing.assert_allclose(found["kingdom"], mean_of("kingdom", None), atol=1e-6)
    selected = select_vectors(path, ["King", "unseen", "x" * 9])
    assert selected.numbers.tolist() == [0, 1, 2]
    np.testing.assert_allclose(selected.matrix[1], mean_of("unseen", None), atol=1e-6)
    convert_vectors(path, tmp_path / "folder")
    kept = open_vectors(tmp_path / "folder")
    assert torch.equal(kept.matrix, found.matrix)
    assert torch.equal(kept["kingdom"], found["kingdom"])
    convert_vectors(path, tmp_path / "words.vec")
    assert torch.equal(open_vectors(tmp_path / "words.vec").matrix, found.matrix)


@pytest.mark.parametrize("changes", [{"maxn": 0}, {"minn": 5}, {"version": 11, "kind": 3}])
def test_without_ngrams_a_word_is_its_row(changes: dict[str, int], tmp_path: Path) -> None:
    found = open_vectors(written(tmp_path, model(**changes)))
    assert found.ngrams is None
    assert found.matrix.numpy().tolist() == matrix()[: len(WORDS)].tolist()


def test_what_is_asked_of_a_reading_holds(tmp_path: Path) -> None:
    path = written(tmp_path, model(["the", "king", "the"]))
    assert list(open_vectors(path, Reading(limit=2)).words) == ["the", "king"]
    assert list(open_vectors(path, Reading("fasttext", duplicates="skip")).words) == ["the", "king"]
    with pytest.raises(ValueError, match="word 3: 'the' came before"):
        open_vectors(path)
    with pytest.raises(ValueError, match="is a model of fastText, no file of glove: leave format out"):
        open_vectors(path, Reading("glove"))
    (tmp_path / "text").write_text("a 1 2\n")
    with pytest.raises(ValueError, match="is no model of fastText"):
        open_vectors(tmp_path / "text", Reading("fasttext"))
    raw = written(tmp_path, model([b"the", b"k\xffng"]))
    assert list(open_vectors(raw, Reading(invalid="replace")).words) == ["the", "k\ufffdng"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"version": 10}, "has version 10, expected 11 or 12"),
        ({"quantised": 1}, "is quantised .*give the model that it was made of"),
        ({"pruned": 3}, "is pruned, as quantised ones are"),
        ({"dim": 0}, "tells 0 dimensions"),
        ({"dim": 1 << 30}, "tells 1,073,741,824 dimensions"),
        ({"bucket": -1}, "-1 buckets"),
        ({"bucket": (1 << 31) - 1}, "2,147,483,647 buckets"),
        ({"minn": -2}, "n-grams of -2 to 4"),
        ({"count": 0}, "tells 5 entries, 0 words"),
        ({"count": -1, "entries": -1}, "tells -1 entries"),
        ({"count": 4}, "tells 5 entries, 4 words and 0 labels"),
        ({"count": 1 << 30, "entries": 1 << 30}, "ends after"),
        ({"rows": 1 << 40}, "a matrix of 1,099,511,627,776 x 3, expected 12 x 3"),
        ({"columns": 4}, "a matrix of 12 x 4, expected 12 x 3"),
        ({"bucket": 1 << 30, "rows": (1 << 30) + 5}, "ends after [0-9,]+ of the 12,884,901,948 bytes"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], told: str, tmp_path: Path) -> None:
    path = written(tmp_path, model(**changes))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=told) as caught:
            open_vectors(path)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)


def test_words_and_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has a word, 1, of more than 65,536 bytes"):
        open_vectors(written(tmp_path, model([b"x" * 70_000])))
    with pytest.raises(ValueError, match="word 2: a word has 1 to 65,536 bytes, got 0"):
        open_vectors(written(tmp_path, model(["a", ""])))
    content = bytearray(model())
    begin = len(content) - 17 - 4 * D - matrix().nbytes
    for row, told in ((len(WORDS) + 3, "a vector of n-grams holds NaN"), (0, "number 1 of '</s>' is nan")):
        wrong = content.copy()
        wrong[begin + row * 4 * D : begin + row * 4 * D + 4] = struct.pack("<f", np.nan)
        with pytest.raises(ValueError, match=told):
            open_vectors(written(tmp_path, bytes(wrong)))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_model_is_refused_in_words_or_read(data: st.DataObject, tmp_path: Path) -> None:
    whole = bytearray(model(labels=1))
    behind = len(whole) - 17 - 4 * D
    if data.draw(st.booleans()):
        whole = whole[: data.draw(st.integers(4, behind - 1))]
        with pytest.raises(ValueError, match=str(tmp_path)):
            open_vectors(written(tmp_path, bytes(whole)))
        return
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(4, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ValueError):
        open_vectors(written(tmp_path, bytes(whole)))


def test_a_model_from_a_pipe_is_refused(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, model())
    os.close(writing)
    pipe = Path(f"/dev/fd/{reading}")
    with pytest.raises(ValueError, match="from a file, not from a pipe"), open_rows(pipe, Reading()):
        pass
    os.close(reading)


def test_files_of_the_program_are_read() -> None:
    """gensim ships a model, and the vectors that fastText itself wrote of it."""
    reason = "files of fastText are compared where gensim, which ships some, is installed"
    package = pytest.importorskip("gensim.test.utils", reason=reason)
    found = open_vectors(package.datapath("crime-and-punishment.bin"))
    expected = open_vectors(package.datapath("crime-and-punishment.vec"))
    assert list(found.words) == list(expected.words)
    torch.testing.assert_close(found.matrix, expected.matrix, rtol=1e-4, atol=1e-5)
    theirs = pytest.importorskip("gensim.models.fasttext", reason=reason).load_facebook_vectors(
        package.datapath("crime-and-punishment.bin")
    )
    for word in ("unseen", "q", "\N{LATIN SMALL LETTER U WITH DIAERESIS}berfluss"):
        np.testing.assert_allclose(found[word], theirs[word], atol=1e-6)
