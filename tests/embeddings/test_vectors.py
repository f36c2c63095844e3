"""Words and their vectors in memory and in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from pyrnn.embeddings import WordList, WordVectors
from pyrnn.embeddings.configs import VECTORS
from pyrnn.embeddings.ngrams import CharacterNgrams


def some(count: int = 20, dimension: int = 5, seed: int = 0) -> WordVectors:
    generator = torch.Generator().manual_seed(seed)
    words = [f"w{number}é" for number in range(count)]
    return WordVectors.from_arrays(words, torch.randn(count, dimension, generator=generator))


def loaded_or_refused(folder: Path) -> WordVectors | ValueError:
    try:
        return WordVectors.load(folder)
    except ValueError as error:
        return error


def test_a_folder_has_the_same_words_and_bits(tmp_path: Path) -> None:
    ngrams = CharacterNgrams(torch.randn(11, 5), shortest=2, longest=3)
    vectors = WordVectors(some().words, some().matrix, ngrams=ngrams)
    vectors.save(tmp_path / "a" / "b")
    read = WordVectors.load(tmp_path / "a" / "b")
    assert list(read.words) == list(vectors.words)
    assert torch.equal(read.matrix, vectors.matrix)
    assert read.ngrams is not None
    assert (read.ngrams.shortest, read.ngrams.longest) == (2, 3)
    assert torch.equal(read.vector("unseen"), vectors.vector("unseen"))
    assert [read.index(word) for word in read.words] == list(range(20))


def test_the_file_is_safetensors_that_others_read(tmp_path: Path) -> None:
    some().save(tmp_path)
    tensors = load_file(tmp_path / VECTORS)
    assert torch.equal(tensors["vectors"], some().matrix)
    assert bytes(tensors["words"].tolist()).decode() == "".join(some().words)


def test_writing_to_what_was_loaded_leaves_the_file_alone(tmp_path: Path) -> None:
    some().save(tmp_path)
    before = (tmp_path / VECTORS).read_bytes()
    WordVectors.load(tmp_path).matrix.zero_()
    assert (tmp_path / VECTORS).read_bytes() == before


def test_a_folder_that_is_saved_again_leaves_what_was_loaded_alone(tmp_path: Path) -> None:
    some(seed=1).save(tmp_path)
    read = WordVectors.load(tmp_path)
    some(seed=2).save(tmp_path)
    assert torch.equal(read.matrix, some(seed=1).matrix)
    assert torch.equal(WordVectors.load(tmp_path).matrix, some(seed=2).matrix)


@pytest.mark.parametrize("keep", [0, 7, 100, 4096, 4300, -1])
def test_a_cut_file_is_refused(keep: int, tmp_path: Path) -> None:
    some().save(tmp_path)
    path = tmp_path / VECTORS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="damaged"):
        WordVectors.load(tmp_path)


def test_a_flipped_byte_behind_the_matrix_is_refused_or_changes_letters_alone(tmp_path: Path) -> None:
    """Lengths and order of the words are checked whole; a changed letter is a word of its own."""
    some(6, 3).save(tmp_path)
    path, whole = tmp_path / VECTORS, (tmp_path / VECTORS).read_bytes()
    refused = 0
    for place in range(4096 + 6 * 3 * 4, len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x80]) + whole[place + 1 :])
        found = loaded_or_refused(tmp_path)
        refused += isinstance(found, ValueError)
        if isinstance(found, ValueError):
            assert str(path) in str(found)
        else:
            assert torch.equal(found.matrix, some(6, 3).matrix)
    assert refused >= 6 * 8


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    some().save(tmp_path)
    path = tmp_path / VECTORS
    path.write_bytes(path.read_bytes().replace(b"pyrnn word vectors 1", b"pyrnn word vectors 9"))
    with pytest.raises(ValueError, match="holds no word vectors"):
        WordVectors.load(tmp_path)
    header = path.read_bytes()[8:4096]
    broken = header.replace(b"pyrnn word vectors 9", b"pyrnn word vectors 1").replace(b"[20,", b"[10,")
    assert json.loads(broken) != json.loads(header)
    path.write_bytes(path.read_bytes()[:8] + broken + path.read_bytes()[4096:])
    with pytest.raises(ValueError, match="damaged"):
        WordVectors.load(tmp_path)


def test_a_row_that_holds_no_number_is_told_with_its_word(tmp_path: Path) -> None:
    some().save(tmp_path)
    path = tmp_path / VECTORS
    whole = bytearray(path.read_bytes())
    whole[4096 + 3 * 20 : 4096 + 3 * 20 + 4] = np.float32(np.nan).tobytes()
    path.write_bytes(bytes(whole))
    read = WordVectors.load(tmp_path)
    assert torch.equal(read["w2é"], some()["w2é"])
    for ask in (lambda: read["w3é"], lambda: read.nearest("w2é"), lambda: read.odd_one_out(list(read.words))):
        with pytest.raises(ValueError, match=r"'w3é' \(row 4\)"):
            ask()


@pytest.mark.parametrize(
    ("words", "matrix", "told"),
    [
        ([], np.zeros((0, 3)), "at least one word"),
        (["a"], np.zeros((2, 3)), r"\[1, D\]"),
        (["a"], np.zeros((1, 0)), "D >= 1"),
        (["a", "b", "a"], np.zeros((3, 2)), "'a' as number 1 and number 3"),
        (["a", ""], np.zeros((2, 2)), "empty"),
        (["a\ud800"], np.zeros((1, 2)), "valid Unicode"),
        (["a", "b"], [[1, 2], [3, np.inf]], r"'b' \(row 2\)"),
        (["a", "b"], [[1, 2], [3, -1e30]], r"'b' \(row 2\)"),
    ],
)
def test_arrays_that_are_none_are_refused(words: list[str], matrix: object, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        WordVectors.from_arrays(words, matrix)


def test_words_are_a_list_that_finds() -> None:
    strings = ["the", "of", "é", "日本", "a b", "th", "\N{NO-BREAK SPACE}"]
    words = WordList.of(strings)
    assert list(words) == strings == words[:]
    assert [words[-1], words[3]] == [strings[-1], "日本"]
    assert [words.find(word) for word in strings] == list(range(len(strings)))
    assert words.find("日") is None
    assert words.find("\ud800") is None
    assert words.starting_with("th", 5) == [5, 0]
    with pytest.raises(IndexError):
        words[7]


def test_several_words_are_rows() -> None:
    vectors = some()
    assert torch.equal(vectors[["w3é", "w1é"]], vectors.matrix[[3, 1]])
    assert vectors[[]].shape == (0, 5)
