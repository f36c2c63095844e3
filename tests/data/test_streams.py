import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.data import StreamBatches, open_tokens, write_tokens
from pyrnn.losses import IGNORE


def _pairs_by_stream(batches: StreamBatches) -> list[list[tuple[int, int]]]:
    inputs, targets = (torch.cat([batch[name] for batch in batches]) for name in ("input", "target"))
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
    shapes = [window["input"].shape for window in batches]
    assert len(shapes) == len(batches)
    assert all(shape == (window, batch) for shape in shapes[:-1])
    assert 1 <= shapes[-1][0] <= window


def test_a_row_continues_in_the_next_window() -> None:
    batches = StreamBatches(torch.arange(41), batch_size=4, window=5)
    assert torch.equal(batches[0]["target"][-1], batches[1]["input"][0])


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_narrow_ids_become_int64(dtype: torch.dtype) -> None:
    window = StreamBatches(torch.arange(9, dtype=dtype), batch_size=2, window=4)[0]
    assert window["input"].dtype == window["target"].dtype == torch.int64


def test_the_shortest_text_that_fills_a_window_is_accepted() -> None:
    assert len(StreamBatches(torch.arange(13), batch_size=3, window=4)) == 1
    with pytest.raises(ValueError, match=r"has 12 tokens, too few for one window: .* need 13"):
        StreamBatches(torch.arange(12), batch_size=3, window=4)


def test_an_empty_text_is_refused() -> None:
    with pytest.raises(ValueError, match="has 0 tokens"):
        StreamBatches(torch.arange(0), batch_size=1, window=1)


@pytest.mark.parametrize("ids", [torch.zeros(9), torch.zeros(3, 3, dtype=torch.int64)])
def test_ids_must_be_a_vector_of_integers(ids: Tensor) -> None:
    with pytest.raises(ValueError, match="vector of integers"):
        StreamBatches(ids, batch_size=1, window=1)


@pytest.mark.parametrize("sizes", [(0, 1), (1, 0)])
def test_sizes_below_one_are_refused(sizes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        StreamBatches(torch.arange(9), batch_size=sizes[0], window=sizes[1])


def test_a_step_before_the_first_is_refused() -> None:
    with pytest.raises(IndexError, match="counted from 0, got -1"):
        StreamBatches(torch.arange(25), batch_size=2, window=4)[-1]


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
    assert batches[len(batches) // 2]["input"].shape == (32, 8)
    assert _resident_bytes() - before < 4 * count // 4


@given(batch=st.integers(1, 7), window=st.integers(1, 9), extra=st.integers(0, 60))
def test_a_file_gives_the_same_windows(
    tmp_path_factory: pytest.TempPathFactory, batch: int, window: int, extra: int
) -> None:
    ids = torch.randint(50, (batch * window + 1 + extra,))
    path = tmp_path_factory.getbasetemp() / "streams.bin"
    write_tokens(path, [ids])
    sizes = {"batch_size": batch, "window": window}
    of_file = StreamBatches(open_tokens(path, 50), **sizes)
    for one, same in zip(StreamBatches(ids, **sizes), of_file, strict=True):
        assert all(torch.equal(one[name], same[name]) for name in one)
