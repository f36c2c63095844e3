"""Derivatives on CUDA: by finite differences, of second order, of some arguments only, and in evaluation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck

import pyrnn
from pyrnn.ops import recurrent
from tests.helpers import CELLS, gradients, make_layer
from tests.ops.test_recurrent_tracing import RESET, operator_args

LENGTHS = torch.tensor([2, 0, 3])


@pytest.mark.parametrize(
    "options", [{}, {"lengths": LENGTHS, "checkpoint_every": 2, "reset": RESET[:3]}], ids=str
)
@pytest.mark.parametrize(("cell", "P"), [("rnn_tanh", None), ("gru", None), ("lstm", None), ("lstm", 2)])
def test_gradcheck(cell: str, P: int | None, options: dict[str, Any], device: str) -> None:
    layer = make_layer(cell, T=3, B=3, I=1, H=3, P=P, D=2).on(device)
    if "reset" in options:
        options = {**options, "reset": options["reset"].to(device)}

    def results(*leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(t for t in layer.with_leaves(leaves).run(recurrent, **options) if t.numel())

    assert gradcheck(results, layer.leaves, fast_mode=True)
    if not options:
        assert gradgradcheck(results, layer.leaves, fast_mode=True)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("wanted", ["input", "states", "weights"])
def test_some_gradients_are_those_of_all(cell: str, wanted: str, device: str) -> None:
    every = make_layer(cell, T=3, B=3, P=2 if cell == "lstm" else None, D=2).on(device)
    states = 2 if cell == "lstm" else 1
    among = {"input": [0], "states": range(1, 1 + states), "weights": range(1 + states, len(every.leaves))}
    all_of_them = gradients(every, every.run(recurrent, lengths=LENGTHS))
    some = every.trained()
    for n, leaf in enumerate(some.leaves):
        leaf.requires_grad_(n in among[wanted])
    some_of_them = gradients(some, some.run(recurrent, lengths=LENGTHS))
    for n, (grad, right) in enumerate(zip(some_of_them, all_of_them, strict=True)):
        assert (grad is None) == (n not in among[wanted])
        if grad is not None and right is not None:
            assert torch.equal(grad, right)


@pytest.mark.parametrize("Layer", [pyrnn.RNN, pyrnn.GRU, pyrnn.LSTM])
def test_backward_in_evaluation(Layer: type[pyrnn.GRU], device: str) -> None:
    layer = Layer(3, 5, 2, bidirectional=True, batch_first=True, dropout=0.5, device=device)
    input = torch.randn(2, 4, 3, device=device)
    layer.eval()
    output, _ = layer(input, lengths=[4, 2])
    output.square().sum().backward()
    grads = {name: p.grad for name, p in layer.named_parameters()}
    layer.zero_grad()
    assert all(grad is not None and grad.any() for grad in grads.values())
    again, _ = layer(input, lengths=torch.tensor([4, 2], device=device))
    assert torch.equal(again, output)


@pytest.mark.parametrize(
    ("cell", "P", "checkpoint_every"),
    [("rnn_relu", None, 0), ("gru", None, 2), ("lstm", None, 0), ("lstm", 2, 2)],
)
def test_opcheck(cell: str, P: int | None, checkpoint_every: int, device: str) -> None:
    layer = make_layer(cell, D=2, P=P, dtype=torch.float32).on(device)
    args = operator_args(layer, torch.tensor([2, 4, 0]).to(device), checkpoint_every, RESET.to(device))
    opcheck(torch.ops.pyrnn.recurrent.default, args)
    args = tuple(a.detach() if isinstance(a, Tensor) else a for a in args)
    # No comparison of values with a traced call: nobody writes the padding of the workspace.
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    opcheck(torch.ops.pyrnn._recurrent_fwd.default, args, test_utils=checks)
    out = torch.ops.pyrnn._recurrent_fwd(*args)
    backward_args = (
        *(torch.ones_like(out[0]), out[1], None, None, *args[:16], out[0], out[4]),
        *(*args[16:], [True, False, *[True] * 11]),
    )
    opcheck(torch.ops.pyrnn._recurrent_bwd.default, backward_args)


def test_compiled_training_is_one_graph(device: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(recurrent, fullgraph=True, backend="aot_eager")
    layer = make_layer("lstm", T=3, P=2, D=2).on(device)
    ours, eager = layer.run(compiled), layer.run(recurrent)
    torch.testing.assert_close(ours, eager, rtol=0, atol=0)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, eager), rtol=0, atol=0)
