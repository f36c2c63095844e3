import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.text import IGNORE, StreamBatches, open_tokens, split_validation, write_tokens


def _pairs_by_stream(batches: StreamBatches) -> list[list[tuple[int, int]]]:
    inputs, targets = (torch.cat(part) for part in zip(*batches, strict=True))
    return [
        [(x, y) for x, y in zip(column_x, column_y, strict=True) if y != IGNORE]
        for column_x, column_y in zip(inputs.T.tolist(), targets.T.tolist(), strict=True)
    ]


@given(batch=st.integers(1, 7), window=st.integers(1, 9), extra=st.integers(0, 60))
def test_every_pair_occurs_once_and_in_order(batch: int, window: int, extra: int) -> None:
    n = batch * window + 1 + extra
    batches = StreamBatches(torch.arange(n), batch_size=batch, window=window)
    streams = _pairs_by_stream(batches)
    assert [pair for stream in streams for pair in stream] == [(i, i + 1) for i in range(n - 1)]
    lengths = [len(stream) for stream in streams]
    assert max(lengths) - min(lengths) <= 1
    assert batches.pairs == n - 1


@given(batch=st.integers(1, 5), window=st.integers(1, 6), extra=st.integers(0, 30))
def test_all_windows_but_the_last_are_full(batch: int, window: int, extra: int) -> None:
    batches = StreamBatches(torch.arange(batch * window + 1 + extra), batch_size=batch, window=window)
    shapes = [inputs.shape for inputs, _ in batches]
    assert len(shapes) == len(batches)
    assert all(shape == (window, batch) for shape in shapes[:-1])
    assert 1 <= shapes[-1][0] <= window


def test_a_row_continues_in_the_next_window() -> None:
    batches = StreamBatches(torch.arange(41), batch_size=4, window=5)
    (_, first_targets), (second_inputs, _) = batches[0], batches[1]
    assert torch.equal(first_targets[-1], second_inputs[0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_narrow_ids_become_int64(dtype: torch.dtype) -> None:
    inputs, targets = StreamBatches(torch.arange(9, dtype=dtype), batch_size=2, window=4)[0]
    assert inputs.dtype == targets.dtype == torch.int64


def test_the_shortest_text_that_fills_a_window_is_accepted() -> None:
    assert len(StreamBatches(torch.arange(13), batch_size=3, window=4)) == 1
    with pytest.raises(ValueError, match=r"has 12 symbols, too few for one window: .* need 13"):
        StreamBatches(torch.arange(12), batch_size=3, window=4)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(ValueError, match="has 0 symbols"):
        StreamBatches(torch.arange(0), batch_size=1, window=1)


@pytest.mark.parametrize("ids", [torch.zeros(9), torch.zeros(3, 3, dtype=torch.int64)])
def test_ids_must_be_a_vector_of_integers(ids: Tensor) -> None:
    with pytest.raises(ValueError, match="vector of integers"):
        StreamBatches(ids, batch_size=1, window=1)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        StreamBatches(torch.arange(9), batch_size=sizes[0], window=sizes[1])


@pytest.mark.parametrize("index", [-1, 3])
def test_a_window_outside_the_text_is_refused(index: int) -> None:
    with pytest.raises(IndexError, match=r"outside \[0, 3\)"):
        StreamBatches(torch.arange(25), batch_size=2, window=4)[index]


@pytest.mark.parametrize(("n", "held_out"), [(10, 1), (100_000, 10_000), (839_045, 83_904)])
def test_validation_is_the_end_of_the_text(n: int, held_out: int) -> None:
    train, validation = split_validation(torch.arange(n))
    assert len(validation) == held_out
    assert torch.equal(torch.cat([train, validation]), torch.arange(n))


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_outside_its_range_is_refused(fraction: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        split_validation(torch.arange(10), fraction)


# ---- windows counted and shared ------------------------------------------------------------------


@given(batch=st.integers(1, 7), window=st.integers(1, 9), extra=st.integers(0, 60))
def test_window_symbols_counts_the_targets_that_are_not_ignored(batch: int, window: int, extra: int) -> None:
    batches = StreamBatches(torch.arange(batch * window + 1 + extra), batch_size=batch, window=window)
    counts = [batches.window_symbols(i) for i in range(len(batches))]
    assert counts == [int((targets != IGNORE).sum()) for _, targets in batches]
    assert sum(counts) == batches.pairs


@given(world=st.integers(1, 4), columns=st.integers(1, 3), window=st.integers(1, 7), extra=st.integers(0, 40))
def test_shards_side_by_side_are_the_whole(world: int, columns: int, window: int, extra: int) -> None:
    batch = world * columns
    whole = StreamBatches(torch.arange(batch * window + 1 + extra), batch_size=batch, window=window)
    shards = [whole.shard(rank, world) for rank in range(world)]
    for shard in shards:
        assert (shard.batch_size, len(shard), shard.pairs) == (columns, len(whole), whole.pairs)
    for i in range(len(whole)):
        parts = [shard[i] for shard in shards]
        assert torch.equal(torch.cat([inputs for inputs, _ in parts], 1), whole[i][0])
        assert torch.equal(torch.cat([targets for _, targets in parts], 1), whole[i][1])
        assert {shard.window_symbols(i) for shard in shards} == {whole.window_symbols(i)}


def test_a_shard_leaves_the_whole_as_it_was() -> None:
    whole = StreamBatches(torch.arange(25), batch_size=4, window=3)
    before = [(inputs.clone(), targets.clone()) for inputs, targets in whole]
    whole.shard(1, 2)
    assert whole.batch_size == 4
    assert all(
        torch.equal(a, b) for x, y in zip(whole, before, strict=True) for a, b in zip(x, y, strict=True)
    )


def test_a_shard_of_a_shard_is_a_part_of_it() -> None:
    whole = StreamBatches(torch.arange(25), batch_size=4, window=3)
    nested = whole.shard(1, 2).shard(0, 2)
    assert torch.equal(nested[0][0], whole[0][0][:, 2:3])
    assert nested.window_symbols(0) == whole.window_symbols(0)


def test_streams_that_do_not_divide_are_refused() -> None:
    whole = StreamBatches(torch.arange(25), batch_size=4, window=3)
    with pytest.raises(ValueError, match=r"4 streams cannot be shared evenly by 3 .* multiple of 3"):
        whole.shard(0, 3)


@pytest.mark.parametrize(("rank", "world"), [(-1, 2), (2, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank: int, world: int) -> None:
    with pytest.raises(ValueError, match="rank must lie in"):
        StreamBatches(torch.arange(25), batch_size=4, window=3).shard(rank, world)


@pytest.mark.parametrize("index", [-1, 3])
def test_symbols_of_a_window_outside_the_text_are_refused(index: int) -> None:
    with pytest.raises(IndexError, match=r"outside \[0, 3\)"):
        StreamBatches(torch.arange(25), batch_size=2, window=4).window_symbols(index)


def _resident_bytes() -> int:
    """Memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_a_window_reads_only_its_own_ids(tmp_path: Path) -> None:
    count = 16 << 20
    path = tmp_path / "tokens.bin"
    with path.open("wb") as file:
        file.truncate(4 * count)  # a hole: the disk holds nothing of it
    batches = StreamBatches(open_tokens(path, 5), batch_size=8, window=32)
    batches[0]
    before = _resident_bytes()
    inputs, _ = batches[len(batches) // 2]
    assert inputs.shape == (32, 8)
    assert _resident_bytes() - before < 4 * count // 4


@given(batch=st.integers(1, 7), window=st.integers(1, 9), extra=st.integers(0, 60))
def test_a_file_gives_the_same_windows(
    tmp_path_factory: pytest.TempPathFactory, batch: int, window: int, extra: int
) -> None:
    ids = torch.randint(50, (batch * window + 1 + extra,))
    path = tmp_path_factory.getbasetemp() / "streams.bin"
    write_tokens(path, [ids])
    sizes = {"batch_size": batch, "window": window}
    for (x, y), (a, b) in zip(
        StreamBatches(ids, **sizes), StreamBatches(open_tokens(path, 50), **sizes), strict=True
    ):
        assert torch.equal(x, a)
        assert torch.equal(y, b)
