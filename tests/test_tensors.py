"""Files of safetensors: what the library writes is read, what is damaged or unexpected is told in words."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrnn._tensors import Expected, exactly, loadable, not_finite, open_tensors

DTYPES = (
    *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
    *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64),
)


def _read(path: Path) -> dict[str, Tensor]:
    with open_tensors(path) as file:
        return file.read()


def _write_raw(path: Path, header: Any, data: bytes = b"") -> None:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_what_the_library_writes_is_read(tmp_path: Path) -> None:
    tensors = {f"{dtype}": torch.arange(6).view(2, 3).to(dtype) for dtype in DTYPES}
    tensors |= {"scalar": torch.tensor(2.5), "empty": torch.zeros(0, 3), "naïve": torch.ones(1)}
    save_file(tensors, tmp_path / "a", metadata={"key": "value"})
    with open_tensors(tmp_path / "a") as file:
        assert file.metadata == {"key": "value"}
        assert set(file.names) == set(tensors)
        file.check({name: exactly(tensor) for name, tensor in tensors.items()}, owner="us")
        found = file.read()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({}, r"a does not fit us: x should be absent, is \[2, 3\]"),
        ({"x": Expected((2, 3), (torch.float32,)), "y": Expected((), ())}, r"y should be \[\], is absent"),
        ({"x": Expected((3, 2), (torch.float32,))}, r"x should be \[3, 2\], is \[2, 3\]"),
        ({"x": Expected((2, 3), (torch.float64, torch.bfloat16))}, r"float64 or bfloat16, holds float32"),
    ],
)
def test_what_is_not_expected_is_named(expected: dict[str, Expected], words: str, tmp_path: Path) -> None:
    save_file({"x": torch.zeros(2, 3)}, tmp_path / "a")
    with open_tensors(tmp_path / "a") as file, pytest.raises(ValueError, match=words):
        file.check(expected, owner="us")


def test_a_dtype_that_has_no_use_here_is_named(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(3).to(torch.float8_e4m3fn)}, tmp_path / "a")
    with open_tensors(tmp_path / "a") as file:
        with pytest.raises(ValueError, match=r"x should hold .*float64, holds F8_E4M3"):
            file.check({"x": loadable(torch.zeros(3))}, owner="us")
        with pytest.raises(ValueError, match="x holds F8_E4M3, which cannot be read"):
            file.read()


def test_integers_are_loaded_as_they_are_and_floats_from_any_float() -> None:
    assert loadable(torch.zeros(2, dtype=torch.int64)) == exactly(torch.zeros(2, dtype=torch.int64))
    assert torch.float16 in loadable(torch.zeros(2)).dtypes
    assert torch.int32 not in loadable(torch.zeros(2)).dtypes


def test_the_first_tensor_that_is_not_finite_is_named() -> None:
    tensors = {"a": torch.zeros(3), "b": torch.tensor([0, -torch.inf]), "n": torch.arange(3)}
    assert not_finite(tensors) == "b"
    assert not_finite({"a": torch.zeros(0), "n": torch.arange(3)}) is None


def _entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}}


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (b"", "Expecting value"),
        (b"\xff\xfe", "codec can't decode"),
        (b"[" * 100_000, "recursion"),
        ([], "no table"),
        ({"__metadata__": {"a": 1}}, "metadata is no table of strings"),
        ({"x": 3}, "x should have dtype, shape and data_offsets"),
        (_entry(more=1), "x should have dtype, shape and data_offsets"),
        (_entry(dtype=3), "counts for shape"),
        (_entry(shape=2), "counts for shape"),
        (_entry(shape=[-2]), "counts for shape"),
        (_entry(shape=[True, 2]), "counts for shape"),
        (_entry(shape=[2.0]), "counts for shape"),
        (_entry(shape=[3]), "another number of bytes"),
        (_entry(shape=[2**62, 8]), "another number of bytes"),
        (_entry(shape=[10**4000] * 50), "another number of bytes"),
        (_entry(shape=[0, 2**70]), "another number of bytes"),
        (_entry(data_offsets=[0, 8, 8]), "lie outside the file"),
        (_entry(data_offsets=[8, 0]), "lie outside the file"),
        (_entry(data_offsets=[0, 10**30]), "lie outside the file"),
        (_entry(shape=[1], data_offsets=[4, 8]), "x should begin at byte 0 of the tensors, begins at 4"),
        (_entry(shape=[1], data_offsets=[0, 4]), "should have 4 bytes, the file has 8"),
        ({**_entry(), "y": _entry()["x"]}, "y should begin at byte 8 of the tensors, begins at 0"),
    ],
)
def test_a_header_that_is_none_is_told(header: Any, words: str, tmp_path: Path) -> None:
    _write_raw(tmp_path / "a", header, bytes(8))
    with pytest.raises(ValueError, match=rf"{tmp_path / 'a'} is damaged: .*{words}"):
        _read(tmp_path / "a")


def test_a_file_cut_anywhere_is_told(tmp_path: Path) -> None:
    save_file({"x": torch.arange(5), "y": torch.zeros(2)}, tmp_path / "a")
    whole = (tmp_path / "a").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "a").write_bytes(whole[:size])
        with pytest.raises(ValueError, match="a is damaged"):
            _read(tmp_path / "a")


def test_a_file_that_becomes_shorter_while_it_is_read_is_told(tmp_path: Path) -> None:
    save_file({"x": torch.arange(50_000)}, tmp_path / "a")
    with open_tensors(tmp_path / "a") as file:
        os.truncate(tmp_path / "a", 9000)
        with pytest.raises(ValueError, match="became shorter while it was being read"):
            file.read()


def test_flipped_bytes_are_told_or_read_as_the_library_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "a"
    save_file({"x": torch.arange(5), "y": torch.zeros(2, 2)}, path, metadata={"key": "value"})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for seed in range(500):
        draw = random.Random(seed)
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(header)] = draw.choice((draw.randrange(256), *b'0123456789[]{},"'))
        path.write_bytes(damaged)
        found, told = {}, ""
        try:
            found = _read(path)
        except ValueError as error:
            told = str(error)
        if told:
            assert re.match(rf"{path}( is damaged|: .* cannot be read)", told)
        else:
            expected = load_file(path)
            assert {n: t.tolist() for n, t in found.items()} == {n: t.tolist() for n, t in expected.items()}


def test_missing_files_and_folders_keep_their_errors(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        _read(tmp_path / "nowhere")
    with pytest.raises(IsADirectoryError):
        _read(tmp_path)
