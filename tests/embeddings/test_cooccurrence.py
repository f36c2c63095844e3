"""Counts of pairs against their definition, whatever the memory; files that are whole or not there."""

from __future__ import annotations

import errno
import os
import resource
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn import _native
from pyrnn.embeddings import Cooccurrences, PairBatches, count_cooccurrences

LEAST = 1 / 16  # MiB: 1,024 slots and 4,096 cells


def _count(folder: Path, text: list[int], V: int, **options: Any) -> Cooccurrences:
    return count_cooccurrences([torch.tensor(text)], folder / "pairs.bin", vocabulary_size=V, **options)


def _by_hand(
    text: list[int], V: int, window: int, *, both: bool, harmonic: bool
) -> dict[tuple[int, int], Fraction]:
    found: dict[tuple[int, int], Fraction] = {}
    for t, word in enumerate(text):
        for distance in range(1, window + 1):
            if word == V or t - distance < 0 or text[t - distance] == V:
                break
            amount = Fraction(1, distance) if harmonic else Fraction(1)
            pairs = [(word, text[t - distance])]
            for pair in pairs + [(b, a) for a, b in pairs if both]:
                found[pair] = found.get(pair, Fraction(0)) + amount
    return found


def _as_dict(pairs: Cooccurrences) -> dict[tuple[int, int], float]:
    rows = np.concatenate(list(pairs.blocks()))
    found = {(row, column): count for row, column, count in rows.tolist()}
    assert len(found) == len(pairs), "a pair comes once"
    return found


@given(
    text=st.lists(st.integers(0, 7), min_size=1, max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=4),
    window=st.integers(1, 12),
    both=st.booleans(),
    harmonic=st.booleans(),
)
@settings(max_examples=80)
def test_counts_are_those_of_the_definition(
    tmp_path_factory: pytest.TempPathFactory,
    text: list[int],
    cuts: list[int],
    window: int,
    both: bool,
    harmonic: bool,
) -> None:
    expected = _by_hand(text, 7, window, both=both, harmonic=harmonic)
    to = tmp_path_factory.mktemp("pairs") / "pairs.bin"
    places = [0, *sorted(cuts), len(text)]
    chunks = [torch.tensor(text[begin:end], dtype=torch.int64) for begin, end in pairwise(places)]
    options: Any = {
        "window": window,
        "sides": "both" if both else "left",
        "weighting": "harmonic" if harmonic else "flat",
        "vocabulary_size": 7,
    }
    if not expected:
        with pytest.raises(ValueError, match=r"no pair to count|the text is empty"):
            count_cooccurrences(chunks, to, **options)
        assert not to.exists()
        return
    assert _as_dict(count_cooccurrences(chunks, to, **options)) == {k: float(v) for k, v in expected.items()}


def _long_text(V: int = 3000, N: int = 30_000) -> list[int]:
    random = np.random.Generator(np.random.Philox(key=5))
    ids = np.minimum(random.zipf(1.2, N) - 1, V - 1)
    ids[random.random(N) < 0.02] = V
    return ids.tolist()


@pytest.mark.parametrize("window", [3, 30])
@pytest.mark.parametrize("sides", ["both", "left"])
def test_the_memory_changes_no_bit_of_the_file(tmp_path: Path, window: int, sides: Any) -> None:
    text, content = _long_text(), set[bytes]()
    for memory_mib in (LEAST, 0.3, 64.0):
        _count(tmp_path, text, 3000, window=window, sides=sides, memory_mib=memory_mib)
        content.add((tmp_path / "pairs.bin").read_bytes())
    assert len(content) == 1


def test_runs_that_no_merge_reads_at_once_become_fewer(tmp_path: Path) -> None:
    """The least memory serves 16 runs, and this text makes several times as many."""
    ids = np.array(_long_text(20_000, 60_000), np.int32)
    with (tmp_path / "spills").open("w+b") as file:
        counter = _native.cpu.CooccurrenceCounter(20_000, 2, True, True, 1 << 16, file.fileno())
        counter.add(ids.ctypes.data, len(ids))
        counter.finish()
        assert counter.runs > 40
        pairs = np.empty(1 << 17, [("row", "<i4"), ("column", "<i4"), ("count", "<f8")])
        found = pairs[: counter.take(pairs.ctypes.data, len(pairs))]
        assert counter.take(pairs.ctypes.data, len(pairs)) == 0
    expected = _by_hand(ids.tolist(), 20_000, 2, both=True, harmonic=True)
    assert {(r, c): x for r, c, x in found.tolist()} == {k: float(v) for k, v in expected.items()}


def test_a_wide_window_rounds_its_weights_to_a_multiple_of_a_power_of_two(tmp_path: Path) -> None:
    pairs = _as_dict(_count(tmp_path, list(range(41)), 41, window=40))
    for distance in (1, 3, 39, 40):
        assert pairs[0, distance] == round(2**32 / distance) / 2**32


def test_a_count_that_leaves_64_bits_is_refused(tmp_path: Path) -> None:
    """A pair beside itself counts 2 lcm(1..22) a step, so 2^64 is out of reach: the check itself is asked."""
    with (tmp_path / "spills").open("w+b") as file:
        counter = _native.cpu.CooccurrenceCounter(2, 1, True, False, 1 << 16, file.fileno())
        ids = np.zeros(3, np.int32)
        counter.add(ids.ctypes.data, 3)
        counter.finish()
        pair = np.empty(2, [("row", "<i4"), ("column", "<i4"), ("count", "<f8")])
        assert counter.take(pair.ctypes.data, 2) == 1
        assert pair[0].tolist() == (0, 0, 4.0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": 0}, r"window must lie in \[1, 65536\], got 0"),
        ({"window": 1 << 17}, "window must lie"),
        ({"sides": "right"}, "sides must be 'both' or 'left', got 'right'"),
        ({"weighting": "linear"}, "weighting must be 'harmonic' or 'flat'"),
        ({"memory_mib": 0.01}, "memory_mib must be at least 0.0625, got 0.01"),
        ({"memory_mib": float("nan")}, "memory_mib must be at least"),
        ({"vocabulary_size": 0}, "vocabulary_size must lie in .*, got 0"),
        ({"vocabulary_size": 1}, r"ids must lie in \[0, 1\], got 2"),
        ({"chunks": []}, "the text is empty"),
        ({"chunks": [torch.tensor([3, 3])]}, "the text is empty"),
        ({"chunks": [torch.tensor([0, 3, 1])]}, "a text of 2 tokens has no two of them in one sentence"),
        ({"chunks": [torch.tensor([0, -2])]}, "got -2 to 0"),
        ({"chunks": [torch.tensor([0, 2**40])]}, r"ids must lie in \[0, 2\^31\)"),
        ({"chunks": [torch.zeros(2)]}, r"ids must be vectors of integers \[N\], got torch.float32"),
        ({"chunks": [torch.zeros(2, 2, dtype=torch.int64)]}, r"of shape \[2, 2\]"),
    ],
)
def test_what_cannot_be_counted_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    arguments = {"chunks": [torch.tensor([0, 1, 2])], "vocabulary_size": 3, "window": 2, **changes}
    with pytest.raises(ValueError, match=words):
        count_cooccurrences(arguments.pop("chunks"), tmp_path / "pairs.bin", **arguments)
    assert not list(tmp_path.iterdir())


def test_a_failure_of_the_text_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    _count(tmp_path, [0, 1], 2)
    before = (tmp_path / "pairs.bin").read_bytes()

    def text() -> Any:
        yield torch.tensor([0, 1])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        count_cooccurrences(text(), tmp_path / "pairs.bin", vocabulary_size=2)
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.bin"]
    assert (tmp_path / "pairs.bin").read_bytes() == before


def test_a_full_disk_is_an_error_with_its_number() -> None:
    full = os.open("/dev/full", os.O_RDWR)
    try:
        counter = _native.cpu.CooccurrenceCounter(5000, 2, True, True, 1 << 16, full)
        ids = np.array(_long_text(5000), np.int32)
        with pytest.raises(OSError, match="writing spilled counts") as caught:
            counter.add(ids.ctypes.data, len(ids))
        assert caught.value.errno in (errno.ENOSPC, errno.ESPIPE)
    finally:
        os.close(full)


def test_a_file_that_may_not_grow_leaves_nothing(tmp_path: Path) -> None:
    """As a disk that fills up while pairs are spilled, or while the result is written."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit, words in ((1 << 15, "writing spilled counts"), (1 << 19, "File too large")):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match=words) as caught:
                _count(tmp_path, _long_text(), 3000, window=3, memory_mib=LEAST if limit < 1 << 19 else 64)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert caught.value.errno == errno.EFBIG
        assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        _count(tmp_path / "missing", [0, 1], 2)


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_file_of_another_size_is_refused(tmp_path: Path, size: int) -> None:
    (tmp_path / "pairs.bin").write_bytes(bytes(size))
    with pytest.raises(ValueError, match=f"expected pairs of 16 bytes and not none, got {size} bytes"):
        Cooccurrences(tmp_path / "pairs.bin", 5)


def test_a_file_that_becomes_shorter_is_refused(tmp_path: Path) -> None:
    pairs = _count(tmp_path, list(range(9)), 9)
    os.truncate(tmp_path / "pairs.bin", 20)
    with pytest.raises(ValueError, match="became shorter while it was in use"):
        pairs.read(0, len(pairs))


def _rows(batch: dict[str, Tensor]) -> list[bytes]:
    return [row.numpy().tobytes() for row in batch["pairs"]]


def test_every_epoch_has_every_pair_once_in_another_order(tmp_path: Path) -> None:
    pairs = _count(tmp_path, _long_text(50, 500), 50, window=2)
    batches = PairBatches(pairs, seed=3, block=64)
    epochs = [
        [row for step in range(e * len(batches), (e + 1) * len(batches)) for row in _rows(batches[step])]
        for e in range(2)
    ]
    assert len(epochs[0]) == len(set(epochs[0])) == len(pairs)
    assert set(epochs[0]) == set(epochs[1])
    assert epochs[0] != epochs[1]
    again = PairBatches(pairs, seed=3, block=64)[len(batches)]  # of no epoch but the second
    assert torch.equal(again["pairs"], batches[len(batches)]["pairs"])
    assert torch.equal(again["order"], batches[len(batches)]["order"])


def test_what_batches_refuse(tmp_path: Path) -> None:
    pairs = _count(tmp_path, [0, 1], 2)
    with pytest.raises(ValueError, match="at least one pair, got 0"):
        PairBatches(pairs, seed=0, block=0)
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\^64\), got -1"):
        PairBatches(pairs, seed=-1)
    with pytest.raises(ValueError, match="trained on by one process"):
        PairBatches(pairs, seed=0).shard(0, 2)
    with pytest.raises(IndexError, match="a step is counted from 0"):
        PairBatches(pairs, seed=0)[-1]
