"""Attention under torch.func, vmap and forward-mode derivatives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import grad, hessian, jacrev, jvp, vmap

from tests.attention.cases import Calls, operands
from tests.attention.checking import of_kernel, of_reference

# torch's forward mode compiles a table with torch.jit.script, which torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Counts calls of the native kernels, which still run."""
    return Calls(monkeypatch)


def samples(count: int = 3, **sizes: int) -> tuple[Tensor, Tensor, Tensor]:
    """`count` queries, keys and values, [count, B, H, ...]."""
    columns = zip(*(operands(**sizes) for _ in range(count)), strict=True)
    q, k, v = (torch.stack(column) for column in columns)
    return q, k, v


#: What is mapped beside the query, and over which dimension.
MAPPED: dict[str, dict[str, Any]] = {
    "key": {"key": torch.randn(3, 2, 2, 7, 4, dtype=torch.float64)},
    "mask": {"attn_mask": torch.randn(3, 1, 2, 5, 7, dtype=torch.float64)},
    "mask of a batch": {"attn_mask": torch.randn(3, 2, 1, 1, 7, dtype=torch.float64)},
    "padding": {"key_padding_mask": torch.rand(3, 2, 7) < 0.4},
    "lengths": {"lengths": torch.randint(0, 8, (3, 2))},
    "slopes": {"alibi_slopes": torch.rand(3, 2)},
    "slopes of a batch": {"alibi_slopes": torch.rand(3, 2, 2)},
}


@pytest.mark.parametrize("name", MAPPED)
@pytest.mark.parametrize("query_too", [False, True])
def test_vmap_is_one_call(calls: Calls, query_too: bool, name: str) -> None:
    q, k, v = operands()
    (changed, values), query = *MAPPED[name].items(), samples()[0] if query_too else q

    def run(query: Tensor, mapped: Tensor) -> tuple[Tensor, ...]:
        call = {"key": k, "value": v, "is_causal": True, "return_weights": "full", changed: mapped}
        return of_kernel(query, **call)

    ours = vmap(run, in_dims=(0 if query_too else None, 0))(query, values)
    assert calls.counts == (1, 0)
    each = [run(query[n] if query_too else query, values[n]) for n in range(3)]
    torch.testing.assert_close(ours, tuple(torch.stack(column) for column in zip(*each, strict=True)))


@pytest.mark.parametrize("dim", range(5))
def test_vmap_over_any_dimension(calls: Calls, dim: int) -> None:
    q, k, v = samples()
    moved = (t.movedim(0, dim) for t in (q, k, v))
    ours = vmap(of_kernel, in_dims=dim)(*moved)
    assert calls.counts == (1, 0)
    torch.testing.assert_close(ours[0], of_kernel(q, k, v)[0])


def test_vmap_of_vmap_folds_twice(calls: Calls) -> None:
    q, k, v = (torch.stack([t, 2 * t]) for t in samples())
    ours = vmap(vmap(of_kernel))(q, k, v)[0]
    assert calls.counts == (1, 0)
    torch.testing.assert_close(ours, of_kernel(q, k, v)[0])


def test_vmap_with_one_seed_drops_the_same_weights_of_each_sample(calls: Calls) -> None:
    """In every derivative too, whether or not it is mapped together with the forward pass."""
    q, k, v = samples()
    seed = torch.tensor(8)

    def loss(query: Tensor, key: Tensor, value: Tensor, function: Any = of_kernel) -> Tensor:
        return function(query, key, value, dropout_p=0.5, seed=seed)[0].square().sum()

    def everything(
        query: Tensor, key: Tensor, value: Tensor, function: Any = of_kernel
    ) -> tuple[Tensor, ...]:
        def first(x: Tensor) -> Tensor:
            return grad(loss)(x, key, value, function)

        second = grad(lambda x: first(x).square().sum())(query)
        return loss(query, key, value, function), first(query), second

    ours = vmap(everything)(q, k, v)
    assert calls.counts[0] == 9
    for n in range(3):
        exact = everything(q[n], k[n], v[n], of_reference)
        torch.testing.assert_close(tuple(t[n] for t in ours), exact)


def test_vmap_over_seeds_loops(calls: Calls) -> None:
    q, k, v = operands()
    seeds = torch.arange(3)
    ours = vmap(lambda seed: of_kernel(q, k, v, dropout_p=0.5, seed=seed)[0])(seeds)
    assert calls.counts == (3, 0)
    for n in range(3):
        torch.testing.assert_close(ours[n], of_kernel(q, k, v, dropout_p=0.5, seed=seeds[n])[0])


@pytest.mark.parametrize("randomness", ["same", "different"])
def test_vmap_draws_as_torch_is_told(randomness: str) -> None:
    q, k, v = operands(B=1, T=9, S=9)
    run = vmap(lambda value: of_kernel(q, k, value, dropout_p=0.5)[0], randomness=randomness)
    out = run(v.expand(2, *v.shape))
    assert torch.equal(out[0], out[1]) == (randomness == "same")
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda value: of_kernel(q, k, value, dropout_p=0.5)[0])(v[None])


def test_vmap_over_nothing_gives_nothing() -> None:
    q, k, v = (t[:0] for t in samples())
    assert vmap(of_kernel)(q, k, v)[0].shape == (0, 2, 2, 5, 3)


@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (2, 1, 1, 7), (2, 2, 5, 7), (7,)], ids=str)
def test_per_sample_gradients_are_one_call(calls: Calls, shape: tuple[int, ...]) -> None:
    q, k, v = samples()
    shared = torch.randn(shape, dtype=torch.float64)

    def loss(mask: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out, weights = of_kernel(query, key, value, attn_mask=mask, return_weights="mean")
        return out.square().sum() + weights.square().sum()

    ours = vmap(grad(loss, (0, 1, 2, 3)), in_dims=(None, 0, 0, 0))(shared, q, k, v)
    assert calls.counts == (1, 1)
    for n in range(3):
        leaves = [t.clone().requires_grad_() for t in (shared, q[n], k[n], v[n])]
        exact = torch.autograd.grad(loss(*leaves), leaves)
        torch.testing.assert_close([each[n] for each in ours], list(exact))


def test_gradients_of_mapped_masks(calls: Calls) -> None:
    q, k, v = operands()
    masks = torch.randn(3, 1, 2, 1, 7, dtype=torch.float64, requires_grad=True)
    out = vmap(lambda mask: of_kernel(q, k, v, attn_mask=mask)[0])(masks)
    (ours,) = torch.autograd.grad(out.square().sum(), masks)
    assert calls.counts == (1, 1)
    exact = sum(of_reference(q, k, v, attn_mask=mask)[0].square().sum() for mask in masks)
    assert isinstance(exact, Tensor)
    torch.testing.assert_close(ours, *torch.autograd.grad(exact, masks))


def test_func_grad_is_the_kernels(calls: Calls) -> None:
    q, k, v = operands()

    def loss(query: Tensor, function: Any = of_kernel) -> Tensor:
        return function(query, k, v, is_causal=True)[0].square().sum()

    ours = grad(loss)(q)
    assert calls.counts == (1, 1)
    torch.testing.assert_close(ours, grad(lambda x: loss(x, of_reference))(q))
    twice = grad(lambda x: grad(loss)(x).square().sum())(q)
    exact = grad(lambda x: grad(lambda y: loss(y, of_reference))(x).square().sum())(q)
    torch.testing.assert_close(twice, exact)


def test_hessians_by_either_mode_agree() -> None:
    q, k, v = operands(B=1, H=1, T=2, S=3, D=2, V=1)

    def loss(query: Tensor) -> Tensor:
        return of_kernel(query, k, v, dropout_p=0.3, seed=torch.tensor(1))[0].square().sum()

    torch.testing.assert_close(hessian(loss)(q), jacrev(jacrev(loss))(q))


@pytest.mark.parametrize(
    "options",
    [
        {"is_causal": True, "query_start": -1},
        {"softcap": 1.0, "return_weights": "mean"},
        {"dropout_p": 0.5, "seed": torch.tensor(1)},
    ],
    ids=str,
)
def test_jvp_equals_the_reference(calls: Calls, options: dict[str, Any]) -> None:
    tensors, tangents = operands(), operands()
    ours = jvp(lambda *t: of_kernel(*t, **options), tensors, tangents)
    assert calls.counts == (0, 0)
    torch.testing.assert_close(ours, jvp(lambda *t: of_reference(*t, **options), tensors, tangents))


def test_dual_numbers_keep_their_tangent() -> None:
    q, k, v = operands()
    tangent = torch.ones_like(q)
    with forward_ad.dual_level():
        out = of_kernel(forward_ad.make_dual(q, tangent), k, v)[0]
        ours = forward_ad.unpack_dual(out).tangent
    torch.testing.assert_close(ours, jvp(lambda x: of_reference(x, k, v)[0], (q,), (tangent,))[1])


@pytest.mark.parametrize("transform", [grad, jacrev])
def test_the_bare_operator_under_torch_func(transform: Any) -> None:
    q, k, v = operands()

    def run(query: Tensor) -> Tensor:
        options = (0.0, True, None, 0, -1, -1, 0.0, "none")
        return (
            torch.ops.pyrnn.scaled_dot_product_attention(query, k, v, *[None] * 5, *options)[0].square().sum()
        )

    exact = q.clone().requires_grad_()
    torch.testing.assert_close(transform(run)(q), torch.autograd.grad(run(exact), exact)[0])


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_batched_gradients(p: float) -> None:
    leaves = [t.requires_grad_() for t in operands(B=1, T=2, S=3)]
    (out,) = of_kernel(*leaves, dropout_p=p)
    basis = torch.eye(out.numel(), dtype=torch.float64).reshape(-1, *out.shape)
    batched = torch.autograd.grad(out, leaves, basis, is_grads_batched=True, retain_graph=True)
    looped = [torch.autograd.grad(out, leaves, each, retain_graph=True) for each in basis]
    torch.testing.assert_close(list(batched), [torch.stack(column) for column in zip(*looped, strict=True)])
