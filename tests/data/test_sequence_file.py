"""Encoded sequences come back from their file, and damage is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from pyrnn.data import read_sequences, write_sequences

SIZES = {"token": 9, "tag": 4}
GROUPS = {"source_lengths": ("source",), "target_lengths": ("target", "label")}


@given(lengths=st.lists(st.integers(1, 5), min_size=1, max_size=9))
def test_the_round_trip(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]) -> None:
    path = tmp_path_factory.getbasetemp() / "a.safetensors"
    fields = {name: [torch.randint(size, (n,)) for n in lengths] for name, size in SIZES.items()}
    write_sequences(path, fields)
    read = read_sequences(path, SIZES)
    for name, items in fields.items():
        assert all(torch.equal(a.int(), b) for a, b in zip(items, read[name], strict=True))


@given(lengths=st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5)), min_size=1, max_size=9))
def test_the_round_trip_of_groups(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[tuple[int, int]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "pairs.safetensors"
    fields = {
        "source": [torch.randint(9, (n,)) for n, _ in lengths],
        "target": [torch.randint(7, (n,)) for _, n in lengths],
        "label": [torch.randint(4, (n,)) for _, n in lengths],
    }
    write_sequences(path, fields, groups=GROUPS)
    read = read_sequences(path, {"source": 9, "target": 7, "label": 4}, groups=GROUPS)
    assert list(read) == list(fields)
    for name, items in fields.items():
        assert all(torch.equal(a.int(), b) for a, b in zip(items, read[name], strict=True))


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("target_lengths", lambda t: t[:1].clone(), r"target_lengths should be \[2\], is \[1\]"),
        ("target_lengths", lambda t: t + 1, "its target_lengths are not those of its 3 items"),
        ("source_lengths", lambda t: t * 0, "its source_lengths are not those of its 4 items"),
        ("label", lambda t: t[1:].clone(), r"label should be \[3\], is \[2\]"),
        ("lengths", lambda t: torch.ones(2), "expected source, target, label, it has"),
    ],
)
def test_damage_of_groups_is_told(
    name: str, change: Callable[[Tensor], Tensor], words: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    source, target = ([torch.zeros(n, dtype=torch.int64) for n in lengths] for lengths in ((2, 2), (1, 2)))
    write_sequences(path, {"source": source, "target": target, "label": target}, groups=GROUPS)
    tensors = load_file(path)
    tensors[name] = change(tensors.get(name, torch.ones(2)))
    save_file(tensors, path)
    with pytest.raises(ValueError, match=rf"{path}.*{words}"):
        read_sequences(path, {"source": 1, "target": 1, "label": 1}, groups=GROUPS)


def _set(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[dict[str, Tensor]], None]:
    def damage(tensors: dict[str, Tensor]) -> None:
        tensors[name] = change(tensors[name])

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda tensors: tensors.pop("tag"), "expected token, tag, it has"),
        (lambda tensors: tensors.update(more=torch.zeros(1)), "expected token, tag, it has"),
        (_set("token", Tensor.float), "should hold int32, holds float32"),
        (_set("tag", lambda t: t[1:].clone()), r"tag should be \[5\], is \[4\]"),
        (_set("token", lambda t: t + 9), r"token must lie in \[0, 9\), got 9 to 9"),
        (_set("tag", lambda t: t - 1), r"tag must lie in \[0, 4\), got -1 to -1"),
        (_set("lengths", lambda t: t + 1), "its lengths are not those of its 5 items"),
        (_set("lengths", lambda t: t * 0), "its lengths are not those"),
        (_set("lengths", lambda t: t - 3), "its lengths are not those"),
        (_set("lengths", lambda t: t.unsqueeze(0)), "its lengths are not those"),
        (_set("lengths", lambda t: t[:0].clone()), "its lengths are not those"),
    ],
)
def test_damage_is_told(damage: Callable[[dict[str, Tensor]], None], words: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    zeros = [torch.zeros(n, dtype=torch.int64) for n in (2, 3)]
    write_sequences(path, {"token": zeros, "tag": zeros})
    tensors = load_file(path)
    damage(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=rf"{path}.*{words}"):
        read_sequences(path, SIZES)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_sequences(tmp_path / "absent", SIZES)
    (tmp_path / "a").write_bytes(b"rubbish, and more of it")
    with pytest.raises(ValueError, match="a is damaged"):
        read_sequences(tmp_path / "a", SIZES)
    with pytest.raises(ValueError, match="there are no sequences"):
        write_sequences(tmp_path / "b", {"token": []})
