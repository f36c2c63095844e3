"""Derivatives of attention through ordinary autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from tests.attention.cases import Calls, operands
from tests.attention.checking import of_kernel, of_reference

SMALL = {"B": 1, "H": 1, "T": 2, "S": 3, "D": 2, "V": 1}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "causal": {"is_causal": True, "softcap": 1.5, "return_weights": "full"},
    "no visible key": {"is_causal": True, "query_start": -1, "return_weights": "mean"},
    "dropout": {"dropout_p": 0.5, "seed": torch.tensor(3), "return_weights": "mean"},
    "slopes": {"alibi_slopes": torch.tensor([0.5]), "lengths": torch.tensor([2])},
}


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Counts calls of the native kernels, which still run."""
    return Calls(monkeypatch)


def trained(**sizes: int) -> tuple[Tensor, ...]:
    return tuple(t.requires_grad_() for t in operands(**sizes))


def function_of(options: dict[str, Any]) -> Callable[..., tuple[Tensor, ...]]:
    """Of query, key, value and mask."""
    return lambda q, k, v, mask: of_kernel(q, k, v, attn_mask=mask, **options)


@pytest.mark.parametrize("name", OPTIONS)
def test_gradcheck(name: str) -> None:
    mask = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(function_of(OPTIONS[name]), (*trained(**SMALL), mask))


@pytest.mark.parametrize("name", OPTIONS)
def test_gradgradcheck(name: str) -> None:
    mask = torch.randn(1, 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(function_of(OPTIONS[name]), (*trained(**SMALL), mask))


def test_shared_heads_have_second_derivatives() -> None:
    leaves = trained(**{**SMALL, "H": 2, "K": 1})
    assert torch.autograd.gradgradcheck(lambda *t: of_kernel(*t, enable_gqa=True), leaves)


def test_third_derivative_equals_the_reference() -> None:
    q, k, v = trained(**SMALL)
    found = []
    for function in (of_kernel, of_reference):
        derived = function(q, k, v)[0].sum()
        for _ in range(3):
            (derived,) = torch.autograd.grad(derived.sin().sum(), q, create_graph=True)
        found.append(derived)
    torch.testing.assert_close(*found)


def test_second_derivatives_of_hidden_garbage_are_finite() -> None:
    q, k, v = operands(T=3, S=5)
    k[:, :, 3:], v[:, :, 3:] = torch.nan, torch.inf
    leaves = [t.requires_grad_() for t in (q, k, v)]
    out = of_kernel(*leaves, is_causal=True)[0]
    first = torch.autograd.grad(out.square().sum(), leaves, create_graph=True)
    second = torch.autograd.grad([t[..., :3, :].square().sum() for t in first], leaves)
    assert all(t.isfinite().all() for t in (*first, *second))


@pytest.mark.parametrize("create_graph", [False, True])
def test_first_derivatives_are_the_kernels(calls: Calls, create_graph: bool) -> None:
    leaves = trained()
    torch.autograd.grad(of_kernel(*leaves)[0].sum(), leaves, create_graph=create_graph)
    assert calls.counts == (1, 1)


@pytest.mark.parametrize("wanted", range(4))
def test_only_needed_gradients_are_computed(calls: Calls, wanted: int) -> None:
    tensors = [*operands(), torch.randn(2, 5, 1, dtype=torch.float64)]
    tensors[wanted].requires_grad_()

    def loss(function: Any) -> Tensor:
        return function(*tensors[:3], attn_mask=tensors[3])[0].square().sum()

    (ours,) = torch.autograd.grad(loss(of_kernel), tensors[wanted])
    assert calls.needs == tuple(n == wanted for n in range(4))
    torch.testing.assert_close(ours, *torch.autograd.grad(loss(of_reference), tensors[wanted]))


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("kind", ["mean", "full"])
def test_undefined_gradients_stay_undefined(calls: Calls, kind: str, which: int) -> None:
    leaves = trained()
    grads = [
        torch.autograd.grad(
            function(*leaves, return_weights=kind)[which].square().sum(), leaves, materialize_grads=True
        )
        for function in (of_kernel, of_reference)
    ]
    assert calls.counts == (1, 1)
    torch.testing.assert_close(*grads)


def test_backward_twice_over_a_retained_graph() -> None:
    leaves = trained()
    loss = of_kernel(*leaves, dropout_p=0.5)[0].square().sum()
    first = torch.autograd.grad(loss, leaves, retain_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(loss, leaves), rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(loss, leaves)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_inference_has_no_graph(calls: Calls, context: Callable[[], Any]) -> None:
    leaves = trained()
    with context():
        (out,) = of_kernel(*leaves)
    assert calls.counts == (1, 0)
    assert not out.requires_grad


@pytest.mark.parametrize("use_reentrant", [False, True])
def test_activation_checkpointing_drops_the_same_weights(calls: Calls, use_reentrant: bool) -> None:
    q, k, v = trained()

    def run(query: Tensor) -> Tensor:
        return of_kernel(query, k, v, dropout_p=0.5)[0]

    torch.manual_seed(5)
    out = checkpoint(run, q, use_reentrant=use_reentrant)
    assert isinstance(out, Tensor)
    out.square().sum().backward()
    assert calls.counts == (2, 1)
    torch.manual_seed(5)
    torch.testing.assert_close(q.grad, *torch.autograd.grad(run(q).square().sum(), q))


def test_the_seed_of_dropout_comes_from_torch() -> None:
    q, k, v = operands(T=9, S=9)

    def run() -> Tensor:
        return of_kernel(q, k, v, dropout_p=0.5)[0]

    torch.manual_seed(1)
    first, second = run(), run()
    torch.manual_seed(1)
    assert torch.equal(run(), first)
    assert not torch.equal(first, second)


def test_overwritten_output_is_noticed() -> None:
    out, weights = of_kernel(*trained(), return_weights="full")
    out.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        weights.sum().backward()


def test_expanded_gradient() -> None:
    leaves = trained()
    (out,) = of_kernel(*leaves)
    ones = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    expanded = torch.autograd.grad(out, leaves, ones.expand(out.shape), retain_graph=True)
    dense = torch.autograd.grad(out, leaves, torch.ones(out.shape, dtype=torch.float64))
    torch.testing.assert_close(expanded, dense)


def test_private_operators_refuse_to_be_differentiated() -> None:
    q, k, v = trained()
    tensors, options = (q, k, v, *[None] * 5), (0.0, False, None, 0, -1, -1, 0.0, "none")
    with pytest.raises(RuntimeError, match="_scaled_dot_product_attention_fwd has no derivative of its own"):
        torch.ops.pyrnn._scaled_dot_product_attention_fwd(*tensors, *options)
    with pytest.raises(RuntimeError, match="_scaled_dot_product_attention_bwd has no derivative of its own"):
        torch.ops.pyrnn._scaled_dot_product_attention_bwd(q, None, *tensors, q, q, *options, [True] * 4)
