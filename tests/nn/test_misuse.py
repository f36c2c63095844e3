"""What torch refuses, we refuse with the same type of error; what is ours alone, with words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import pyrnn
from tests.nn.pairs import CELLS, LAYERS


def error_of(function: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  which type it must be is torch's to say
        function()
    return caught.value


def assert_same_refusal(ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    refusal, expected = error_of(ours), error_of(theirs)
    assert type(refusal) is type(expected), f"{refusal!r} against torch's {expected!r}"


CONSTRUCTIONS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}),
    ((3,), {}),
    ((0, 4), {}),
    ((3, 0), {}),
    ((3, -1), {}),
    ((3.0, 4), {}),
    ((3, 4.0), {}),
    ((3, 4, 0), {}),
    ((3, 4, "2"), {}),
    ((3, 4, 1.5), {}),
    ((3, 4), {"bias": 1}),
    ((3, 4), {"batch_first": 1}),
    ((3, 4), {"dropout": 2}),
    ((3, 4), {"dropout": True}),
    ((3, 4), {"dropout": "half"}),
    ((3, 4), {"dropout": -0.1}),
    ((3, 4), {"proj_size": 4}),
    ((3, 4), {"proj_size": -1}),
    ((3, 4), {"nonlinearity": "sine"}),
    ((3, 4), {"window": 1}),
    ((3, 4), {"dtype": torch.int64}),
    ((3, 4), {"device": "nowhere"}),
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("args", "options"), CONSTRUCTIONS)
def test_construction(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    try:
        getattr(nn, name)(*args, **options)
    except Exception:  # noqa: BLE001  which type it must be is torch's to say
        assert_same_refusal(
            lambda: getattr(pyrnn, name)(*args, **options), lambda: getattr(nn, name)(*args, **options)
        )
    else:
        assert torch.__version__ < "2.9", "every later torch refuses it"
        getattr(pyrnn, name)(*args, **options)


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_projection_is_refused_even_if_it_is_none(name: str) -> None:
    with pytest.raises(ValueError, match="proj_size argument is only supported for LSTM"):
        getattr(pyrnn, name)(3, 4, proj_size=0)


def state(name: str, *shape: int, **options: Any) -> Any:
    tensor = torch.zeros(*shape, **options)
    return (tensor, tensor) if name.startswith("LSTM") else tensor


PACKED = pack_padded_sequence(torch.zeros(5, 3, 3), torch.tensor([5, 2, 4]), enforce_sorted=False)
X = torch.zeros(5, 2, 3)

LAYER_CALLS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "input 4-D": lambda _: (torch.zeros(1, 2, 3, 4),),
    "input 1-D": lambda _: (torch.zeros(3),),
    "no step": lambda _: (torch.zeros(0, 2, 3),),
    "no step, unbatched": lambda _: (torch.zeros(0, 3),),
    "input size": lambda _: (torch.zeros(5, 2, 4),),
    "input dtype": lambda _: (X.double(),),
    "input integers": lambda _: (X.long(),),
    "input device": lambda _: (X.to("meta"),),
    "state of unbatched input": lambda name: (X, state(name, 2, 4)),
    "state of batched input": lambda name: (X[:, 0], state(name, 2, 2, 4)),
    "state batch": lambda name: (X, state(name, 2, 3, 4)),
    "state layers": lambda name: (X, state(name, 1, 2, 4)),
    "state size": lambda name: (X, state(name, 2, 2, 5)),
    "state dtype": lambda name: (X, state(name, 2, 2, 4, dtype=torch.float64)),
    "state device": lambda name: (X, state(name, 2, 2, 4, device="meta")),
    "packed input size": lambda _: (PackedSequence(torch.zeros(5, 4), torch.tensor([3, 2])),),
    "packed state batch": lambda name: (PACKED, state(name, 2, 2, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("case", LAYER_CALLS)
def test_layer_call(name: str, case: str) -> None:
    args = LAYER_CALLS[case](name)
    assert_same_refusal(
        lambda: getattr(pyrnn, name)(3, 4, 2)(*args), lambda: getattr(nn, name)(3, 4, 2)(*args)
    )


def test_lstm_wants_two_states() -> None:
    h = torch.zeros(2, 2, 4)
    with pytest.raises(RuntimeError, match=r"expects two hidden states, hx = \(h_0, c_0\); got 3"):
        pyrnn.LSTM(3, 4, 2)(X, (h, h, h))
    with pytest.raises(TypeError, match=r"pair of Tensors \(h_0, c_0\), or None; got Tensor"):
        pyrnn.LSTM(3, 4, 2)(X, h)


def test_things_that_are_no_tensors() -> None:
    with pytest.raises(TypeError, match="a Tensor or a PackedSequence, got list"):
        pyrnn.GRU(3, 4)([1, 2])
    with pytest.raises(TypeError, match=r"hx must be a Tensor, .* got tuple"):
        pyrnn.GRU(3, 4)(X, (torch.zeros(1, 2, 4),))
    with pytest.raises(TypeError, match="expected input to be a Tensor, got NoneType"):
        pyrnn.GRUCell(3, 4)(None)


def test_packed_rows_that_do_not_add_up() -> None:
    """torch computes on the first rows and drops the others in silence."""
    with pytest.raises(ValueError, match="sum to the 6 rows of input"):
        pyrnn.GRU(3, 4)(PackedSequence(torch.zeros(6, 3), torch.tensor([3, 2])))


BAD_LENGTHS: list[tuple[Any, type[Exception], str]] = [
    ([5.0, 2.0], TypeError, "lengths to be integers, got torch.float32"),
    (torch.tensor([True, False]), TypeError, "lengths to be integers, got torch.bool"),
    ([5], ValueError, r"shape \(2,\), got \(1,\)"),
    ([5, 2, 1], ValueError, r"shape \(2,\), got \(3,\)"),
    ([[5], [2]], ValueError, r"shape \(2,\), got \(2, 1\)"),
    ([6, 2], ValueError, r"lie in \[0, T\] with T = 5, got values from 2 to 6"),
    ([-1, 2], ValueError, r"lie in \[0, T\] with T = 5, got values from -1 to 2"),
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("lengths", "error", "words"), BAD_LENGTHS)
def test_lengths(name: str, lengths: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(pyrnn, name)(3, 4)(X, lengths=lengths)


def test_lengths_where_they_have_no_place() -> None:
    gru = pyrnn.GRU(3, 4)
    with pytest.raises(ValueError, match="lengths and a PackedSequence exclude each other"):
        gru(PACKED, lengths=[5, 2, 4])
    with pytest.raises(ValueError, match="lengths need batched 3-D input"):
        gru(X[:, 0], lengths=[3])


def test_checkpoint_every() -> None:
    with pytest.raises(ValueError, match=r"must be 0 .* or a positive number of steps, got -1"):
        pyrnn.GRU(3, 4, checkpoint_every=-1)
    for wrong in (2.5, True, "8"):
        with pytest.raises(TypeError, match="checkpoint_every should be of type int"):
            pyrnn.LSTM(3, 4, checkpoint_every=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_only_an_lstm_has_cells(name: str) -> None:
    with pytest.raises(TypeError, match="return_cells"):
        getattr(pyrnn, name)(3, 4)(X, return_cells=True)


ROW = torch.zeros(2, 3)

CELL_CALLS: dict[str, Callable[[str], tuple[Any, ...]]] = {
    "input 3-D": lambda _: (X,),
    "input 0-D": lambda _: (torch.zeros(()),),
    "input size": lambda _: (torch.zeros(2, 5),),
    "input size, unbatched": lambda _: (torch.zeros(5),),
    "input dtype": lambda _: (ROW.double(),),
    "state batch": lambda name: (ROW, state(name, 3, 4)),
    "state batch of one": lambda name: (ROW, state(name, 1, 4)),
    "state size": lambda name: (ROW, state(name, 2, 5)),
    "state 1-D of batched input": lambda name: (ROW, state(name, 4)),
    "state 2-D of unbatched input": lambda name: (ROW[0], state(name, 1, 4)),
    "state 3-D": lambda name: (ROW, state(name, 1, 2, 4)),
    "state dtype": lambda name: (ROW, state(name, 2, 4, dtype=torch.float64)),
    "state device": lambda name: (ROW, state(name, 2, 4, device="meta")),
}


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("case", CELL_CALLS)
def test_cell_call(name: str, case: str) -> None:
    args = CELL_CALLS[case](name)
    assert_same_refusal(lambda: getattr(pyrnn, name)(3, 4)(*args), lambda: getattr(nn, name)(3, 4)(*args))


def test_lstm_cell_wants_two_states() -> None:
    h: Tensor = torch.zeros(2, 4)
    for hx in (h, (h,), (h, h, h)):
        assert_same_refusal(
            lambda hx=hx: pyrnn.LSTMCell(3, 4)(ROW, hx), lambda hx=hx: nn.LSTMCell(3, 4)(ROW, hx)
        )


def test_cell_with_an_unknown_nonlinearity() -> None:
    """As in torch, the constructor lets it pass and the call refuses it."""
    assert_same_refusal(
        lambda: pyrnn.RNNCell(3, 4, nonlinearity="sine")(ROW),
        lambda: nn.RNNCell(3, 4, nonlinearity="sine")(ROW),
    )
