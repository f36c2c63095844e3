import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.data import shakespeare
from pyrnn.text import LEVELS, Level, encode_file, open_tokens, read_text, train_tokenizer, write_tokens

LARGEST = (1 << 31) - 1
IDS = st.lists(st.integers(0, LARGEST))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for all examples of a property."""
    return tmp_path_factory.mktemp("tokens") / "tokens.bin"


@given(st.lists(IDS).filter(any))
def test_what_was_written_is_read(file: Path, chunks: list[list[int]]) -> None:
    whole = [i for chunk in chunks for i in chunk]
    assert write_tokens(file, (torch.tensor(chunk, dtype=torch.int64) for chunk in chunks)) == len(whole)
    assert file.stat().st_size == 4 * len(whole)
    ids = open_tokens(file, LARGEST + 1)
    assert ids.dtype == torch.int32
    assert ids.tolist() == whole


def test_the_bytes_are_little_endian(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 258])])
    assert file.read_bytes() == bytes([1, 0, 0, 0, 2, 1, 0, 0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_narrow_ids_are_written_alike(file: Path, dtype: torch.dtype) -> None:
    write_tokens(file, [torch.tensor([1, 2, 100], dtype=dtype)[::2]])
    assert open_tokens(file, 101).tolist() == [1, 100]


def test_writing_to_the_ids_does_not_change_the_file(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 2])])
    open_tokens(file, 3).zero_()
    assert open_tokens(file, 3).tolist() == [1, 2]


def test_open_ids_stay_when_the_file_is_replaced(file: Path) -> None:
    write_tokens(file, [torch.arange(5000)])
    ids = open_tokens(file, 5000)
    write_tokens(file, [torch.zeros(3, dtype=torch.int64)])
    assert torch.equal(ids, torch.arange(5000, dtype=torch.int32))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.tensor([0.0]), "vectors of integers"),
        (torch.tensor([[1]]), r"vectors of integers \[N\], got torch.int64 of shape \[1, 1\]"),
        (torch.tensor([3, -1]), r"in \[0, 2\*\*31\), got -1 to 3"),
        (torch.tensor([LARGEST + 1]), r"in \[0, 2\*\*31\)"),
        (torch.tensor([], dtype=torch.int64), "no symbols to write"),
    ],
)
def test_bad_ids_are_refused_and_the_old_file_stays(tmp_path: Path, ids: Tensor, words: str) -> None:
    path = tmp_path / "tokens.bin"
    write_tokens(path, [torch.tensor([7])])
    with pytest.raises(ValueError, match=words):
        write_tokens(path, [ids])
    assert open_tokens(path, 8).tolist() == [7]
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_half_way_leaves_nothing(tmp_path: Path) -> None:
    def chunks() -> Iterator[Tensor]:
        yield torch.tensor([1])
        raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        write_tokens(tmp_path / "tokens.bin", chunks())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 1, 7])
def test_a_file_of_another_size_is_refused(file: Path, size: int) -> None:
    file.write_bytes(bytes(size))
    with pytest.raises(ValueError, match=rf"tokens.bin is not a file of tokens: .* got {size} bytes"):
        open_tokens(file, 9)


@pytest.mark.parametrize("place", [0, (1 << 20) - 1, 1 << 20, (1 << 21) + 4])
@pytest.mark.parametrize("wrong", [-1, 5])
def test_an_id_outside_the_vocabulary_is_refused_with_its_place(file: Path, place: int, wrong: int) -> None:
    ids = torch.zeros((1 << 21) + 5, dtype=torch.int32)
    ids[place] = wrong
    file.write_bytes(ids.numpy().tobytes())
    with pytest.raises(ValueError, match=rf"in \[0, 5\), got {wrong} at position {place};"):
        open_tokens(file, 5)


def test_missing_files_and_folders_keep_their_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_tokens(tmp_path / "nowhere", 5)
    with pytest.raises(IsADirectoryError):
        open_tokens(tmp_path, 5)


# ---- from a text file ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize("level", LEVELS)
def test_a_text_file_becomes_its_ids_whatever_the_chunk(tmp_path: Path, level: Level, size: int) -> None:
    text, path, to = shakespeare()[:20_000], tmp_path / "text", tmp_path / "tokens.bin"
    path.write_bytes(gzip.compress(text.replace("\n", "\r\n").encode()))
    tokenizer = train_tokenizer(lambda: read_text(path), level=level, max_size=400)
    whole = tokenizer.encode(text)
    assert encode_file(path, tokenizer, to, chunk_characters=size) == len(whole)
    assert torch.equal(open_tokens(to, len(tokenizer)), whole.int())


def test_a_text_without_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("   ")
    tokenizer = train_tokenizer(lambda: ["to be"], level="word")
    with pytest.raises(ValueError, match=r"no symbols to write to .*tokens\.bin: the text is empty"):
        encode_file(tmp_path / "text", tokenizer, tmp_path / "tokens.bin")
