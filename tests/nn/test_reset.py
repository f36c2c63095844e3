"""Resets inside a sequence: layers over several episodes in one call, each as if it were called alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
from tests.nn.pairs import LAYERS, assert_same, gradients, pair, random_state

T, B = 7, 3
RESET = torch.zeros(T, B, dtype=torch.bool)
RESET[[3, 0, 5, 6], [0, 1, 1, 1]] = True
X = torch.randn(T, B, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def by_steps(layer: nn.RNNBase, x: Tensor, hx: Any, reset: Tensor) -> tuple[Tensor, Any]:
    """torch's layer [T, B, I] as agents call it: a step at a time, the state times 0 at each reset."""
    pair_of_states = isinstance(hx, tuple)
    outputs = []
    for step, starts in zip(x.split(1), reset, strict=True):
        keep = (~starts)[:, None].to(x)
        hx = tuple(keep * state for state in hx) if pair_of_states else keep * hx
        output, hx = layer(step, hx)
        outputs.append(output)
    return torch.cat(outputs), hx


def pieces(row: int) -> list[tuple[int, int]]:
    starts = sorted({0, *RESET[:, row].nonzero().flatten().tolist()})
    return list(zip(starts, [*starts[1:], T], strict=True))


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"checkpoint_every": 2}], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_rollout_equals_a_loop_over_its_steps(
    name: str, batch_first: bool, options: dict[str, int]
) -> None:
    ours = getattr(pyrnn, name)(3, 4, batch_first=batch_first, dtype=torch.float64, **options)
    theirs = getattr(nn, name)(3, 4, options.get("num_layers", 1), dtype=torch.float64)
    theirs.load_state_dict(ours.state_dict())
    hx = random_state(ours, B)
    mine, theirs_input = (X.clone().requires_grad_() for _ in range(2))
    first, reset = (mine.transpose(0, 1), RESET.T) if batch_first else (mine, RESET)
    output, state = ours(first, hx, reset=reset)
    result = (output.transpose(0, 1) if batch_first else output, state)
    exact = by_steps(theirs, theirs_input, hx, RESET)
    assert_same(result, exact)
    assert_same(gradients(ours, result, mine), gradients(theirs, exact, theirs_input))


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("name", LAYERS)
def test_a_bidirectional_stack_runs_each_episode_alone(name: str, batch_first: bool) -> None:
    theirs, ours = pair(name, 3, 4, 2, bidirectional=True, batch_first=batch_first)
    x, reset = (X.transpose(0, 1), RESET.T) if batch_first else (X, RESET)
    output = ours(x, reset=reset)[0]
    output = output.transpose(0, 1) if batch_first else output
    for row in range(B):
        for start, stop in pieces(row):
            alone = theirs(X[start:stop, row])[0]
            torch.testing.assert_close(output[start:stop, row], alone)


@pytest.mark.parametrize("name", LAYERS)
def test_an_unbatched_input_has_unbatched_resets(name: str) -> None:
    _, ours = pair(name, 3, 4, 2, bidirectional=True)
    hx = random_state(ours, None)
    batch_hx = tuple(state.unsqueeze(1) for state in hx) if name == "LSTM" else hx.unsqueeze(1)
    output, _ = ours(X[:, 1], hx, reset=RESET[:, 1])
    assert_same(output, ours(X[:, 1:2], batch_hx, reset=RESET[:, 1:2])[0].squeeze(1))


def test_lengths_cells_and_projection() -> None:
    _, ours = pair("LSTM", 3, 4, 2, bidirectional=True, proj_size=2)
    output, _, cells = ours(X, lengths=[7, 6, 2], reset=RESET, return_cells=True)
    alone, _, alone_cells = ours(X[5:6, 1:2], return_cells=True)
    assert_same((output[5, 1], cells[5, 1]), (alone[0, 0], alone_cells[0, 0]))
    assert not output[6, 1].any()
    beyond = RESET.clone()
    beyond[2:, 2] = True
    assert_same(ours(X, lengths=[7, 6, 2], reset=beyond)[0], output)


@pytest.mark.parametrize("name", LAYERS)
def test_one_step_at_a_time_is_the_whole(name: str) -> None:
    """Collecting a rollout and training on it are the same numbers."""
    _, ours = pair(name, 3, 4)
    hx, outputs = random_state(ours, B), []
    whole = ours(X, hx, reset=RESET)
    for step, starts in zip(X.split(1), RESET.split(1), strict=True):
        output, hx = ours(step, hx, reset=starts)
        outputs.append(output)
    assert_same((torch.cat(outputs), hx), whole)


@pytest.mark.parametrize("name", LAYERS)
def test_compiled_in_one_graph(name: str) -> None:
    torch.compiler.reset()
    _, ours = pair(name, 3, 4, 2, bidirectional=True, batch_first=True)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    call = {"reset": RESET.T, "lengths": torch.tensor([7, 6, 2])}
    eager, result = ours(X.transpose(0, 1), **call), compiled(X.transpose(0, 1), **call)
    assert_same(result, eager)
    assert_same(gradients(ours, result), gradients(ours, eager))


def test_explained() -> None:
    told = pyrnn.explain(pyrnn.GRU(3, 4), X.float(), reset=RESET)
    assert told.layers[0].path == "native"


BAD_RESETS: list[tuple[Any, Any, type[Exception], str]] = [
    (X, RESET.double(), TypeError, r"must be bool, .*got torch.float64; convert it with reset.bool"),
    (X, RESET.T, ValueError, r"input's shape without its features, \(7, 3\), got \(3, 7\)"),
    (X, RESET[:, 0], ValueError, r"\(7, 3\), got \(7,\)"),
    (X[:, 0], RESET, ValueError, r"\(7,\), got \(7, 3\)"),
    (X, RESET.tolist(), TypeError, "reset must be a dense strided tensor, got list"),
    (X, RESET.to("meta"), ValueError, "not at the same device"),
    (nn.utils.rnn.pack_sequence([X[:, 0]]), RESET[:, :1], ValueError, "does not go with a PackedSequence"),
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("input", "reset", "error", "words"), BAD_RESETS)
def test_bad_resets_have_words(name: str, input: Any, reset: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(pyrnn, name)(3, 4, dtype=torch.float64)(input, reset=reset)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_single_step_is_that_of_a_rollout(name: str, batch_first: bool) -> None:
    """As an agent walks: the same numbers and gradients, NaN of an ended episode left behind."""
    torch.manual_seed(0)
    layer = getattr(pyrnn, name)(3, 5, 2, batch_first=batch_first, dtype=torch.float64)
    x, starts = torch.randn(9, 4, 3, dtype=torch.float64), torch.rand(9, 4) < 0.4
    first = torch.randn(2, 4, 5, dtype=torch.float64)
    first[:, 1] = torch.nan
    starts[0, 1] = True
    state: Any = (first, first) if name == "LSTM" else first

    def ordered(tensor: Tensor) -> Tensor:
        return tensor.transpose(0, 1) if batch_first else tensor

    whole, _ = layer(ordered(x), state, reset=ordered(starts))
    whole.sum().backward()
    expected = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    outputs = []
    for step, start in zip(x.split(1), starts.split(1), strict=True):
        output, state = layer(ordered(step), state, reset=ordered(start))
        outputs.append(ordered(output))
    found = torch.cat(outputs)
    torch.testing.assert_close(found, ordered(whole))
    found.sum().backward()
    torch.testing.assert_close([p.grad for p in layer.parameters()], expected)


@pytest.mark.parametrize(
    "reset",
    [torch.zeros(1, 4), torch.zeros(1, 3, dtype=torch.bool), torch.zeros(2, 4, dtype=torch.bool), [True]],
)
def test_a_single_step_refuses_what_a_rollout_does(reset: Any) -> None:
    layer, x = pyrnn.GRU(3, 5), torch.randn(1, 4, 3)
    with pytest.raises((TypeError, ValueError), match="reset"):
        layer(x, torch.zeros(1, 4, 5), reset=reset)
    with pytest.raises(RuntimeError, match=r"Expected hidden size"):
        layer(x, torch.zeros(1, 3, 5), reset=torch.ones(1, 4, dtype=torch.bool))


def test_a_single_step_of_no_length_keeps_its_state() -> None:
    layer, first = pyrnn.GRU(3, 5), torch.randn(1, 2, 5)
    _, last = layer(torch.randn(1, 2, 3), first, lengths=[0, 1], reset=torch.ones(1, 2, dtype=torch.bool))
    assert torch.equal(last[:, 0], first[:, 0])
