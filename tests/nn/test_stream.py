"""Streams: pieces give the bits of the whole; rows are selected and begin anew."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import pyrnn
from pyrnn.nn import Stream

LAYERS = ["RNN", "GRU", "LSTM"]


def layer_of(name: str, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(pyrnn, name)(3, 6, num_layers=2, **options)


def parts(state: Any) -> tuple[Tensor, ...]:
    return (state,) if isinstance(state, Tensor) else tuple(state)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.integers(1, 8), min_size=6, max_size=12),
    st.integers(1, 5),
    st.sampled_from(LAYERS),
    st.booleans(),
)
def test_pieces_have_the_bits_of_the_whole(sizes: list[int], B: int, name: str, batch_first: bool) -> None:
    layer = layer_of(name, batch_first=batch_first)
    sizes = [*sizes, 17]  # the whole is more than the few tokens whose weights are used where they lie
    x = torch.randn(sum(sizes), B, 3)
    dim, x = (1, x.transpose(0, 1)) if batch_first else (0, x)
    stream = Stream(layer)
    found = torch.cat([stream(piece) for piece in x.split(sizes, dim)], dim)
    output, state = layer(x)
    assert torch.equal(found, output)
    assert not found.requires_grad
    for mine, theirs in zip(parts(stream.state), parts(state), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", LAYERS)
def test_rows_that_begin_anew_or_go_on(name: str) -> None:
    """As separate streams, of which some are replaced."""
    layer, first, second = layer_of(name), torch.randn(20, 4, 3), torch.randn(20, 4, 3)
    stream = Stream(layer)
    stream(first)
    held = stream.state
    copy = [part.clone() for part in parts(held)]
    stream.reset([1, 3])
    reset = stream(second)
    anew, on = layer(second)[0], layer(torch.cat([first, second]))[0][20:]
    for row in range(4):
        torch.testing.assert_close(reset[:, row], (anew if row in (1, 3) else on)[:, row])
    for part, before in zip(parts(held), copy, strict=True):
        assert torch.equal(part, before)  # who kept the state of before has it
    stream = Stream(layer, held)
    stream.select(torch.tensor([2, 2, 0]))
    torch.testing.assert_close(stream(second[:, [2, 2, 0]]), on[:, [2, 2, 0]])
    stream = Stream(layer, held)
    stream.select(torch.tensor([True, False, False, True]))
    torch.testing.assert_close(stream(second[:, [0, 3]]), on[:, [0, 3]])
    stream.select([])
    assert all(part.shape[1] == 0 for part in parts(stream.state))
    stream.reset()
    assert stream.state is None
    stream.reset([0])
    stream.select([0])
    torch.testing.assert_close(stream(second), anew)


def test_a_module_around_layers_and_torch_s() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lower, self.upper, self.head = pyrnn.GRU(3, 5), pyrnn.LSTM(5, 4), nn.Linear(4, 2)

        def forward(self, x: Any, state: Any = None) -> Any:
            lower, upper = (None, None) if state is None else state
            x, lower = self.lower(x, lower)
            x, upper = self.upper(x, upper)
            return self.head(x), [lower, upper]

    x = torch.randn(30, 4, 3)
    for module in (Model(), nn.LSTM(3, 5)):
        stream = Stream(module)
        found = torch.cat([stream(piece) for piece in x.split([11, 1, 18])])
        torch.testing.assert_close(found, module(x)[0])
        stream.reset([0])
        stream.select([0, 1])
        assert stream(x[:, :2]).shape[:2] == (30, 2)


def test_one_stream_without_a_batch() -> None:
    layer, x = layer_of("GRU"), torch.randn(30, 3)
    stream = Stream(layer)
    assert torch.equal(torch.cat([stream(piece) for piece in x.split([1, 10, 19])]), layer(x)[0])
    with pytest.raises(ValueError, match=r"one stream only: give the layer input with a batch"):
        stream.select([0])
    with pytest.raises(ValueError, match="one stream only"):
        stream.reset([0])
    stream.reset()


@pytest.mark.parametrize(
    "rows", [torch.tensor(1), torch.tensor([0.5]), [[0]], torch.zeros(1, dtype=torch.complex64)]
)
def test_rows_that_are_none(rows: Any) -> None:
    stream = Stream(layer_of("LSTM"))
    stream(torch.randn(2, 3, 3))
    for change in (stream.select, stream.reset):
        with pytest.raises(ValueError, match="rows must be a vector of integers or bool"):
            change(rows)


def test_layers_that_read_backwards() -> None:
    with pytest.raises(ValueError, match="one direction, got a bidirectional one: the layer"):
        Stream(pyrnn.GRU(3, 4, bidirectional=True))
    with pytest.raises(ValueError, match="bidirectional one: 1"):
        Stream(nn.Sequential(nn.Linear(3, 3), nn.LSTM(3, 4, bidirectional=True)))
