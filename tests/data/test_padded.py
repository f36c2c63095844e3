"""Padded batches: a pure function of the step, every sequence once an epoch, shards that are the whole."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.data import PaddedBatches

LENGTHS = st.lists(st.integers(1, 9), min_size=1, max_size=40)
PAIR_LENGTHS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=40)
GROUPS = {"source_lengths": ("source",), "target_lengths": ("target", "label")}


def _items(lengths: list[int]) -> list[Tensor]:
    """Sequences that can be told apart: the first item is the number."""
    return [torch.full((n,), i + 1) for i, n in enumerate(lengths)]


def _rows(batch: dict[str, Tensor]) -> list[tuple[int, ...]]:
    return [tuple(row[:n].tolist()) for row, n in zip(batch["x"].T, batch["lengths"].tolist(), strict=True)]


@given(lengths=LENGTHS, batch_size=st.integers(1, 7), seed=st.none() | st.integers(0, 2**63 - 1))
def test_every_sequence_occurs_once_in_every_epoch(
    lengths: list[int], batch_size: int, seed: int | None
) -> None:
    items = _items(lengths)
    batches = PaddedBatches({"x": items}, batch_size=batch_size, seed=seed)
    assert len(batches) == -(-len(items) // batch_size)
    for epoch in range(2):
        steps = range(epoch * len(batches), (epoch + 1) * len(batches))
        rows = [row for step in steps for row in _rows(batches[step])]
        assert sorted(rows) == sorted(tuple(item.tolist()) for item in items)


@given(lengths=LENGTHS, world=st.integers(1, 3), rows=st.integers(1, 3), seed=st.integers(0, 5))
def test_shards_together_are_the_whole_whatever_was_asked_before(
    lengths: list[int], world: int, rows: int, seed: int
) -> None:
    def made() -> PaddedBatches:
        return PaddedBatches({"x": _items(lengths)}, batch_size=world * rows, seed=seed)

    whole = made()
    backwards = [_rows(whole[step]) for step in reversed(range(2 * len(whole)))][::-1]
    shards = [made().shard(rank, world) for rank in range(world)]
    for step, expected in enumerate(backwards):
        parts = [row for shard in shards for row in _rows(shard[step])]
        assert sorted(row for row in parts if row != (0,)) == sorted(expected)


def _pairs(lengths: list[tuple[int, int]], **options: Any) -> PaddedBatches:
    """Sources and targets that can be told apart; a label is minus its target."""
    source, target = (_items(list(own)) for own in zip(*lengths, strict=True))
    fields = {"source": source, "target": target, "label": [-item for item in target]}
    return PaddedBatches(fields, groups=GROUPS, fill={"label": 100}, **options)


def _pair_rows(batch: dict[str, Tensor]) -> list[tuple[int, int, int]]:
    """Number and both lengths of each row, which is checked; one of nothing but filling has number 0."""
    found = []
    for row, (n, m) in enumerate(zip(batch["source_lengths"], batch["target_lengths"], strict=True)):
        number = int(batch["source"][0, row])
        for name, length, value, fill in (
            ("source", int(n), number, 0),
            ("target", int(m), number, 0),
            ("label", int(m), -number or 100, 100),
        ):
            column = batch[name][:, row]
            assert column.tolist() == [value] * length + [fill] * (len(column) - length)
        found.append((number, int(n), int(m)))
    return found


@given(
    lengths=PAIR_LENGTHS,
    batch_size=st.integers(1, 7),
    seed=st.none() | st.integers(0, 9),
    max_tokens=st.none() | st.integers(9, 40),
)
def test_pairs_have_lengths_of_their_own(
    lengths: list[tuple[int, int]], batch_size: int, seed: int | None, max_tokens: int | None
) -> None:
    def made() -> PaddedBatches:
        return _pairs(lengths, batch_size=batch_size, seed=seed, max_tokens=max_tokens)

    batches = made()
    expected = sorted((i + 1, n, m) for i, (n, m) in enumerate(lengths))
    for epoch in range(3):
        rows = []
        for step in range(epoch * len(batches), (epoch + 1) * len(batches)):
            batch = batches[step]
            longest, count = max(len(batch["source"]), len(batch["target"])), batch["source"].shape[1]
            assert len(batch["source"]) == batch["source_lengths"].max()
            assert len(batch["target"]) == len(batch["label"]) == batch["target_lengths"].max()
            assert count <= batch_size
            assert max_tokens is None or count * longest <= max_tokens
            assert all(torch.equal(batch[name], tensor) for name, tensor in made()[step].items())
            rows += _pair_rows(batch)
        assert sorted(rows) == expected


@given(lengths=PAIR_LENGTHS, world=st.integers(2, 3), max_tokens=st.none() | st.integers(9, 40))
def test_shards_of_pairs_are_the_whole(
    lengths: list[tuple[int, int]], world: int, max_tokens: int | None
) -> None:
    whole = _pairs(lengths, batch_size=2 * world, seed=1, max_tokens=max_tokens)
    shards = [whole.shard(rank, world) for rank in range(world)]
    for step in range(2 * len(whole)):
        parts = [row for shard in shards for row in _pair_rows(shard[step]) if row[0]]
        assert sorted(parts) == sorted(_pair_rows(whole[step]))


def test_a_budget_of_tokens_fills_batches_whatever_the_lengths() -> None:
    lengths = [(1 + i % 40, 1 + (i * 7) % 40) for i in range(2000)]
    batches = _pairs(lengths, batch_size=10_000, seed=0, max_tokens=400)
    longest = [max(len(batch["source"]), len(batch["target"])) for batch in batches]
    rows = [batch["source"].shape[1] for batch in batches]
    assert sum(a * b > 300 for a, b in zip(longest, rows, strict=True)) >= len(batches) - 1
    assert longest != sorted(longest)
    with pytest.raises(ValueError, match="sequence 17 has 40 tokens, max_tokens allows 39"):
        _pairs(lengths, batch_size=1, max_tokens=39)


@pytest.mark.parametrize(
    ("groups", "words"),
    [
        ({"lengths": ("x",)}, "each of the fields x, y must have lengths of one name, .*got lengths of x"),
        ({"lengths": ("x", "y"), "others": ("y",)}, "got lengths of x and y, others of y"),
        ({"x": ("x",), "lengths": ("y",)}, "got x of x, lengths of y"),
        ({"lengths": ("x", "y"), "none": ()}, "got lengths of x and y, none of"),
        ({"a": ("x",), "b": ("y",)}, "as many sequences, got 1 for a, 2 for b"),
    ],
)
def test_groups_that_do_not_fit_are_refused(groups: dict[str, tuple[str, ...]], words: str) -> None:
    fields = {"x": [torch.ones(2)], "y": [torch.ones(2), torch.ones(1)]}
    with pytest.raises(ValueError, match=words):
        PaddedBatches(fields, batch_size=1, groups=groups)


def test_epochs_differ_in_order_and_a_seed_fixes_it() -> None:
    def order(seed: int, epoch: int) -> list[tuple[int, ...]]:
        batches = PaddedBatches({"x": _items([3] * 50)}, batch_size=5, seed=seed)
        return [row for step in range(10) for row in _rows(batches[10 * epoch + step])]

    assert order(1, 0) == order(1, 0) != order(2, 0)
    assert order(1, 0) != order(1, 1)


def test_a_batch_holds_sequences_of_like_length() -> None:
    lengths = [1 + i % 40 for i in range(400)]
    batches = PaddedBatches({"x": _items(lengths)}, batch_size=8, seed=3)
    padding = sum(int((batches[step]["x"] == 0).sum()) for step in range(len(batches)))
    assert padding < 0.1 * sum(lengths)


def test_fields_are_padded_each_with_its_own() -> None:
    fields = {"x": [torch.tensor([5]), torch.tensor([6, 7])], "y": [torch.tensor([1]), torch.tensor([2, 3])]}
    batch = PaddedBatches(fields, batch_size=2, fill={"y": -100})[0]
    assert batch["x"].T.tolist() == [[6, 7], [5, 0]]
    assert batch["y"].T.tolist() == [[2, 3], [1, -100]]
    assert {tensor.dtype for tensor in batch.values()} == {torch.int64}


def test_features_keep_their_dtype_and_their_width() -> None:
    frames = [torch.randn(n, 3, dtype=torch.float32) for n in (2, 4)]
    batch = PaddedBatches({"frame": frames}, batch_size=2, fill={"frame": -1})[0]
    assert batch["frame"].shape == (4, 2, 3)
    assert batch["frame"].dtype == torch.float32
    assert torch.equal(batch["frame"][:, 0], frames[1])
    assert torch.equal(batch["frame"][:2, 1], frames[0])
    assert (batch["frame"][2:, 1] == -1).all()


@pytest.mark.parametrize(
    ("fields", "batch_size", "words"),
    [
        ({"x": []}, 1, "no sequences"),
        ({}, 1, "no sequences"),
        ({"x": [torch.ones(2)], "y": [torch.ones(3)]}, 1, "'y' differ in length"),
        ({"x": [torch.ones(2), torch.ones(0)]}, 1, "sequence 1 is empty"),
        ({"x": [torch.ones(2)]}, 0, "batch_size must be at least 1, got 0"),
    ],
)
def test_what_cannot_be_padded_is_refused(
    fields: dict[str, list[Tensor]], batch_size: int, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        PaddedBatches(fields, batch_size=batch_size)


def test_shards_must_be_even() -> None:
    batches = PaddedBatches({"x": _items([1, 2, 3])}, batch_size=4)
    with pytest.raises(ValueError, match="a batch of 4 cannot be shared evenly by 3"):
        batches.shard(0, 3)
    with pytest.raises(ValueError, match="rank must lie in"):
        batches.shard(2, 2)
    with pytest.raises(IndexError, match="counted from 0"):
        batches[-1]
