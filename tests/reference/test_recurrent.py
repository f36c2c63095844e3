"""The reference against torch.nn, and its own derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyrnn.reference import recurrent
from tests.helpers import CELLS, gradients, make_layer, torch_recurrent

CLOSE: dict[str, Any] = {"rtol": 1e-10, "atol": 1e-12}


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_torch_forward_and_backward(cell: str, D: int, bias: bool) -> None:
    layer = make_layer(cell, D=D, bias=bias, requires_grad=True)
    ours, theirs = layer.run(recurrent), torch_recurrent(layer)
    torch.testing.assert_close(ours[:3], theirs[:3], **CLOSE)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, theirs), **CLOSE)


@pytest.mark.parametrize("D", [1, 2])
def test_projection_equals_torch(D: int) -> None:
    layer = make_layer("lstm", D=D, P=2, requires_grad=True)
    ours, theirs = layer.run(recurrent), torch_recurrent(layer)
    torch.testing.assert_close(ours[:3], theirs[:3], **CLOSE)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, theirs), **CLOSE)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_equal_torch_packed(cell: str, batch_first: bool) -> None:
    layer = make_layer(cell, D=2, batch_first=batch_first, requires_grad=True)
    lengths = torch.tensor([2, 4, 1])
    ours = layer.run(recurrent, lengths=lengths, batch_first=batch_first)
    theirs = torch_recurrent(layer, lengths=lengths, batch_first=batch_first)
    torch.testing.assert_close(ours[:3], theirs[:3], **CLOSE)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, theirs), **CLOSE)


@pytest.mark.parametrize("cell", CELLS)
def test_packed_rows_equal_lengths(cell: str) -> None:
    layer = make_layer(cell, D=2)
    lengths = torch.tensor([4, 2, 1])
    padded = layer.run(recurrent, lengths=lengths, return_cells=True)
    packed = torch.nn.utils.rnn.pack_padded_sequence(layer.input, lengths)
    ours = recurrent(
        cell,
        packed.data,
        layer.h0,
        layer.c0,
        layer.weights,
        batch_sizes=packed.batch_sizes,
        return_cells=True,
    )
    rows = [torch.nn.utils.rnn.pack_padded_sequence(padded.output, lengths).data, padded.h_n, padded.c_n]
    torch.testing.assert_close(list(ours[:3]), rows)
    if cell == "lstm":
        torch.testing.assert_close(
            ours.cells, torch.nn.utils.rnn.pack_padded_sequence(padded.cells, lengths).data
        )


def test_a_length_of_zero_leaves_the_state_alone() -> None:
    layer = make_layer("lstm", D=2)
    out = layer.run(recurrent, lengths=torch.tensor([0, 4, 0]))
    assert layer.h0 is not None
    assert layer.c0 is not None
    torch.testing.assert_close(out.h_n[:, [0, 2]], layer.h0[:, [0, 2]])
    torch.testing.assert_close(out.c_n[:, [0, 2]], layer.c0[:, [0, 2]])
    assert not out.output[:, [0, 2]].any()


def test_the_last_cell_states_are_c_n() -> None:
    layer = make_layer("lstm", D=2, H=5)
    out = layer.run(recurrent, return_cells=True)
    torch.testing.assert_close(out.cells[-1, :, :5], out.c_n[0])
    torch.testing.assert_close(out.cells[0, :, 5:], out.c_n[1])


@pytest.mark.parametrize("batch_first", [False, True])
def test_no_steps_give_the_first_state(batch_first: bool) -> None:
    layer = make_layer("gru", T=0, D=2, batch_first=batch_first)
    out = layer.run(recurrent, batch_first=batch_first)
    assert out.output.shape == ((3, 0, 10) if batch_first else (0, 3, 10))
    torch.testing.assert_close(out.h_n, layer.h0)


def test_nan_in_padding_reaches_no_gradient() -> None:
    layer = make_layer("gru")
    layer.input[3, 0] = float("nan")
    layer = layer.trained()
    grads = gradients(layer, layer.run(recurrent, lengths=torch.tensor([3, 4, 2])))
    assert all(grad is not None and grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_first_and_second_derivatives(cell: str) -> None:
    layer = make_layer(cell, T=2, B=2, I=1, H=2, D=2, P=1 if cell == "lstm" else None, requires_grad=True)
    lengths = torch.tensor([2, 1])

    def run(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        out = layer.with_leaves(leaves).run(recurrent, lengths=lengths)
        return tuple(t for t in out if t.requires_grad)

    assert torch.autograd.gradcheck(run, layer.leaves)
    assert torch.autograd.gradgradcheck(run, layer.leaves)
