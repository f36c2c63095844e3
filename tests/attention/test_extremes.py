"""Scores so large that their rounding decides, sums over very many keys, and the softcap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.nn import MultiheadAttention
from tests.attention.cases import operands
from tests.attention.checking import RESULTS, check, cotangents, of_kernel, of_reference, of_torch, run
from tests.attention.exact import attend

T, S = 70, 133
BIASES = (-1e3, -1e6, -1e9, -1e18, -1e30, 1e9, 1e30, "lowest")


def whole_numbers(queries: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Operands whose products have no rounding in any dtype, so that a score has one right value."""
    shapes = ((2, 2, queries, 16), (2, 2, S, 16), (2, 2, S, 8))
    query, key, value = (torch.randint(-3, 4, shape).to(dtype) for shape in shapes)
    return query, key, value


def bias(name: float | str, dtype: torch.dtype) -> float:
    return torch.finfo(dtype).min if isinstance(name, str) else name


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("queries", [3, T])
@pytest.mark.parametrize("kind", ["a row", "padding on the left", "every row"])
@pytest.mark.parametrize("name", BIASES, ids=str)
def test_rows_of_huge_scores_have_weights_that_sum_to_one(
    name: float | str, kind: str, queries: int, dtype: torch.dtype
) -> None:
    """The logarithm of a row's sum has no place beside a maximum of -1e9: neither may be lost."""
    low = bias(name, dtype)
    mask = torch.zeros(queries, S, dtype=dtype)
    if kind == "a row":
        mask[queries // 2] = low
    elif kind == "every row":
        mask[:] = low
    else:
        mask[:, : S // 2] = low
    options: dict[str, Any] = {"attn_mask": mask, "is_causal": kind == "padding on the left"}
    q, k, v = whole_numbers(queries, dtype)
    work = torch.float64 if dtype is torch.float64 else torch.float32
    for return_weights in ("full", "mean", None):
        options["return_weights"] = return_weights
        found = run(of_kernel, (q, k, v), options, dtype)
        results = tuple(found[result] for result in RESULTS[:2] if result in found)
        exact = attend((q, k, v), tuple(cotangents(results, dtype)), **options, scores_dtype=work)
        for result, right in exact.items():
            # Weights are eps apart, gradients are differences of sums of them.
            error = (found[result].double() - right).abs().max()
            assert error <= 16 * torch.finfo(dtype).eps * right.abs().max().clamp(min=1), (result, error)
        if return_weights == "full" and dtype is not torch.bfloat16:  # whose weights are rounded one by one
            off = (found["weights"].double().sum(-1) - 1).abs().max()
            assert off <= 4 * torch.finfo(dtype).eps, off


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("queries", [1, 4, T])
@pytest.mark.parametrize("kind", ["mean", "full", None])
def test_weights_of_large_scores_sum_to_one_in_both_passes(
    kind: str | None, queries: int, dtype: torch.dtype
) -> None:
    """Passes that multiply in another order round large scores in another way: each takes its own sum."""
    q, k, v = (t.requires_grad_() for t in operands(T=queries, S=1500, D=40, dtype=dtype))
    output, *weights = of_kernel(q, k, v, scale=1e3, return_weights=kind)
    eps = torch.finfo(dtype).eps
    for rows in weights:
        assert (rows.double().sum(-1) - 1).abs().max() <= 4 * eps
    # With gradients of 1, that of a value is the sum of its weights.
    d_value = torch.autograd.grad(output.sum(), v)[0].double()
    assert (d_value.sum(2) - queries).abs().max() <= 8 * eps * queries


@pytest.mark.parametrize("need_weights", [False, True])
def test_a_row_masked_by_a_huge_number_has_torchs_gradients(need_weights: bool) -> None:
    torch.manual_seed(0)
    theirs = torch.nn.MultiheadAttention(16, 2, batch_first=True)
    ours = MultiheadAttention(16, 2, batch_first=True)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(1, 70, 16)
    mask = torch.zeros(70, 70)
    mask[35] = -1e9
    for layer in (ours, theirs):
        # torch's fused kernel has the fault as well: its other path, which returns weights, has not.
        weights = need_weights or layer is theirs
        layer(x, x, x, attn_mask=mask, need_weights=weights)[0].square().sum().backward()
    torch.testing.assert_close(ours.in_proj_weight.grad, theirs.in_proj_weight.grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("queries", [2, 20])
def test_the_lowest_number_of_a_mask_is_a_number_on_every_route(queries: int, dtype: torch.dtype) -> None:
    """Scores vanish beside it, but for float16, whose range is small: only -inf hides."""
    q, k, v = operands(T=queries, S=33, dtype=dtype)
    mask = torch.full((queries, 33), torch.finfo(dtype).min, dtype=dtype)
    working = torch.promote_types(dtype, torch.float32)
    scores = q.to(working) @ k.to(working).mT * 0.5 + mask.to(working)
    exact = torch.softmax(scores.double(), -1) @ v.double()
    for function in (of_kernel, of_reference):
        (out,) = function(q, k, v, attn_mask=mask)
        assert (out.double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("keys", [3000, 20_000, 131_072])
@pytest.mark.parametrize("queries", [1, 5, 16, 64])
def test_rounding_does_not_grow_with_the_number_of_keys(queries: int, keys: int) -> None:
    check(operands(B=1, H=1, T=queries, S=keys, D=8, V=8, dtype=torch.float32), {})


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("kind", ["alike", "rising", "falling"])
def test_many_alike_or_rising_scores_are_summed_precisely(kind: str) -> None:
    """A maximum that moves a little with every block would round all sums anew each time."""
    keys = 20_000
    q, k, v = operands(B=1, H=1, T=8, S=keys, D=4, V=4, dtype=torch.float32)
    slope = {"alike": 0.0, "rising": 1e-3, "falling": -1e-3}[kind]
    check((q * 0.01, k, v.abs()), {"attn_mask": torch.arange(keys) * slope})


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("queries", [1, 64])
def test_gradients_of_keys_do_not_round_more_with_many_queries(queries: int) -> None:
    check(operands(B=1, H=1, T=queries * 300, S=64, D=8, V=8, dtype=torch.float32), {})


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("softcap", [5.0, 50.0])
def test_softcap_errs_no_more_than_the_plain_formula(softcap: float) -> None:
    """An error of tanh is multiplied by the cap. Single sequences scatter: errors of many are added."""
    torch.manual_seed(0)
    q, k, v = operands(B=200, H=2, T=17, S=64, D=32, V=16, dtype=torch.float32)
    ours, theirs, exact = (
        run(function, (q * 16, k, v), {"softcap": softcap}, dtype)
        for function, dtype in (
            (of_kernel, torch.float32),
            (of_torch, torch.float32),
            (of_reference, torch.float64),
        )
    )
    for name, right in exact.items():
        ratio = error_of_sequences(ours[name], right) / error_of_sequences(theirs[name], right)
        assert ratio <= 1.2, f"{name}: {ratio:.2f} times the error of the plain formula"


def error_of_sequences(found: Tensor, exact: Tensor) -> float:
    """The largest error of each sequence [B, H, rows, features], added up."""
    return (found.double() - exact).abs().amax((1, 2, 3)).sum().item()
