import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.corpora import shakespeare
from pyrnn.data import TokenFile, encode_file, open_tokens, windows, write_tokens
from pyrnn.text import LEVELS, Level, read_text, train_tokenizer

LARGEST = (1 << 31) - 1
IDS = st.lists(st.integers(0, LARGEST))


def _all(ids: TokenFile) -> Tensor:
    return torch.cat(list(ids.blocks()))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for all examples of a property."""
    return tmp_path_factory.mktemp("tokens") / "tokens.bin"


@given(st.lists(IDS).filter(any))
def test_what_was_written_is_read(file: Path, chunks: list[list[int]]) -> None:
    whole = [i for chunk in chunks for i in chunk]
    assert write_tokens(file, (torch.tensor(chunk, dtype=torch.int64) for chunk in chunks)) == len(whole)
    assert file.stat().st_size == 4 * len(whole)
    ids = _all(open_tokens(file, LARGEST + 1))
    assert ids.dtype == torch.int32
    assert ids.tolist() == whole


@given(st.data())
def test_parts_and_windows_are_those_of_a_tensor(file: Path, data: st.DataObject) -> None:
    whole = torch.randint(50, (data.draw(st.integers(1, 40)),))
    write_tokens(file, [whole])
    bound = st.none() | st.integers(-45, 45)
    part = slice(data.draw(bound), data.draw(bound))
    inner = slice(data.draw(bound), data.draw(bound))
    ids, expected = open_tokens(file, 50)[part][inner], whole[part][inner]
    assert len(ids) == len(expected)
    assert [i for block in ids.blocks() for i in block.tolist()] == expected.tolist()
    if not len(ids):
        return
    starts = torch.tensor(data.draw(st.lists(st.integers(0, len(ids) - 1), max_size=4)), dtype=torch.int64)
    count = data.draw(st.integers(0, 9))
    found = windows(ids, starts, count)
    assert (found.shape, found.dtype) == ((count, len(starts)), torch.int32)
    inside = starts + torch.arange(count).unsqueeze(1) < len(ids)
    assert torch.equal(found[inside], windows(expected, starts, count)[inside].int())


def test_the_bytes_are_little_endian(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 258])])
    assert file.read_bytes() == bytes([1, 0, 0, 0, 2, 1, 0, 0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32])
def test_narrow_ids_are_written_alike(file: Path, dtype: torch.dtype) -> None:
    write_tokens(file, [torch.tensor([1, 2, 100], dtype=dtype)[::2]])
    assert _all(open_tokens(file, 101)).tolist() == [1, 100]


def test_writing_to_the_ids_does_not_change_the_file(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 2])])
    ids = open_tokens(file, 3)
    _all(ids).zero_()
    assert _all(ids).tolist() == [1, 2]


def test_a_part_with_gaps_is_refused(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 2])])
    with pytest.raises(ValueError, match="takes every id, got a step of 2"):
        open_tokens(file, 3)[::2]


def test_the_file_is_closed_with_its_last_part(file: Path) -> None:
    write_tokens(file, [torch.tensor([1, 2])])
    ids = open_tokens(file, 3)
    number, part = ids._file.number, ids[1:]
    del ids
    assert _all(part).tolist() == [2]
    del part
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)


def test_open_ids_stay_when_the_file_is_replaced(file: Path) -> None:
    write_tokens(file, [torch.arange(5000)])
    ids = open_tokens(file, 5000)
    write_tokens(file, [torch.zeros(3, dtype=torch.int64)])
    assert torch.equal(_all(ids), torch.arange(5000, dtype=torch.int32))
    file.unlink()
    assert torch.equal(_all(ids), torch.arange(5000, dtype=torch.int32))


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        (torch.tensor([0.0]), "vectors of integers"),
        (torch.tensor([[1]]), r"vectors of integers \[N\], got torch.int64 of shape \[1, 1\]"),
        (torch.tensor([3, -1]), r"in \[0, 2\*\*31\), got -1 to 3"),
        (torch.tensor([LARGEST + 1]), r"in \[0, 2\*\*31\)"),
        (torch.tensor([], dtype=torch.int64), "no tokens to write"),
    ],
)
def test_bad_ids_are_refused_and_the_old_file_stays(tmp_path: Path, ids: Tensor, words: str) -> None:
    path = tmp_path / "tokens.bin"
    write_tokens(path, [torch.tensor([7])])
    with pytest.raises(ValueError, match=words):
        write_tokens(path, [ids])
    assert _all(open_tokens(path, 8)).tolist() == [7]
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


@pytest.mark.parametrize("left", [0, 4096, 19_998])
def test_a_file_that_becomes_shorter_while_it_is_read_is_told(tmp_path: Path, left: int) -> None:
    write_tokens(tmp_path / "tokens.bin", [torch.arange(5000)])
    ids = open_tokens(tmp_path / "tokens.bin", 5000)[10:]
    os.truncate(tmp_path / "tokens.bin", left)
    words = rf"tokens\.bin became shorter .* expected at least 5000 ids, it has {left // 4}; encode"
    for count in (1, 90):
        with pytest.raises(ValueError, match=words):
            ids.windows(torch.tensor([0, 4989]), count)


def test_an_id_that_is_written_into_an_open_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens.bin"
    write_tokens(path, [torch.arange(9)])
    ids = open_tokens(path, 9)[2:]
    with path.open("r+b") as file:
        file.seek(4 * 5)
        file.write(b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match=r"in \[0, 9\), got -1 at position 5;"):
        ids.windows(torch.tensor([0, 2]), 3)


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
    assert torch.equal(_all(open_tokens(to, len(tokenizer))), whole.int())


def test_a_text_without_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("   ")
    tokenizer = train_tokenizer(lambda: ["to be"], level="word")
    with pytest.raises(ValueError, match=r"no tokens to write to .*tokens\.bin: the text is empty"):
        encode_file(tmp_path / "text", tokenizer, tmp_path / "tokens.bin")
