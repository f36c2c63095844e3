import gzip
import os
import threading
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrnn.corpora import shakespeare
from pyrnn.text import read_text, spool

TEXT = st.text(
    st.one_of(st.sampled_from("ab\r\n é€😀"), st.characters(exclude_categories=["Cs"])), min_size=1
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One path for all examples of a property."""
    return tmp_path_factory.mktemp("files") / "text"


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


@given(text=TEXT, size=st.integers(1, 9), packed=st.booleans(), mark=st.booleans())
def test_chunks_joined_are_the_text(file: Path, text: str, size: int, packed: bool, mark: bool) -> None:
    text = text.replace("\0", "").lstrip("\ufeff") + "."
    data = text.encode("utf-8-sig" if mark else "utf-8")
    chunks = list(read_text(_written(file, gzip.compress(data) if packed else data), chunk_characters=size))
    assert "".join(chunks) == text.replace("\r\n", "\n")
    assert all(1 <= len(chunk) <= size for chunk in chunks)
    for chunk in chunks[:-1]:
        assert chunk.endswith("\n") or ("\n" not in chunk and len(chunk) == size)


def test_shakespeare_from_a_gzip_file_without_the_ending(tmp_path: Path) -> None:
    text = shakespeare()
    path = _written(tmp_path / "plays", gzip.compress(text.encode(), 1))
    chunks = list(read_text(path, chunk_characters=10_000))
    assert "".join(chunks) == text
    assert all(chunk.endswith("\n") for chunk in chunks[:-1])


def test_a_plain_file_named_gz_is_read_as_it_is(tmp_path: Path) -> None:
    assert list(read_text(_written(tmp_path / "text.gz", b"plain\n"))) == ["plain\n"]


def test_gzip_members_one_after_another_are_one_text(tmp_path: Path) -> None:
    path = _written(tmp_path / "text", gzip.compress(b"to be\n") + gzip.compress(b"or not\n"))
    assert "".join(read_text(str(path))) == "to be\nor not\n"


def test_a_line_end_between_two_blocks(tmp_path: Path) -> None:
    path = _written(tmp_path / "text", b"aaa\r\n\r\nb\rc\r")
    for size in range(1, 13):
        assert "".join(read_text(path, chunk_characters=size)) == "aaa\n\nb\rc\r"


def test_a_pipe_is_read_like_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"to be\n"),))
    writer.start()
    assert list(read_text(pipe)) == ["to be\n"]
    writer.join()


@pytest.mark.parametrize("line", ["a", "a\n"])
@pytest.mark.parametrize("packed", [False, True])
def test_memory_follows_the_chunk_not_the_file(tmp_path: Path, line: str, packed: bool) -> None:
    data = (line * (8 << 20))[: 8 << 20].encode()
    path = _written(tmp_path / "text", gzip.compress(data, 1) if packed else data)
    del data
    tracemalloc.start()
    count = sum(len(chunk) for chunk in read_text(path, chunk_characters=1 << 16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 8 << 20
    assert peak < 1 << 20


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [1, 2, 5, 100])
@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"caf\xe9 au lait", 3),
        (b"\xff\xfea", 0),
        ("é€".encode() + b"\x80", 5),
        ("a€".encode()[:-1], 1),
        (b"\xef\xbb\xbf" + "é".encode() + b"\xc3(", 5),
        (b"\xef\xbb", 0),
    ],
)
def test_what_is_not_utf8_is_refused_with_its_place(
    tmp_path: Path, data: bytes, offset: int, size: int, packed: bool
) -> None:
    path = _written(tmp_path / "text", gzip.compress(data) if packed else data)
    with pytest.raises(ValueError, match=rf"text is not UTF-8 at byte offset {offset} \(.*iconv"):
        list(read_text(path, chunk_characters=size))


@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_binary_file_is_refused_with_the_place_of_its_nul(tmp_path: Path, size: int) -> None:
    path = _written(tmp_path / "text", b"\xef\xbb\xbfabc\0def")
    with pytest.raises(ValueError, match="text is not a text file: NUL at byte offset 6"):
        list(read_text(path, chunk_characters=size))


@pytest.mark.parametrize(
    "data", [b"", b"\xef\xbb\xbf", gzip.compress(b"")], ids=["empty", "mark alone", "gzip"]
)
def test_an_empty_file_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="text is empty"):
        list(read_text(_written(tmp_path / "text", data)))


@pytest.mark.parametrize(
    "data",
    [
        gzip.compress(b"to be or not to be" * 9)[:-9],
        gzip.compress(b"to be")[:-8] + bytes(8),
        gzip.compress(b"to be") + b"and more",
        b"\x1f\x8b and no more than that",
    ],
    ids=["cut off", "wrong sum", "something after it", "no gzip at all"],
)
def test_damaged_gzip_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match="text is a damaged gzip file: "):
        list(read_text(_written(tmp_path / "text", data)))


def test_missing_files_keep_their_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        list(read_text(tmp_path / "nowhere"))


def test_several_files_are_joined_each_from_a_line_of_its_own(tmp_path: Path) -> None:
    first = _written(tmp_path / "first", b"to be")
    second = _written(tmp_path / "second", gzip.compress(b"\xef\xbb\xbfor not\r\n"))
    nothing = _written(tmp_path / "nothing", b"")
    for size in (1, 3, 100):
        text = "".join(read_text([first, nothing, second, first], chunk_characters=size))
        assert text == "to be\nor not\nto be"


def test_a_folder_is_its_files_in_order_but_for_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.txt", "a/2.txt", "a/1.txt", ".hidden", ".git/c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{name}\n")
    assert "".join(read_text(tmp_path)) == "a/1.txt\na/2.txt\nb.txt\n"


def test_a_text_without_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".hidden").touch()
    with pytest.raises(ValueError, match="holds no files"):
        list(read_text(tmp_path))
    with pytest.raises(ValueError, match="no text is named"):
        list(read_text([]))
    empty = _written(tmp_path / "empty", b"")
    with pytest.raises(ValueError, match=r"all of .*empty, .*empty are empty"):
        list(read_text([empty, empty]))


def test_a_pipe_can_be_read_twice_from_its_copy(tmp_path: Path) -> None:
    pipe, plain = tmp_path / "pipe", _written(tmp_path / "plain", b"or not")
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(gzip.compress(b"to be\r\n"),))
    writer.start()
    with spool() as reusable:
        files = reusable([pipe, plain])
        assert files[1] == plain
        assert reusable(pipe) == files[:1]  # it is not opened again: nobody writes to it any more
        for _ in range(2):
            assert "".join(read_text(files)) == "to be\nor not"
    writer.join()
    assert not files[0].exists()


def _filled_pipe(path: Path, data: bytes) -> Path:
    """A pipe that somebody writes `data` to, once."""
    os.mkfifo(path)
    threading.Thread(target=path.write_bytes, args=(data,), daemon=True).start()
    return path


@pytest.mark.parametrize("nothing", [b"", b"\xef\xbb\xbf", gzip.compress(b"")], ids=["empty", "mark", "gzip"])
@pytest.mark.parametrize("make", [_written, _filled_pipe], ids=["file", "pipe"])
def test_an_empty_text_among_others_is_taken_and_alone_refused(
    tmp_path: Path, make: Callable[[Path, bytes], Path], nothing: bytes
) -> None:
    empty, full = make(tmp_path / "empty", nothing), make(tmp_path / "full", b"to be")
    with spool() as reusable:
        for named in ([empty, full], [full, empty]):
            assert "".join(read_text(reusable(named))) == "to be"
        with pytest.raises(ValueError, match="empty is empty: give a file with text"):
            list(read_text(reusable(empty)))
        other = _written(tmp_path / "other", b"")
        with pytest.raises(ValueError, match=r"all of .*/empty, .*/other are empty"):
            list(read_text(reusable([empty, other])))


@pytest.mark.parametrize(
    "data",
    [b"a\r\r\nb\r\n", b"\xef\xbb\xbf\xef\xbb\xbfa\n", gzip.compress(b"a\r\r\n"), b"\r"],
    ids=["returns", "marks", "gzip", "return alone"],
)
def test_a_pipe_gives_the_text_of_a_file_with_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    file, pipe = _written(tmp_path / "file", data), _filled_pipe(tmp_path / "pipe", data)
    with spool() as reusable:
        assert "".join(read_text(reusable(pipe))) == "".join(read_text(file))


def test_a_pipe_that_holds_no_text_is_refused_by_its_own_name(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"ab\0",))
    writer.start()
    with (
        spool() as reusable,
        pytest.raises(ValueError, match="pipe is not a text file: NUL at byte offset 2"),
    ):
        reusable(pipe)
    writer.join()


def test_chunks_below_one_character_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        list(read_text(tmp_path, chunk_characters=0))
