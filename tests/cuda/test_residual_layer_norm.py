"""Layer normalisation of a residual sum on CUDA: numbers, gradients, layouts, bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.library import opcheck

from pyrnn.ops import dropout, residual_layer_norm, residual_layer_norm_route
from pyrnn.reference.residual_layer_norm import residual_layer_norm as reference
from tests.cuda.cases import DTYPES
from tests.helpers import assert_as_accurate
from tests.ops.test_residual_layer_norm import NAMES, drawn, tensors_of

SEED = torch.tensor(-1234567890123456789)
#: Around pieces of features, warps and blocks of rows, and slices; more than 1024 features take a block.
SHAPES = [(1, 1), (9, 3), (3, 8), (40, 33), (2, 520), (2, 1024), (2, 1025), (3, 1032), (1, 4100)]
#: Several slices, and one that is not full.
MANY_ROWS = (100, 9)


def run(
    operator: Callable[..., tuple[Tensor, Tensor]], given: list[Tensor], dtype: torch.dtype, place: str
) -> list[Tensor]:
    """Results and gradients in `dtype`, on the CPU."""
    leaves = [t.to(place, dtype, copy=True).requires_grad_() for t in given]
    found = operator(*leaves)
    upstream = [drawn(*given[0].shape, seed=n).to(given[0].dtype).to(place, dtype) for n in (7, 8)]
    return [t.detach().cpu() for t in (*found, *torch.autograd.grad(found, leaves, upstream))]


def ours(x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return residual_layer_norm(x, residual, weight, bias, p=0.3, seed=SEED)


def theirs(x: Tensor, residual: Tensor, weight: Tensor | None, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    return reference(x, residual, weight, bias, SEED, 1e-5, 0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, MANY_ROWS], ids=str)
def test_as_accurate_as_torch(shape: tuple[int, int], dtype: torch.dtype, device: str) -> None:
    given = tensors_of(*shape, dtype)
    found, by_torch = (run(f, given, dtype, device) for f in (ours, theirs))
    assert_as_accurate(found, by_torch, run(theirs, given, torch.float64, "cpu"), names=NAMES)


@pytest.mark.parametrize("shape", [*SHAPES, MANY_ROWS], ids=str)
def test_float64_to_the_last_digits(shape: tuple[int, int], device: str) -> None:
    given = tensors_of(*shape)
    for found, exact in zip(*(run(f, given, torch.float64, device) for f in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [1, 2, 3, 8, 13, 1030])
def test_the_mask_is_that_of_dropout(features: int, dtype: torch.dtype, device: str) -> None:
    """Rows begin within blocks of random words where the features are no multiple of 4."""
    x = torch.ones(5, features, dtype=dtype, device=device, requires_grad=True)
    zeros = torch.zeros_like(x)
    normed, summed = residual_layer_norm(x, zeros, p=0.5, seed=SEED)
    assert torch.equal(summed, dropout(x, 0.5, seed=SEED))
    (grad,) = torch.autograd.grad(normed.sin().sum(), x)
    assert not grad[summed == 0].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [0.1, 6e4, torch.inf, torch.nan])
def test_rows_of_equal_numbers_and_of_none(number: float, dtype: torch.dtype, device: str) -> None:
    x = torch.full((3, 37), number, dtype=dtype, device=device)
    normed, _ = residual_layer_norm(torch.zeros_like(x), x)
    if torch.isfinite(x).all():
        assert not normed.any()
    else:
        assert normed.isnan().all()


def test_tensors_that_start_anywhere(device: str) -> None:
    given = [t.to(device) for t in tensors_of(5, 24, torch.bfloat16)]
    places = [torch.zeros(t.numel() + 1, dtype=t.dtype, device=device)[1:].view(t.shape) for t in given]
    moved = [place.copy_(t) for place, t in zip(places, given, strict=True)]
    for a, b in zip(*(run(ours, each, torch.bfloat16, device) for each in (given, moved)), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(a, b) for a, b in zip(ours(*moved), ours(*given), strict=True))


def test_without_weight_and_bias_and_some_gradients(device: str) -> None:
    x, residual = (t.to(device).requires_grad_() for t in tensors_of(9, 21)[:2])
    for wanted in (x, residual):
        grads = [
            torch.autograd.grad(f(x, residual, None, None)[0].sin().sum(), wanted) for f in (ours, theirs)
        ]
        torch.testing.assert_close(*grads)


def test_no_order_of_the_threads_changes_a_bit(device: str, schedules: Callable[[int], None]) -> None:
    results = []
    for schedule in (1, 2, 3):
        schedules(schedule)
        results.append(run(ours, tensors_of(70, 40, torch.float32), torch.float32, device))
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


def test_gradients(device: str) -> None:
    leaves = tuple(t.to(device).requires_grad_() for t in tensors_of(2, 3))
    torch.autograd.gradcheck(ours, leaves)
    torch.autograd.gradgradcheck(ours, leaves)


def test_opcheck_and_route(device: str) -> None:
    given = [t.to(device).requires_grad_() for t in tensors_of(3, 7, torch.float16)]
    opcheck(torch.ops.pyrnn.residual_layer_norm.default, (*given, SEED, 1e-5, 0.4))
    for dtype in DTYPES:
        reason = residual_layer_norm_route(torch.zeros(1, dtype=dtype, device=device)).reason
        assert reason == f"CUDA kernels for {dtype}"
