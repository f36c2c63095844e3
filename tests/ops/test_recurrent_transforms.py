"""torch.func, vmap and forward-mode derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacrev, jvp, vmap

from pyrnn import reference
from pyrnn.ops import recurrent
from pyrnn.reference import RecurrentOutput
from tests.helpers import make_layer
from tests.ops.conftest import KernelCalls

# torch's forward mode compiles a table with torch.jit.script, which torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")

LENGTHS = torch.tensor([2, 4, 0])


def samples(layer_input: Tensor, count: int = 3) -> Tensor:
    """`count` different inputs of one layer, [count, T, B, I]."""
    return torch.stack([layer_input * (n + 1) for n in range(count)])


def each(function: Callable[[Tensor], RecurrentOutput], inputs: Tensor) -> list[Tensor]:
    """What vmap must return, by a loop."""
    return [torch.stack(column) for column in zip(*map(function, inputs.unbind()), strict=True)]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_vmap_over_data_is_one_call(kernel_calls: KernelCalls, cell: str, batch_first: bool) -> None:
    layer = make_layer(cell, D=2, batch_first=batch_first)
    inputs = samples(layer.input)

    def run(x: Tensor) -> RecurrentOutput:
        options = {"lengths": LENGTHS, "batch_first": batch_first, "return_cells": True}
        return recurrent(cell, x, layer.h0, layer.c0, layer.weights, **options)

    out = vmap(run)(inputs)
    assert kernel_calls.counts == (1, 0)
    torch.testing.assert_close(list(out), each(run, inputs))


def test_vmap_over_states_and_lengths_is_one_call(kernel_calls: KernelCalls) -> None:
    layer = make_layer("gru", D=2)
    assert layer.h0 is not None
    states, lengths = samples(layer.h0, 2), torch.tensor([[4, 1, 0], [2, 2, 3]])

    def run(h0: Tensor, lengths: Tensor) -> Tensor:
        return recurrent("gru", layer.input, h0, None, layer.weights, lengths=lengths).output

    out = vmap(run)(states, lengths)
    assert kernel_calls.counts == (1, 0)
    torch.testing.assert_close(out, torch.stack([run(states[n], lengths[n]) for n in range(2)]))


@pytest.mark.parametrize("in_dims", [(0, 0), (None, 0), (0, None), (0, 1)], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_vmap_over_data_and_resets_is_one_call(
    kernel_calls: KernelCalls, batch_first: bool, in_dims: tuple[int | None, int | None]
) -> None:
    layer = make_layer("lstm", D=2, batch_first=batch_first)
    x_dim, reset_dim = in_dims
    x = layer.input if x_dim is None else samples(layer.input)
    resets = torch.rand(3, *layer.input.shape[:2], generator=torch.Generator().manual_seed(0)) < 0.5
    reset = resets[0] if reset_dim is None else resets.movedim(0, reset_dim)

    def run(x: Tensor, reset: Tensor) -> RecurrentOutput:
        options = {"lengths": LENGTHS, "batch_first": batch_first, "return_cells": True}
        return recurrent("lstm", x, layer.h0, layer.c0, layer.weights, reset=reset, **options)

    out = vmap(run, in_dims)(x, reset)
    assert kernel_calls.counts == (1, 0)
    for n in range(3):
        sample = run(x if x_dim is None else x[n], reset if reset_dim is None else resets[n])
        torch.testing.assert_close([t[n] for t in out], list(sample))


def test_vmap_over_weights_loops(kernel_calls: KernelCalls) -> None:
    layer = make_layer("gru")
    w_ih, *others = layer.weights[0]
    ensemble = samples(w_ih)

    def run(weight: Tensor) -> Tensor:
        return recurrent("gru", layer.input, layer.h0, None, ((weight, *others),)).output

    out = vmap(run)(ensemble)
    assert kernel_calls.counts == (3, 0)
    torch.testing.assert_close(out, torch.stack([run(weight) for weight in ensemble]))


def test_vmap_over_packed_data() -> None:
    layer = make_layer("gru")
    packed = torch.nn.utils.rnn.pack_padded_sequence(layer.input, torch.tensor([4, 2, 1]))

    def run(x: Tensor) -> Tensor:
        return recurrent("gru", x, layer.h0, None, layer.weights, batch_sizes=packed.batch_sizes).output

    rows = samples(packed.data)
    torch.testing.assert_close(vmap(run)(rows), torch.stack([run(row) for row in rows]))


def test_vmap_of_vmap_folds_twice(kernel_calls: KernelCalls) -> None:
    layer = make_layer("gru")
    inputs = samples(samples(layer.input), 2)

    def run(x: Tensor) -> Tensor:
        return recurrent("gru", x, None, None, layer.weights).output

    out = vmap(vmap(run))(inputs)
    assert kernel_calls.counts == (1, 0)
    torch.testing.assert_close(out[1, 2], run(inputs[1, 2]))


def test_backward_through_vmap_is_the_kernels(kernel_calls: KernelCalls) -> None:
    layer = make_layer("lstm", requires_grad=True)

    def loss(operator: Callable[..., RecurrentOutput], x: Tensor) -> Tensor:
        return operator("lstm", x, layer.h0, layer.c0, layer.weights).output.square().sum()

    inputs = samples(layer.input)
    ours = torch.autograd.grad(vmap(lambda x: loss(recurrent, x))(inputs).sum(), layer.leaves)
    assert kernel_calls.counts == (1, 1)
    exact = sum(loss(reference.recurrent, x) for x in samples(layer.input))
    assert isinstance(exact, Tensor)
    torch.testing.assert_close(ours, torch.autograd.grad(exact, layer.leaves))


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_per_sample_gradients_are_the_kernels(kernel_calls: KernelCalls, cell: str) -> None:
    layer = make_layer(cell, D=2)

    def loss(parameters: list[Tensor], x: Tensor, length: Tensor) -> Tensor:
        weights: Any = ((*parameters[:4], None), (*parameters[4:], None))
        out = recurrent(cell, x.unsqueeze(1), None, None, weights, lengths=length.unsqueeze(0))
        return out.output.square().sum() + out.h_n.sum()

    parameters: list[Tensor] = [weight for group in layer.weights for weight in group[:4]]
    ours = vmap(grad(loss), in_dims=(None, 1, 0))(parameters, layer.input, LENGTHS)
    assert kernel_calls.counts == (3, 3)
    for n in range(3):
        leaves = [weight.clone().requires_grad_() for weight in parameters]
        exact = torch.autograd.grad(loss(leaves, layer.input[:, n], LENGTHS[n]), leaves)
        torch.testing.assert_close([each[n] for each in ours], list(exact))


def test_func_grad_is_the_kernels(kernel_calls: KernelCalls) -> None:
    layer = make_layer("gru")

    def loss(x: Tensor) -> Tensor:
        return recurrent("gru", x, layer.h0, None, layer.weights).output.square().sum()

    ours = grad(loss)(layer.input)
    assert kernel_calls.counts == (1, 1)
    x = layer.input.clone().requires_grad_()
    torch.testing.assert_close(ours, torch.autograd.grad(loss(x), x)[0])


def test_func_grad_of_grad_equals_autograd() -> None:
    layer = make_layer("lstm", T=2, B=2)

    def loss(x: Tensor, operator: Any = recurrent) -> Tensor:
        return operator("lstm", x, layer.h0, layer.c0, layer.weights).output.square().sum()

    ours = grad(lambda x: grad(loss)(x).square().sum())(layer.input)
    exact = grad(lambda x: grad(lambda y: loss(y, reference.recurrent))(x).square().sum())(layer.input)
    torch.testing.assert_close(ours, exact)


def test_hessians_by_either_mode_agree() -> None:
    layer = make_layer("gru", T=2, B=1, H=2)

    def loss(x: Tensor) -> Tensor:
        return recurrent("gru", x, layer.h0, None, layer.weights).output.square().sum()

    torch.testing.assert_close(hessian(loss)(layer.input), jacrev(jacrev(loss))(layer.input))


@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_jvp_equals_the_reference(kernel_calls: KernelCalls, cell: str) -> None:
    layer = make_layer(cell, D=2)
    tangent = torch.randn(layer.input.shape, dtype=torch.float64)

    def run(operator: Callable[..., RecurrentOutput]) -> Callable[[Tensor], Tensor]:
        return lambda x: operator(cell, x, layer.h0, layer.c0, layer.weights, lengths=LENGTHS).output

    ours = jvp(run(recurrent), (layer.input,), (tangent,))
    assert kernel_calls.counts == (0, 0)
    torch.testing.assert_close(ours, jvp(run(reference.recurrent), (layer.input,), (tangent,)))


def test_dual_numbers_keep_their_tangent() -> None:
    layer = make_layer("gru")
    tangent = torch.ones_like(layer.input)
    with forward_ad.dual_level():
        x = forward_ad.make_dual(layer.input, tangent)
        out = recurrent("gru", x, layer.h0, None, layer.weights).output
        ours = forward_ad.unpack_dual(out).tangent
    exact = jvp(
        lambda x: reference.recurrent("gru", x, layer.h0, None, layer.weights).output,
        (layer.input,),
        (tangent,),
    )
    torch.testing.assert_close(ours, exact[1])


@pytest.mark.parametrize("transform", ["grad", "jacrev"])
def test_the_bare_operator_under_torch_func(transform: str) -> None:
    layer = make_layer("gru")

    def run(x: Tensor) -> Tensor:
        tensors = (x, layer.h0, None, None, None, None, *layer.weights[0], *[None] * 5)
        return torch.ops.pyrnn.recurrent(*tensors, "gru", False, False, 0)[0].square().sum()

    ours = (grad if transform == "grad" else jacrev)(run)(layer.input)
    x = layer.input.clone().requires_grad_()
    torch.testing.assert_close(ours, torch.autograd.grad(run(x), x)[0])


def test_batched_gradients() -> None:
    layer = make_layer("gru", T=2, B=1, requires_grad=True)
    out = layer.run(recurrent).output
    basis = torch.eye(out.numel(), dtype=torch.float64).reshape(-1, *out.shape)
    batched = torch.autograd.grad(out, layer.leaves, basis, is_grads_batched=True, retain_graph=True)
    looped = [torch.autograd.grad(out, layer.leaves, each, retain_graph=True) for each in basis]
    torch.testing.assert_close(list(batched), [torch.stack(column) for column in zip(*looped, strict=True)])


def test_functional_call_of_a_module() -> None:
    class Tiny(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w_ih, self.w_hh = (torch.nn.Parameter(w) for w in make_layer("gru").weights[0][:2])

        def forward(self, x: Tensor) -> Tensor:
            return recurrent("gru", x, None, None, ((self.w_ih, self.w_hh, None, None, None),)).output

    module, x = Tiny(), make_layer("gru").input
    parameters = dict(module.named_parameters())
    ours = grad(lambda p: functional_call(module, p, (x,)).sum())(parameters)
    exact = torch.autograd.grad(module(x).sum(), list(parameters.values()))
    torch.testing.assert_close(list(ours.values()), list(exact))


def test_vmap_over_nothing_has_words() -> None:
    layer = make_layer("gru")
    weights = torch.zeros(0, *layer.weights[0][0].shape, dtype=torch.float64)
    with pytest.raises(ValueError, match="dimension of size 0"):
        vmap(lambda w: recurrent("gru", layer.input, None, None, ((w, *layer.weights[0][1:]),)).output)(
            weights
        )
