"""Layer normalisation of a residual sum: numbers, gradients, transforms, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.library import opcheck
from torch.nn import functional as F

from pyrnn.ops import dropout, residual_layer_norm, residual_layer_norm_route
from pyrnn.reference.residual_layer_norm import residual_layer_norm as reference
from tests.helpers import assert_as_accurate

SEED = torch.tensor(-1234567890123456789)
DTYPES = [torch.float32, torch.bfloat16, torch.float64]
NAMES = ("normed", "summed", "d_input", "d_residual", "d_weight", "d_bias")
#: Rows and features around vectors, rows of random words, tasks and slices.
SHAPES = [(1, 1), (3, 1), (2, 5), (5, 8), (33, 17), (65, 32), (7, 100), (3, 1025), (4200, 3)]


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def tensors_of(rows: int, features: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """input, residual, weight, bias."""
    shapes = ((rows, features), (rows, features), (features,), (features,))
    made = [drawn(*shape, seed=n).to(dtype) for n, shape in enumerate(shapes)]
    made[1] += 3  # the mean is not small beside the deviations
    return made


def run(
    operator: Callable[..., tuple[Tensor, Tensor]], given: list[Tensor], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Results and gradients in `dtype`."""
    leaves = [t.to(dtype, copy=True).requires_grad_() for t in given]
    found = operator(*leaves)
    upstream = [drawn(*given[0].shape, seed=n).to(given[0].dtype).to(dtype) for n in (7, 8)]
    return tuple(t.detach() for t in (*found, *torch.autograd.grad(found, leaves, upstream)))


def ours(p: float = 0.3, eps: float = 1e-5) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda x, r, w, b: residual_layer_norm(x, r, w, b, eps=eps, p=p, seed=SEED)


def theirs(p: float = 0.3, eps: float = 1e-5) -> Callable[..., tuple[Tensor, Tensor]]:
    return lambda x, r, w, b: reference(x, r, w, b, SEED, eps, p)


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_accurate_as_torch(isa: str, shape: tuple[int, int], dtype: torch.dtype, p: float) -> None:
    given = tensors_of(*shape, dtype)
    exact = run(theirs(p), given, torch.float64)
    assert_as_accurate(run(ours(p), given, dtype), run(theirs(p), given, dtype), exact, names=NAMES)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_float64_to_the_last_digits(isa: str, shape: tuple[int, int]) -> None:
    given = tensors_of(*shape)
    for found, exact in zip(*(run(f(), given, torch.float64) for f in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [5, 8, 33, 64])
def test_the_sum_has_the_bits_of_dropout(isa: str, features: int, dtype: torch.dtype) -> None:
    x, residual = tensors_of(67, features, dtype)[:2]
    for leaf in (x, residual):
        leaf.requires_grad_()
    _, summed = residual_layer_norm(x, residual, p=0.4, seed=SEED)
    alone = dropout(x, 0.4, residual=residual, seed=SEED)
    assert torch.equal(summed, alone)
    # A gradient of the sum alone goes through dropout alone.
    upstream = drawn(67, features).to(dtype)
    for a, b in zip(*(torch.autograd.grad(y, (x, residual), upstream) for y in (summed, alone)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [0.1, 3.0, -1e30, 1e30])
def test_rows_of_equal_numbers_have_no_variance(isa: str, number: float, dtype: torch.dtype) -> None:
    x = torch.full((3, 37), number, dtype=dtype)
    given = [torch.zeros_like(x), x, *tensors_of(3, 37, dtype)[2:]]
    found = run(ours(0.0), given, dtype)
    assert torch.equal(found[0], given[3].expand(3, 37))
    assert all(torch.isfinite(each).all() for each in found)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan, 1e30])
def test_numbers_that_are_not_finite_or_huge(isa: str, number: float, dtype: torch.dtype) -> None:
    """A row is no number where torch's is, and rows beside it do not notice."""
    given = tensors_of(5, 37, dtype)
    given[1][2, 30] = number
    found, exact = (run(f(0.0), given, dtype) for f in (ours, theirs))
    others = [0, 1, 3, 4]
    for name, a, b in zip(NAMES, found, exact, strict=True):
        assert torch.equal(a.isfinite(), b.isfinite()), name
        if a.dim() == 2:
            assert a[others].isfinite().all(), name


@pytest.mark.parametrize("weight", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_without_weight_or_bias(weight: bool, bias: bool) -> None:
    x, residual, *parameters = tensors_of(9, 21)
    w, b = (t if there else None for t, there in zip(parameters, (weight, bias), strict=True))
    torch.testing.assert_close(ours()(x, residual, w, b), theirs()(x, residual, w, b))
    leaf = x.requires_grad_()
    grads = [torch.autograd.grad(f()(leaf, residual, w, b)[0].sin().sum(), leaf) for f in (ours, theirs)]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("wanted", [(n,) for n in range(4)] + [(0, 2), (1, 3)], ids=str)
def test_gradients_of_some(wanted: tuple[int, ...]) -> None:
    results = []
    for f in (ours, theirs):
        given = tensors_of(40, 11)
        leaves = [given[n].requires_grad_() for n in wanted]
        results.append(torch.autograd.grad(f()(*given)[0].sin().sum(), leaves))
    torch.testing.assert_close(*results)


def test_threads_change_no_bit() -> None:
    given, before = tensors_of(1000, 40, torch.float32), torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(run(ours(), given, torch.float32))
    torch.set_num_threads(before)
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 3, 4), (7,), (0,)], ids=str)
def test_shapes(shape: tuple[int, ...]) -> None:
    x, residual = drawn(*shape), drawn(*shape, seed=1)
    w, b = drawn(shape[-1], seed=2).requires_grad_(), drawn(shape[-1], seed=3)
    found, exact = (f()(x, residual, w, b) for f in (ours, theirs))
    torch.testing.assert_close(found, exact)
    torch.testing.assert_close(*(torch.autograd.grad(y[0].sin().sum(), w) for y in (found, exact)))


def test_strided_arguments() -> None:
    x, residual, w, b = tensors_of(6, 10)
    given = (x.t(), residual.t(), w[:6], b[::2].repeat(2)[:6])
    found = ours()(*given)
    assert all(each.is_contiguous() for each in found)
    torch.testing.assert_close(found, theirs()(*given))


def test_torch_seeds_the_dropout_as_that_of_dropout() -> None:
    x = torch.randn(20, 30)
    torch.manual_seed(3)
    summed, state = residual_layer_norm(x, x, p=0.5)[1], torch.get_rng_state()
    torch.manual_seed(3)
    assert torch.equal(summed, dropout(x, 0.5, residual=x))
    assert torch.equal(state, torch.get_rng_state())
    residual_layer_norm(x, x, p=0.5, training=False)
    residual_layer_norm(x, x)
    assert torch.equal(state, torch.get_rng_state())


# ---- derivatives and transforms ------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_gradcheck_and_gradgradcheck(p: float) -> None:
    leaves = tuple(t.requires_grad_() for t in tensors_of(3, 5))
    assert torch.autograd.gradcheck(ours(p), leaves)
    assert torch.autograd.gradgradcheck(ours(p), leaves)
    assert torch.autograd.gradgradcheck(lambda *t: ours(p)(*t)[0], leaves)


def test_third_derivative() -> None:
    results = []
    for f in (ours, theirs):
        x, *others = tensors_of(2, 4)
        derived = f()(x.requires_grad_(), *others)[0]
        for _ in range(3):
            (derived,) = torch.autograd.grad(derived.sin().sum(), x, create_graph=True)
        results.append(derived)
    torch.testing.assert_close(*results)


def test_what_is_kept() -> None:
    """The sum, the statistics, weight and seed; neither input nor residual."""
    leaves = [t.requires_grad_() for t in tensors_of(6, 8)]
    kept: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ours()(*leaves)
    assert sorted(tuple(t.shape) for t in kept) == [(), (6,), (6,), (6, 8), (8,)]


# torch compiles its formulas for forward-mode derivatives at the first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_functorch() -> None:
    x, residual, w, b = tensors_of(3, 5)
    tangent = drawn(3, 5, seed=9)

    def loss(f: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: f()(x, residual, w, b)[0].sin().sum()

    torch.testing.assert_close(grad(loss(ours))(x), grad(loss(theirs))(x))
    seconds = [grad(lambda x, f=f: grad(loss(f))(x).square().sum())(x) for f in (ours, theirs)]
    torch.testing.assert_close(*seconds)
    torch.testing.assert_close(
        *(jvp(lambda x, f=f: f()(x, x, w, b), (x,), (tangent,)) for f in (ours, theirs))
    )
    rows = vmap(ours(), (0, 0, None, None))(x, residual, w, b)
    exact = [theirs()(*row, w, b) for row in zip(x, residual, strict=True)]
    torch.testing.assert_close(rows, tuple(torch.stack(each) for each in zip(*exact, strict=True)))


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_opcheck(p: float) -> None:
    given = [t.requires_grad_() for t in tensors_of(3, 7, torch.float32)]
    seed = SEED if p else None
    opcheck(torch.ops.pyrnn.residual_layer_norm.default, (*given, seed, 1e-5, p))
    opcheck(
        torch.ops.pyrnn.residual_layer_norm.default, (given[0], given[1].detach(), None, None, seed, 0.1, p)
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_compiled_training_is_one_graph(dynamic: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(ours(), fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (5, 8):
        given = tensors_of(rows, 6, torch.float32)
        for found, eager in zip(*(run(f, given, torch.float32) for f in (compiled, ours())), strict=True):
            torch.testing.assert_close(found, eager)


# ---- routes and refusals -------------------------------------------------------------------------


def test_route() -> None:
    assert residual_layer_norm_route(torch.zeros(1)).path == "native"
    assert "float16" in residual_layer_norm_route(torch.zeros(1, dtype=torch.float16)).reason
    x = torch.randn(4, 6).half()
    normed, _ = residual_layer_norm(x, x)
    torch.testing.assert_close(normed, F.layer_norm(x + x, (6,)))
    assert residual_layer_norm(*(torch.empty(3, 4, device="meta"),) * 2)[1].device.type == "meta"


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"p": 1.5}, ValueError, r"p must be a probability in \[0, 1\], got 1.5"),
        ({"eps": -1.0}, ValueError, "eps must not be negative, got -1.0"),
        ({"eps": "much"}, TypeError, "eps should be of type float, got: str"),
        ({"residual": torch.zeros(3)}, ValueError, r"residual must have shape the input's = \[2, 3\]"),
        ({"residual": torch.zeros(2, 3).double()}, ValueError, "not the same dtype"),
        ({"residual": None}, TypeError, "residual must be a dense strided tensor, got NoneType"),
        ({"weight": torch.zeros(2)}, ValueError, r"weight must have shape \[E\] = \[3\], got \[2\]"),
        ({"bias": torch.zeros(3, device="meta")}, ValueError, "not at the same device"),
        ({"input": torch.zeros(())}, ValueError, "got a scalar"),
        ({"input": torch.zeros(2, 3).long()}, TypeError, "must be floating point, got torch.int64"),
        ({"seed": torch.tensor(1.0)}, TypeError, "int64 scalar tensor, got torch.float32"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"input": torch.zeros(2, 3), "residual": torch.zeros(2, 3), "p": 0.5, **arguments}
    with pytest.raises(error, match=message):
        residual_layer_norm(**given)
