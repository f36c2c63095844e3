"""Dropout on CUDA: the mask of the CPU bit for bit, numbers, gradients, and the layers that use it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

import pyrnn.nn
from pyrnn import _native
from pyrnn.nn import parts
from pyrnn.nn.parts import feed_forward
from pyrnn.ops import dropout, dropout_route
from pyrnn.reference.dropout import dropout as reference
from pyrnn.reference.dropout import dropout_keep
from tests.cuda.cases import DTYPES, on_cpu
from tests.helpers import assert_as_accurate

SEED = torch.tensor(-1234567890123456789)
ACTIVATIONS = (None, "relu", "gelu", "gelu_tanh")
#: Around the elements of a thread (4 or 8) and of a block (1024 or 2048).
SIZES = (0, 1, 3, 4, 5, 8, 33, 1023, 1025, 2049, 4100)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---- the mask ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("size", SIZES)
def test_same_bits_as_on_the_cpu(size: int, dtype: torch.dtype, device: str) -> None:
    x, upstream = numbers(2, size).to(dtype)

    def call(place: str) -> list[Tensor]:
        leaf = x.to(place, copy=True).requires_grad_()
        out = dropout(leaf, 0.3, seed=SEED)
        (grad,) = torch.autograd.grad(out, leaf, upstream.to(place))
        return [out.detach().cpu(), grad.cpu()]

    ours = call(device)
    assert torch.equal(ours[0] != 0, dropout_keep(SEED, 0.3, x.shape, x.device) & (x != 0))
    assert all(torch.equal(a, b) for a, b in zip(ours, on_cpu(call), strict=True))


@pytest.mark.parametrize("p", [2.0**-33, 1 - 2.0**-33, 1 - 2.0**-53])
def test_probabilities_beside_0_and_1(p: float, device: str) -> None:
    ones = torch.ones(1000, device=device)
    kept = dropout(ones, p, seed=SEED).cpu() != 0
    assert torch.equal(kept, dropout_keep(SEED, p, kept.shape, kept.device))


def test_more_elements_than_threads_of_the_grid(device: str) -> None:
    """Threads take several pieces each."""
    if getattr(_native.emulated_cuda, "detects_races", False):
        pytest.skip("the race detector takes fewer threads than this grid has")
    ones = torch.ones(1_100_003, device=device)
    kept = dropout(ones, 0.3, seed=SEED).cpu() != 0
    assert torch.equal(kept, dropout_keep(SEED, 0.3, kept.shape, kept.device))


# ---- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_as_accurate_as_torch(activation: Any, dtype: torch.dtype, p: float, device: str) -> None:
    x = torch.cat([torch.linspace(-12, 12, 1201, dtype=torch.float64), numbers(602)]).to(dtype)
    residual, upstream = numbers(2, x.numel(), seed=1).to(dtype)

    def run(operator: Any, to: torch.dtype, place: str) -> tuple[Tensor, ...]:
        leaf, other = (t.to(place, to, copy=True).requires_grad_() for t in (x, residual))
        out = operator(leaf, other)
        grads = torch.autograd.grad(out, (leaf, other), upstream.to(place, to))
        return tuple(t.detach().cpu() for t in (out, *grads))

    def ours(x: Tensor, residual: Tensor) -> Tensor:
        return dropout(x, p, residual=residual, activation=activation, seed=SEED)

    def theirs(x: Tensor, residual: Tensor) -> Tensor:
        return reference(x, residual, SEED, p, activation or "none")

    assert_as_accurate(
        run(ours, dtype, device),
        run(theirs, dtype, device),
        run(theirs, torch.float64, "cpu"),
        names=("output", "x", "residual"),
    )


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_float64_to_the_last_digits(activation: Any, p: float, device: str) -> None:
    x = torch.linspace(-9, 9, 4001, dtype=torch.float64, device=device).requires_grad_()
    ours = dropout(x, p, residual=x, activation=activation, seed=SEED)
    exact = reference(x, x, SEED, p, activation or "none")
    torch.testing.assert_close(ours, exact, rtol=1e-15, atol=4e-15)
    torch.testing.assert_close(
        torch.autograd.grad(ours.sum(), x), torch.autograd.grad(exact.sum(), x), rtol=1e-15, atol=1e-14
    )


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS[1:])
def test_activations_of_huge_numbers(activation: Any, dtype: torch.dtype, device: str) -> None:
    """Zero or the number: powers of them overflow, and infinity times 0 is no number."""
    x = torch.tensor([10.0**n for n in range(1, 309)], dtype=torch.float64).to(dtype)
    x = torch.cat((x[x.isfinite()], -x[x.isfinite()])).to(device).requires_grad_()
    out = dropout(x, 0.0, activation=activation)
    (grad,) = torch.autograd.grad(out.sum(), x)
    positive = (x > 0).to(dtype)
    torch.testing.assert_close(out, x.detach() * positive, rtol=torch.finfo(dtype).eps, atol=1e-20)
    torch.testing.assert_close(grad, positive, rtol=torch.finfo(dtype).eps, atol=1e-20)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf])
def test_dropped_elements_add_exactly_zero(
    number: float, activation: Any, dtype: torch.dtype, device: str
) -> None:
    x = torch.full((1001,), number, dtype=dtype, device=device, requires_grad=True)
    residual = numbers(1001).to(device, dtype)
    kept = dropout_keep(SEED, 0.5, x.shape, x.device)
    out = dropout(x, 0.5, residual=residual, activation=activation, seed=SEED)
    (grad,) = torch.autograd.grad(out, x, torch.full_like(out, torch.nan))
    assert torch.equal(out[~kept], residual[~kept])
    assert not grad[~kept].any()
    if number != number:
        assert out[kept].isnan().all()
    assert torch.equal(dropout(x, 1.0, residual=residual, activation=activation), residual)


# ---- layouts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("offsets", [(1, 0), (0, 1), (3, 3), (8, 16)], ids=str)
def test_tensors_that_start_anywhere(offsets: tuple[int, int], dtype: torch.dtype, device: str) -> None:
    count = 2085
    x, residual = numbers(2, count).to(device, dtype)
    starts = [torch.zeros(count + offset, dtype=dtype, device=device)[offset:] for offset in offsets]
    placed = [start.copy_(t).requires_grad_() for start, t in zip(starts, (x, residual), strict=True)]
    aligned = [t.clone().requires_grad_() for t in (x, residual)]
    results = []
    for leaf, other in (placed, aligned):
        out = dropout(leaf, 0.4, residual=other, activation="gelu", seed=SEED)
        upstream = other.detach()  # with the same start
        results.append((out, *torch.autograd.grad(out, leaf, upstream)))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("view", ["transposed", "strided", "expanded"])
def test_layouts(view: str, device: str) -> None:
    base = numbers(6, 10).to(device, torch.float32)
    x = {"transposed": base.t(), "strided": base[:, ::2], "expanded": base[:1].expand(6, 10)}[view]
    leaf = x.detach().requires_grad_()
    ours = dropout(leaf, 0.5, residual=x, seed=SEED)
    assert ours.is_contiguous()
    torch.testing.assert_close(ours, reference(x, x, SEED, 0.5, "none"))
    (grad,) = torch.autograd.grad(ours, leaf, x)
    torch.testing.assert_close(grad, reference(x, None, SEED, 0.5, "none"))


# ---- runs, derivatives, routes -------------------------------------------------------------------


def test_no_order_of_the_threads_changes_a_bit(device: str, schedules: Callable[[int], None]) -> None:
    x, upstream = numbers(2, 5003).to(device, torch.float32)
    x.requires_grad_()
    results = []
    for schedule in (1, 2, 3):
        schedules(schedule)
        out = dropout(x, 0.3, residual=upstream, activation="gelu_tanh", seed=SEED)
        results.append((out, *torch.autograd.grad(out, x, upstream)))
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


@pytest.mark.parametrize("activation", [None, "gelu", "gelu_tanh"])
def test_gradients(activation: Any, device: str) -> None:
    leaves = tuple(numbers(11, seed=n).to(device).requires_grad_() for n in range(2))

    def call(x: Tensor, residual: Tensor) -> Tensor:
        return dropout(x, 0.4, residual=residual, activation=activation, seed=SEED)

    torch.autograd.gradcheck(call, leaves)
    torch.autograd.gradgradcheck(call, leaves)


@pytest.mark.parametrize("p", [0.0, 0.4])
def test_opcheck(p: float, device: str) -> None:
    seed = SEED if p else None
    x, residual = (numbers(3, 7).to(device, torch.float16).requires_grad_() for _ in range(2))
    opcheck(torch.ops.pyrnn.dropout.default, (x, residual, seed, p, "gelu"))
    opcheck(torch.ops.pyrnn._dropout_bwd.default, (x.detach(), residual.detach(), seed, p, "gelu", [True]))


def test_route(device: str) -> None:
    for dtype in DTYPES:
        reason = dropout_route(torch.zeros(1, dtype=dtype, device=device)).reason
        assert reason == f"CUDA kernels for {dtype}"


def test_autocast_leaves_the_dtype(device: str) -> None:
    x = torch.randn(5, device=device)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert dropout(x, 0.5, activation="gelu").dtype is torch.float32
        assert dropout(x.half(), 0.5).dtype is torch.float16


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_feed_forward_network_trains_as_on_the_cpu(activation: str, device: str) -> None:
    """One step from the same seed drops the same elements and moves the parameters alike."""
    original = pyrnn.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, activation=activation).double()
    x = numbers(5, 3, 8)

    def train(place: str) -> list[Tensor]:
        layer, input = copy.deepcopy(original).to(place), x.to(place)
        torch.manual_seed(5)
        out = feed_forward(layer, input, layer.dropout2, residual=input, norm=layer.norm2).normed
        out.square().mean().backward()
        torch.optim.SGD(layer.parameters(), lr=0.1).step()
        return [out.detach().cpu(), *(parameter.detach().cpu() for parameter in layer.parameters())]

    ours = train(device)
    torch.testing.assert_close(ours, on_cpu(train))
    assert not torch.equal(ours[-1], original.norm2.bias)


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_drops_what_it_drops_on_the_cpu(
    norm_first: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same seed gives the same output in training mode: attention and all that stands behind it."""
    monkeypatch.setattr(parts, "_MANY_ELEMENTS", 0)  # sums and what normalises them in one pass
    layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.3, causal=True, norm_first=norm_first)
    stack, x = pyrnn.nn.TransformerEncoder(layer, 2).double(), numbers(5, 3, 8)

    def output(place: str) -> list[Tensor]:
        torch.manual_seed(7)
        with torch.no_grad():
            return [copy.deepcopy(stack).to(place)(x.to(place)).cpu()]

    torch.testing.assert_close(output(device), on_cpu(output))
