"""What torch's layers lack: lengths, cell states of every step, recomputation, long sequences."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import pyrnn
from tests.nn.pairs import LAYERS, assert_same, gradients, pair, random_state


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(LAYERS),
    st.lists(st.integers(1, 6), min_size=1, max_size=5),
    st.booleans(),
    st.booleans(),
    st.integers(1, 2),
)
def test_lengths_equal_torch_packed(
    name: str, lengths: list[int], batch_first: bool, bidirectional: bool, num_layers: int
) -> None:
    options = {"batch_first": batch_first, "bidirectional": bidirectional, "num_layers": num_layers}
    theirs, ours = pair(name, 3, 5, **options)
    T, B = 6, len(lengths)
    x = torch.randn(*((B, T) if batch_first else (T, B)), 3, dtype=torch.float64, requires_grad=True)
    hx = random_state(theirs, B)
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    output, state = theirs(packed, hx)
    output, _ = pad_packed_sequence(output, batch_first, total_length=T)
    result = ours(x, hx, lengths=lengths)
    assert_same(result, (output, state))
    assert_same(gradients(ours, result, x), gradients(theirs, (output, state), x))


@pytest.mark.parametrize("name", LAYERS)
def test_lengths_of_any_integer_type(name: str) -> None:
    _, ours = pair(name, 3, 4)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    expected = ours(x, lengths=torch.tensor([2, 5, 3]))
    for lengths in ([2, 5, 3], (2, 5, 3), torch.tensor([2, 5, 3], dtype=torch.int32)):
        assert_same(ours(x, lengths=lengths), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_sequence_keeps_its_state(name: str) -> None:
    _, ours = pair(name, 3, 4, bidirectional=True)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    hx = random_state(ours, 3)
    output, state = ours(x, hx, lengths=[0, 5, 0])
    assert not output[:, [0, 2]].any()
    for final, first in zip(*(s if isinstance(s, tuple) else (s,) for s in (state, hx)), strict=True):
        assert torch.equal(final[:, [0, 2]], first[:, [0, 2]])


@pytest.mark.parametrize("name", LAYERS)
def test_an_empty_batch_has_an_empty_list_of_lengths(name: str) -> None:
    _, ours = pair(name, 3, 4)
    assert ours(torch.zeros(5, 0, 3, dtype=torch.float64), lengths=[])[0].shape == (5, 0, 4)


@pytest.mark.parametrize("name", LAYERS)
def test_padding_has_no_influence(name: str) -> None:
    _, ours = pair(name, 3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    poisoned = x.clone()
    poisoned[3:, 0] = torch.nan
    assert_same(ours(poisoned, lengths=[3, 5]), ours(x, lengths=[3, 5]))


@pytest.mark.parametrize("name", LAYERS)
def test_backward_in_eval_mode(name: str) -> None:
    theirs, ours = pair(name, 3, 4, 2, dropout=0.5)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    results = [module.eval()(x) for module in (ours, theirs)]
    assert_same(gradients(ours, results[0], x), gradients(theirs, results[1], x))


def stepwise_cells(lstm: Any, x: Tensor) -> Tensor:
    """The cell states [T, B, H] of a one-directional LSTM, from one call for each step."""
    hx, cells = None, []
    for t in range(x.shape[0]):
        _, hx = lstm(x[t : t + 1], hx)
        cells.append(hx[1][-1])
    return torch.stack(cells)


@pytest.mark.parametrize("proj_size", [0, 2])
def test_cells_of_every_step(proj_size: int) -> None:
    theirs, ours = pair("LSTM", 3, 4, 2, proj_size=proj_size)
    x = torch.randn(5, 2, 3, dtype=torch.float64, requires_grad=True)
    output, (h_n, c_n), cells = ours(x, return_cells=True)
    assert_same((output, (h_n, c_n)), ours(x))
    expected = stepwise_cells(theirs, x)
    assert_same(cells, expected)
    assert_same(gradients(ours, cells, x)[:5], gradients(theirs, expected, x)[:5])


def test_cells_come_laid_out_as_the_input() -> None:
    _, ours = pair("LSTM", 3, 4, bidirectional=True, proj_size=2)
    x = torch.randn(5, 3, 3, dtype=torch.float64)
    _, _, padded = ours(x, lengths=[2, 5, 3], return_cells=True)
    assert padded.shape == (5, 3, 8)
    packed_x = pack_padded_sequence(x, torch.tensor([2, 5, 3]), enforce_sorted=False)
    _, _, packed = ours(packed_x, return_cells=True)
    assert isinstance(packed, PackedSequence)
    assert_same(pad_packed_sequence(packed)[0], padded)
    _, _, unbatched = ours(x[:, 1], return_cells=True)
    assert_same(unbatched, padded[:, 1])
    ours.batch_first = True
    _, _, batch_first = ours(x.transpose(0, 1), lengths=[2, 5, 3], return_cells=True)
    assert_same(batch_first, padded.transpose(0, 1))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("checkpoint_every", [1, 2, 3, 100])
def test_recomputing_changes_nothing(name: str, checkpoint_every: int) -> None:
    _, keeping = pair(name, 3, 4, 2, bidirectional=True)
    options = {"bidirectional": True, "dtype": torch.float64, "checkpoint_every": checkpoint_every}
    recomputing = getattr(pyrnn, name)(3, 4, 2, **options)
    recomputing.load_state_dict(keeping.state_dict())
    x = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    results = [layer(x, lengths=[7, 4]) for layer in (recomputing, keeping)]
    assert_same(*results)
    assert_same(gradients(recomputing, results[0], x), gradients(keeping, results[1], x))


def test_checkpoint_every_shows_and_can_be_changed() -> None:
    layer = pyrnn.LSTM(3, 4, checkpoint_every=8)
    assert repr(layer) == "LSTM(3, 4, checkpoint_every=8)"
    layer.checkpoint_every = 0
    assert repr(layer) == "LSTM(3, 4)"


def test_more_steps_than_65535() -> None:
    _, ours = pair("GRU", 1, 2)
    x = torch.randn(70_000, 1, 1, dtype=torch.float64)
    with torch.no_grad():
        output, h_n = ours(x)
        first, h = ours(x[:40_000])
        second, h = ours(x[40_000:], h)
    assert_same((output, h_n), (torch.cat([first, second]), h))


@pytest.mark.parametrize("packed", [False, True])
def test_locked_dropout_draws_one_mask_a_sequence(packed: bool) -> None:
    # An identity-like second layer would hide nothing: with zero weights and relu its input is its output.
    torch.manual_seed(0)
    layer = pyrnn.RNN(3, 3, 2, nonlinearity="relu", dropout=0.5, locked_dropout=True)
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            parameter.copy_(torch.eye(3) if name.startswith("weight_ih") else torch.zeros_like(parameter))
    x = torch.ones(6, 50, 3)
    lengths = torch.randint(1, 7, (50,)).sort(descending=True).values
    rows = layer(pack_padded_sequence(x, lengths))[0] if packed else layer(x)[0]
    output = pad_packed_sequence(rows)[0] if packed else rows
    seen = output[0]  # every sequence's first step shows its mask
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    steps = torch.arange(output.shape[0]).unsqueeze(1)
    there = steps < lengths if packed else steps < 6
    assert torch.equal(output, seen * there.unsqueeze(-1).expand_as(output))
    layer.eval()
    assert (layer(x)[0] == 1).all()


def test_locked_dropout_shows_and_is_kept() -> None:
    layer = pyrnn.GRU(3, 4, 2, dropout=0.5, locked_dropout=True)
    assert repr(layer) == "GRU(3, 4, num_layers=2, dropout=0.5, locked_dropout=True)"
    assert pickle.loads(pickle.dumps(layer)).locked_dropout
    assert copy.deepcopy(layer).locked_dropout
    with pytest.raises(TypeError, match="locked_dropout should be of type bool, got: int"):
        pyrnn.LSTM(3, 4, locked_dropout=1)  # type: ignore[arg-type]
