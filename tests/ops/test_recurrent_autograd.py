"""Derivatives through ordinary autograd."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from pyrnn import reference
from pyrnn.ops import recurrent
from tests.helpers import Layer, make_layer
from tests.ops.conftest import KernelCalls

DERIVED_CELLS = ["rnn_tanh", "gru", "lstm"]  # relu has no derivative at 0, which gradcheck may step on


def small(cell: str) -> Layer:
    return make_layer(cell, T=2, B=2, I=1, H=2, D=2, P=1 if cell == "lstm" else None, requires_grad=True)


def function_of_leaves(layer: Layer, **options: object) -> Callable[..., tuple[Tensor, ...]]:
    def run(*leaves: Tensor) -> tuple[Tensor, ...]:
        return tuple(t for t in layer.with_leaves(leaves).run(recurrent, **options) if t.requires_grad)

    return run


@pytest.mark.parametrize("checkpoint_every", [0, 2])
@pytest.mark.parametrize("cell", DERIVED_CELLS)
def test_gradcheck(cell: str, checkpoint_every: int) -> None:
    layer = small(cell)
    options = {"lengths": torch.tensor([2, 1]), "return_cells": True, "checkpoint_every": checkpoint_every}
    assert torch.autograd.gradcheck(function_of_leaves(layer, **options), layer.leaves)


@pytest.mark.parametrize("cell", DERIVED_CELLS)
def test_gradgradcheck(cell: str) -> None:
    layer = small(cell)
    options = {"lengths": torch.tensor([2, 1]), "return_cells": True}
    assert torch.autograd.gradgradcheck(function_of_leaves(layer, **options), layer.leaves)


RESET = torch.tensor([[True, False], [True, True]])


@pytest.mark.parametrize("checkpoint_every", [0, 2])
@pytest.mark.parametrize("cell", DERIVED_CELLS)
def test_gradcheck_with_resets(cell: str, checkpoint_every: int) -> None:
    layer = small(cell)
    options = {"reset": RESET, "return_cells": True, "checkpoint_every": checkpoint_every}
    assert torch.autograd.gradcheck(function_of_leaves(layer, **options), layer.leaves)


@pytest.mark.parametrize("cell", DERIVED_CELLS)
def test_gradgradcheck_with_resets(cell: str) -> None:
    layer = small(cell)
    options = {"reset": RESET, "return_cells": True}
    assert torch.autograd.gradgradcheck(function_of_leaves(layer, **options), layer.leaves)


def test_third_derivative_equals_the_reference() -> None:
    results = []
    for operator in (recurrent, reference.recurrent):
        layer = small("gru")
        derived = layer.run(operator).output.sum()
        for _ in range(3):
            (derived,) = torch.autograd.grad(derived.sin().sum(), layer.input, create_graph=True)
        results.append(derived)
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("create_graph", [False, True])
def test_first_derivatives_are_the_kernels(kernel_calls: KernelCalls, create_graph: bool) -> None:
    layer = small("lstm")
    torch.autograd.grad(layer.run(recurrent).output.sum(), layer.leaves, create_graph=create_graph)
    assert kernel_calls.counts == (1, 1)


@pytest.mark.parametrize("wanted", range(4))
def test_only_needed_gradients_are_computed(kernel_calls: KernelCalls, wanted: int) -> None:
    layer = make_layer("lstm", D=2)
    leaves = list(layer.leaves)
    leaves[wanted] = leaves[wanted].requires_grad_()
    layer = layer.with_leaves(leaves)
    layer.run(recurrent).output.sum().backward()
    assert kernel_calls.needs == tuple(n == wanted for n in range(13))
    exact = torch.autograd.grad(layer.run(reference.recurrent).output.sum(), leaves[wanted])
    torch.testing.assert_close(leaves[wanted].grad, exact[0])
    assert all(leaf.grad is None for n, leaf in enumerate(leaves) if n != wanted)


@pytest.mark.parametrize("which", ["output", "h_n", "c_n", "cells"])
def test_undefined_gradients_stay_undefined(kernel_calls: KernelCalls, which: str) -> None:
    layer = small("lstm")
    grads = [
        torch.autograd.grad(
            getattr(layer.run(operator, return_cells=True), which).sum(), layer.leaves, allow_unused=True
        )
        for operator in (recurrent, reference.recurrent)
    ]
    assert kernel_calls.counts == (1, 1)
    for ours, exact in zip(*grads, strict=True):
        # What an output does not depend on is None by the reference, and zero or None by the kernels.
        torch.testing.assert_close(
            ours, torch.zeros_like(ours) if exact is None and ours is not None else exact
        )


def test_backward_twice_over_a_retained_graph() -> None:
    layer = small("gru")
    loss = layer.run(recurrent).output.square().sum()
    first = torch.autograd.grad(loss, layer.leaves, retain_graph=True)
    second = torch.autograd.grad(loss, layer.leaves)
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, layer.leaves)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_inference_keeps_no_workspace(
    kernel_calls: KernelCalls, context: Callable[[], torch.no_grad]
) -> None:
    layer = small("lstm")
    with context():
        out = layer.run(recurrent)
    assert kernel_calls.counts == (1, 0)
    assert not kernel_calls.trained
    assert not out.output.requires_grad


def test_no_workspace_when_nothing_requires_gradients(kernel_calls: KernelCalls) -> None:
    make_layer("gru").run(recurrent)
    assert not kernel_calls.trained


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_outputs_that_do_not_apply_have_no_gradient(cell: str) -> None:
    out = small(cell).run(recurrent)
    assert out.output.requires_grad
    assert out.h_n.requires_grad
    assert out.c_n.requires_grad == (cell == "lstm")
    assert not out.cells.requires_grad
    assert out.cells.shape == (0,)


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing(kernel_calls: KernelCalls, use_reentrant: bool) -> None:
    layer = small("gru")
    group = layer.weights[0]

    def run(x: Tensor) -> Tensor:
        return recurrent("gru", x, layer.h0, None, layer.weights).output

    saved = checkpoint(run, layer.input, use_reentrant=use_reentrant)
    assert isinstance(saved, Tensor)
    saved.sum().backward()
    assert kernel_calls.counts == (2, 1)
    torch.testing.assert_close(
        (layer.input.grad, group[0].grad),
        torch.autograd.grad(layer.run(reference.recurrent).output.sum(), (layer.input, group[0])),
    )


@pytest.mark.parametrize("cell", [*DERIVED_CELLS, "rnn_relu"])
@pytest.mark.parametrize("fast", [True, False])
def test_the_output_may_be_overwritten(cell: str, fast: bool) -> None:
    layer = make_layer(cell, D=2, requires_grad=True)
    mask = torch.rand_like(layer.run(recurrent).output) > 0.5

    def loss(overwrite: bool) -> Tensor:
        with nullcontext() if fast else FlopCounterMode(display=False):  # a mode: through the dispatcher
            out = layer.run(recurrent)
            masked = out.output.mul_(mask).relu_() if overwrite else out.output.mul(mask).relu()
            return masked.square().sum() + out.h_n.sum()

    found, expected = (torch.autograd.grad(loss(overwrite), layer.leaves) for overwrite in (True, False))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_an_overwritten_output_is_noticed_where_it_is_what_is_kept() -> None:
    layer = small("gru")
    out = layer.run(recurrent, checkpoint_every=2)
    out.output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.h_n.sum().backward()


def test_expanded_gradient() -> None:
    layer = make_layer("gru", H=17, dtype=torch.float32, requires_grad=True)
    out = layer.run(recurrent).output
    expanded = torch.autograd.grad(
        out, layer.leaves, torch.ones(1, 1, 1).expand(out.shape), retain_graph=True
    )
    dense = torch.autograd.grad(out, layer.leaves, torch.ones(out.shape))
    torch.testing.assert_close(expanded, dense)


def test_private_operators_refuse_to_be_differentiated() -> None:
    layer = small("gru")
    tensors = (layer.input, layer.h0, None, None, None, None, *layer.weights[0], *layer.weights[1])
    options = ("gru", False, False, 0)
    with pytest.raises(RuntimeError, match="_recurrent_fwd has no derivative of its own"):
        torch.ops.pyrnn._recurrent_fwd(*tensors, *options)
    grads, kept = (layer.input, None, None, None), (layer.input, layer.input)
    with pytest.raises(RuntimeError, match="_recurrent_bwd has no derivative of its own"):
        torch.ops.pyrnn._recurrent_bwd(*grads, *tensors, *kept, *options, [True] * 13)
