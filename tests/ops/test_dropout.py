"""Dropout: its mask, its numbers on every instruction set, its derivatives, transforms and refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jacrev, jvp, vmap
from torch.library import opcheck
from torch.utils.checkpoint import checkpoint

from pyrnn.ops import dropout, dropout_route
from pyrnn.ops.dropout.call import ACTIVATIONS as BY_TORCH
from pyrnn.ops.dropout.call import CODES
from pyrnn.reference.dropout import ACTIVATIONS, dropout_keep
from pyrnn.reference.dropout import dropout as reference
from tests.helpers import assert_as_accurate

SEED = torch.tensor(-1234567890123456789)
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
#: One past every vector and row of random words, and past a task of a thread.
SIZES = [0, 1, 3, 5, 17, 33, 65, 2**14 - 1, 2**14 + 33, 3 * 2**14 + 1]


def drawn(p: float) -> Tensor | None:
    return SEED if p > 0 else None


# ---- the mask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_mask_is_that_of_the_reference(isa: str, size: int, dtype: torch.dtype) -> None:
    ours = dropout(torch.ones(size, dtype=dtype), 0.3, seed=SEED)
    kept = dropout_keep(SEED, 0.3, ours.shape, ours.device)
    torch.testing.assert_close(ours, kept.to(dtype) / 0.7)


def test_share_of_dropped_elements() -> None:
    for p in (0.01, 0.5, 0.9):
        dropped = (dropout(torch.ones(200_000), p) == 0).double().mean().item()
        assert abs(dropped - p) < 5 * (p * (1 - p) / 200_000) ** 0.5


def test_neighbours_are_independent() -> None:
    kept = (dropout(torch.ones(2**18), 0.5) != 0).double() * 2 - 1
    for distance in (1, 2, 3, 4, 5, 8, 16, 32, 64, 1024, 2**14):
        correlation = (kept[distance:] * kept[:-distance]).mean().item()
        assert abs(correlation) < 5 / (kept.numel() - distance) ** 0.5


def test_torch_seeds_the_mask() -> None:
    x, masks = torch.ones(1000), []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        masks += [dropout(x), dropout(x)]
    assert torch.equal(masks[0], masks[2])
    assert torch.equal(masks[1], masks[3])
    assert not torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[4])


@pytest.mark.parametrize("other", [SEED + 1, SEED + 2**32])
def test_both_words_of_the_seed_count(other: Tensor) -> None:
    x = torch.ones(1000)
    assert not torch.equal(dropout(x, seed=SEED), dropout(x, seed=other))


def test_mask_does_not_depend_on_threads() -> None:
    x = torch.randn(5 * 2**14 + 7)
    everyone = dropout(x, 0.4, seed=SEED)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    alone = dropout(x, 0.4, seed=SEED)
    torch.set_num_threads(before)
    assert torch.equal(alone, everyone)


def test_no_random_number_without_dropout() -> None:
    state = torch.get_rng_state()
    x = torch.randn(5, generator=torch.Generator())
    assert dropout(x, 0.5, training=False) is x
    dropout(x, 0.0, activation="gelu")
    dropout(x, 0.5, training=False, activation="relu", residual=x)
    assert torch.equal(torch.get_rng_state(), state)


def test_everything_dropped() -> None:
    x = torch.full((100,), torch.nan, requires_grad=True)
    residual = torch.randn(100, requires_grad=True)
    out = dropout(x, 1.0, residual=residual, activation="gelu")
    torch.testing.assert_close(out, residual, rtol=0, atol=0)
    out.sum().backward()
    assert x.grad is not None
    assert not x.grad.any()


def test_dropped_nan_reaches_nothing_and_kept_nan_stays() -> None:
    x = torch.full((1000,), torch.nan)
    for activation in (None, "relu", "gelu", "gelu_tanh"):
        out = dropout(x, 0.5, activation=activation, seed=SEED)
        kept = dropout_keep(SEED, 0.5, x.shape, x.device)
        assert torch.equal(out.isnan(), kept)
        assert not out[~kept].any()


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "gelu_tanh"])
def test_as_accurate_as_torch(isa: str, activation: Any, dtype: torch.dtype, p: float) -> None:
    x = torch.cat([torch.linspace(-12, 12, 1201), torch.randn(600)]).to(dtype)
    residual, upstream = torch.randn(x.shape).to(dtype), torch.randn(x.shape).to(dtype)

    def run(operator: Any, to: torch.dtype) -> tuple[Tensor, ...]:
        leaf, other = (t.to(to).requires_grad_() for t in (x, residual))
        out = operator(leaf, other)
        return out, *torch.autograd.grad(out, (leaf, other), upstream.to(to))

    def ours(x: Tensor, residual: Tensor) -> Tensor:
        return dropout(x, p, residual=residual, activation=activation, seed=SEED)

    def theirs(x: Tensor, residual: Tensor) -> Tensor:
        return reference(x, residual, drawn(p), p, activation or "none")

    assert_as_accurate(
        run(ours, dtype), run(theirs, dtype), run(theirs, torch.float64), names=("output", "x", "residual")
    )


def test_kernels_torch_and_the_reference_know_the_same_activations() -> None:
    assert list(CODES) == list(BY_TORCH) == list(ACTIVATIONS)


@pytest.mark.parametrize("activation", ["gelu", "gelu_tanh"])
def test_float64_to_the_last_digits(isa: str, activation: Any) -> None:
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64).requires_grad_()
    ours = dropout(x, 0.0, activation=activation)
    exact = ACTIVATIONS[activation](x)
    torch.testing.assert_close(ours, exact, rtol=1e-15, atol=4e-15)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), x), torch.autograd.grad(exact.sum(), x), rtol=1e-15, atol=1e-14
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("activation", ["relu", "gelu", "gelu_tanh"])
def test_activations_of_huge_numbers_are_zero_or_the_number(
    isa: str, activation: Any, dtype: torch.dtype
) -> None:
    """Powers of them overflow, and infinity times 0 is no number."""
    sizes = [10.0**n for n in range(1, 309 if dtype is torch.float64 else 39)]
    x = torch.tensor(sizes, dtype=torch.float64).to(dtype)
    x = torch.cat((x[x.isfinite()], -x[x.isfinite()])).requires_grad_()
    out = dropout(x, 0.0, activation=activation)
    (grad,) = torch.autograd.grad(out.sum(), x)
    positive = (x > 0).to(dtype)
    torch.testing.assert_close(out, x.detach() * positive, rtol=torch.finfo(dtype).eps, atol=1e-20)
    torch.testing.assert_close(grad, positive, rtol=torch.finfo(dtype).eps, atol=1e-20)


def test_gelu_keeps_its_left_tail() -> None:
    x = torch.linspace(-9, -5, 100)
    exact = x.double() * torch.special.erfc(-x.double() / 2**0.5) / 2
    ours = dropout(x, 0.0, activation="gelu")
    torch.testing.assert_close(ours.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("view", ["transposed", "strided", "expanded"])
def test_layouts(view: str) -> None:
    base = torch.randn(6, 10)
    x = {"transposed": base.t(), "strided": base[:, ::2], "expanded": base[:1].expand(6, 10)}[view]
    ours = dropout(x, 0.5, residual=x, seed=SEED)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, reference(x, x, SEED, 0.5, "none"))


def test_mixed_dtypes_take_the_wider_one() -> None:
    x, residual = torch.randn(9).bfloat16().requires_grad_(), torch.randn(9)
    out = dropout(x, 0.0, residual=residual, activation="relu")
    assert out.dtype is torch.float32
    torch.testing.assert_close(out, residual + x.float().relu())
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.dtype is torch.bfloat16


# ---- derivatives and transforms ------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh"])
def test_gradcheck_and_gradgradcheck(activation: Any, p: float) -> None:
    leaves = tuple(torch.randn(11, dtype=torch.float64, requires_grad=True) for _ in range(2))

    def run(x: Tensor, residual: Tensor) -> Tensor:
        return dropout(x, p, residual=residual, activation=activation, seed=SEED)

    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


def test_third_derivative() -> None:
    results = []
    for run in (
        lambda x: dropout(x, 0.4, activation="gelu", seed=SEED),
        lambda x: reference(x, None, SEED, 0.4, "gelu"),
    ):
        x = torch.linspace(-2, 2, 9, dtype=torch.float64, requires_grad=True)
        derived = run(x)
        for _ in range(3):
            (derived,) = torch.autograd.grad(derived.sum(), x, create_graph=True)
        results.append(derived)
    torch.testing.assert_close(*results)


def test_nothing_is_kept_that_no_derivative_needs() -> None:
    x = torch.randn(100, requires_grad=True)
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        dropout(x, 0.5)
    assert [tuple(t.shape) for t in kept] == [()]


# torch compiles its formulas for forward-mode derivatives at the first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_functorch() -> None:
    x, tangent = (torch.randn(3, 5, dtype=torch.float64) for _ in range(2))

    def ours(x: Tensor) -> Tensor:
        return dropout(x, 0.4, activation="gelu", seed=SEED)

    def exact(x: Tensor) -> Tensor:
        return reference(x, None, SEED, 0.4, "gelu")

    for transform in (lambda f: grad(lambda x: f(x).sum()), jacrev, lambda f: grad(grad_sum(f))):
        torch.testing.assert_close(transform(ours)(x), transform(exact)(x))
    torch.testing.assert_close(jvp(ours, (x,), (tangent,)), jvp(exact, (x,), (tangent,)))
    # With one seed every sample is a call of its own, with the same mask.
    torch.testing.assert_close(vmap(ours)(x), torch.stack([exact(row) for row in x]))
    torch.testing.assert_close(
        vmap(grad(lambda x: ours(x).sum()))(x),
        torch.stack([grad(lambda x: exact(x).sum())(row) for row in x]),
    )


def grad_sum(f: Any) -> Any:
    return lambda x: grad(lambda x: f(x).square().sum())(x).sin().sum()


def test_vmap_over_seeds_and_without_dropout() -> None:
    x, seeds = torch.randn(4, 6), torch.arange(4)
    ours = vmap(lambda x, seed: dropout(x, 0.5, seed=seed))(x, seeds)
    exact = torch.stack([dropout(row, 0.5, seed=seed) for row, seed in zip(x, seeds, strict=True)])
    torch.testing.assert_close(ours, exact)
    ours = vmap(lambda x, r: dropout(x, 0.0, residual=r, activation="relu"), (1, None))(x, x[:, 0])
    torch.testing.assert_close(ours, x[:, 0] + x.t().relu())
    different = vmap(lambda x: dropout(x), randomness="different")(torch.ones(4, 100))
    assert not torch.equal(different[0], different[1])
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda x: dropout(x))(x)


@pytest.mark.parametrize("p", [0.0, 0.4])
@pytest.mark.parametrize("activation", ["none", "gelu"])
def test_opcheck(activation: str, p: float) -> None:
    x, residual = (torch.randn(3, 7, requires_grad=True) for _ in range(2))
    opcheck(torch.ops.pyrnn.dropout.default, (x, residual, drawn(p), p, activation))
    opcheck(torch.ops.pyrnn.dropout.default, (x.detach().t(), None, drawn(p), p, activation))
    opcheck(
        torch.ops.pyrnn._dropout_bwd.default, (x.detach(), residual.detach(), drawn(p), p, activation, [True])
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_training_is_one_graph(dynamic: bool) -> None:
    torch.compiler.reset()

    def run(x: Tensor, residual: Tensor) -> Tensor:
        return dropout(x, 0.4, residual=residual, activation="gelu", seed=SEED)

    compiled = torch.compile(run, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for size in (5, 8):
        x, residual = (torch.randn(size, 3, requires_grad=True) for _ in range(2))
        ours, eager = compiled(x, residual), run(x, residual)
        torch.testing.assert_close(ours, eager)
        torch.testing.assert_close(*(torch.autograd.grad(y.sum(), (x, residual)) for y in (ours, eager)))
    drawing = torch.compile(lambda x: dropout(x), fullgraph=True, backend="aot_eager")
    assert not torch.equal(drawing(torch.ones(100)), drawing(torch.ones(100)))


def test_exported() -> None:
    class Layer(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return dropout(x, 0.0, activation="gelu", residual=x)

    x = torch.randn(4, 5)
    exported = torch.export.export(Layer(), (x,)).module()
    torch.testing.assert_close(exported(x), Layer()(x))


def test_autocast_leaves_the_dtype() -> None:
    x = torch.randn(5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert dropout(x, 0.5, activation="gelu").dtype is torch.float32
        assert dropout(x.bfloat16(), 0.5).dtype is torch.bfloat16


def test_activation_checkpointing_draws_the_same_mask() -> None:
    x = torch.randn(1000, requires_grad=True)
    out = checkpoint(lambda x: dropout(x, 0.5), x, use_reentrant=False)
    assert isinstance(out, Tensor)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, out != 0)


# ---- routes and refusals -------------------------------------------------------------------------


def test_route() -> None:
    assert dropout_route(torch.zeros(1)).path == "native"
    route = dropout_route(torch.zeros(1, dtype=torch.float16))
    assert route.path == "reference"
    assert "float16" in route.reason
    x = torch.randn(50).half()
    torch.testing.assert_close(dropout(x, 0.5, seed=SEED), reference(x, None, SEED, 0.5, "none"))
    assert dropout(torch.empty(3, device="meta"), 0.5).device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, r"p must be a probability in \[0, 1\], got 1.5"),
        ({"p": float("nan")}, ValueError, "probability"),
        ({"activation": "swish"}, ValueError, "one of 'relu', 'gelu', 'gelu_tanh', got 'swish'"),
        ({"residual": torch.zeros(2)}, ValueError, r"the input's shape \[3\], got \[2\]; expand it"),
        ({"residual": torch.zeros(3, device="meta")}, ValueError, "on cpu, got torch.float32 on meta"),
        ({"seed": torch.tensor(1.0)}, TypeError, "int64 scalar tensor, got torch.float32"),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, ValueError, r"of shape \[2\]"),
        ({"input": torch.zeros(3, dtype=torch.int64)}, TypeError, "must be floating point, got torch.int64"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        dropout(**{"input": torch.zeros(3), "p": 0.5, **arguments})


def test_the_derivative_refuses_to_be_differentiated() -> None:
    with pytest.raises(RuntimeError, match="_dropout_bwd has no derivative of its own"):
        torch.ops.pyrnn._dropout_bwd(torch.ones(3, requires_grad=True), None, SEED, 0.5, "none", [True])
    with pytest.raises(ValueError, match="needs the input, got None"):
        torch.ops.pyrnn._dropout_bwd(torch.ones(3), None, SEED, 0.5, "gelu", [True])
    with pytest.raises(ValueError, match="needs a seed"):
        torch.ops.pyrnn.dropout(torch.ones(3), None, None, 0.5, "none")
