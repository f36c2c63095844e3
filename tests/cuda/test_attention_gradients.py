"""Gradients by the CUDA kernels of attention: what must not leak, extremes, the order of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.ops.attention import cuda
from tests.attention.cases import operands, same_bits
from tests.attention.checking import (
    Composed,
    Kernel,
    cotangents,
    of_torch,
    run,
)
from tests.attention.exact import attend
from tests.attention.test_accuracy import OPTIONS
from tests.attention.test_extremes import bias, whole_numbers
from tests.attention.test_numbers import HIDING, S, T, at

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
GRADIENTS = ("d_query", "d_key", "d_value")


def gradients(
    function: Kernel, tensors: tuple[Tensor, ...], options: dict[str, Any], dtype: torch.dtype
) -> dict[str, Tensor]:
    """As `run`, of query, key and value alone, computed in `dtype`."""
    mask = options.get("attn_mask")
    if mask is not None and mask.is_floating_point():
        mask = mask.to(dtype)

    def with_mask(*leaves: Tensor, **others: Any) -> Any:
        return function(*leaves, attn_mask=mask, **others)

    others = {name: option for name, option in options.items() if name != "attn_mask"}
    found = run(with_mask, tensors, others, dtype)
    return {name: found[name] for name in GRADIENTS}


def test_the_kernels_run(monkeypatch: pytest.MonkeyPatch, kernel: Kernel) -> None:
    ran = []
    backward = cuda.backward

    def noted(*args: Any, **options: Any) -> Any:
        ran.append(options)
        return backward(*args, **options)

    monkeypatch.setattr(cuda, "backward", noted)
    q, k, v = (t.requires_grad_() for t in operands(dtype=torch.float32))
    kernel(q, k, v)[0].sum().backward()
    assert ran


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("needs", [(True, False, False), (False, True, False), (False, False, True)])
def test_one_gradient_alone_is_the_one_of_all(
    needs: tuple[bool, ...], dtype: torch.dtype, kernel: Kernel
) -> None:
    tensors = operands(T=70, S=90, D=20, V=20, dtype=dtype)
    together = gradients(kernel, tensors, {"is_causal": True}, dtype)
    leaves = [t.requires_grad_(need) for t, need in zip(tensors, needs, strict=True)]
    output = kernel(*leaves, is_causal=True)
    output[0].backward(cotangents(output, dtype)[0])
    for name, leaf, need in zip(GRADIENTS, leaves, needs, strict=True):
        assert (leaf.grad is not None) == need
        assert leaf.grad is None or torch.equal(leaf.grad, together[name])


def test_gradcheck(kernel: Kernel) -> None:
    tensors = tuple(t.requires_grad_() for t in operands(H=4, K=2, T=5, S=7))
    options: dict[str, Any] = {"is_causal": True, "query_start": 2, "softcap": 2.0, "enable_gqa": True}
    dropped = {"dropout_p": 0.4, "seed": torch.tensor(3)}
    assert torch.autograd.gradcheck(lambda *leaves: kernel(*leaves, **options, **dropped)[0], tensors)


# -------------------------------------------------------------------------------- what must not leak


@pytest.mark.parametrize("softcap", [0.0, 2.0])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", HIDING)
def test_hidden_keys_reach_nothing(
    name: str, dtype: torch.dtype, garbage: float, softcap: float, kernel: Kernel
) -> None:
    options = {**at(dtype, HIDING[name]), "softcap": softcap}
    q, k, v = operands(T=T, S=S, D=9, V=18, dtype=dtype)
    visible = Composed.of(q, k, v, **options).visible.expand(2, 2, T, S)
    rtol, atol = (0.02, 0.01) if dtype.itemsize == 2 else (1e-5, 1e-6)
    for j in (0, 65, S - 1):
        spoilt_k, spoilt_v = k.clone(), v.clone()
        spoilt_k[:, :, j, 3] = spoilt_v[:, :, j, 17] = garbage
        masked = ~visible[..., j]  # queries [B, H, T] for which key j is masked
        clean, dirty = (
            of_queries(kernel, masked, q, *pair, **options) for pair in ((k, v), (spoilt_k, spoilt_v))
        )
        # Not the same bits: a block with garbage in it is summed with more care.
        torch.testing.assert_close(dirty[0][masked], clean[0][masked], rtol=rtol, atol=atol)
        nobody = masked.all(-1)
        for found, right in zip(dirty[1:], clean[1:], strict=True):
            torch.testing.assert_close(found[nobody], right[nobody], rtol=rtol, atol=atol)
            assert not found[nobody][:, j].any()


def of_queries(kernel: Kernel, queries: Tensor, *tensors: Tensor, **options: Any) -> tuple[Tensor, ...]:
    """Gradients of the output of `queries` [B, H, T] alone."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    output = kernel(*leaves, **options)
    given = cotangents(output, tensors[0].dtype)[0]
    return torch.autograd.grad(output[0][queries], leaves, given[queries])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("what", ["query", "gradient"])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
def test_queries_that_see_nothing_reach_nothing(
    garbage: float, what: str, dtype: torch.dtype, kernel: Kernel
) -> None:
    q, k, v = (t.requires_grad_() for t in operands(T=T, S=S, dtype=dtype))
    options: dict[str, Any] = {"is_causal": True, "query_start": -3}
    found = []
    for number in (0.0, garbage):
        leaves = [t.detach().clone().requires_grad_() for t in (q, k, v)]
        if what == "query":
            leaves[0].data[:, :, :3] = number
        output = kernel(*leaves, **options)
        given = cotangents(output, dtype)[0]
        if what == "gradient":
            given[:, :, :3] = number
        found.append(torch.autograd.grad(output[0], leaves, given))
    torch.testing.assert_close(found[1], found[0])
    assert all(t.isfinite().all() for t in found[1])
    assert not found[1][0][:, :, :3].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("what", ["query", "gradient"])
@pytest.mark.parametrize("name", HIDING)
def test_a_query_that_is_nan_spoils_the_gradients_of_the_keys_that_it_sees(
    name: str, what: str, dtype: torch.dtype, kernel: Kernel
) -> None:
    options = at(dtype, HIDING[name])
    q, k, v = operands(T=T, S=S, dtype=dtype)
    visible = Composed.of(q, k, v, **options).visible.expand(2, 2, T, S)[:, :, 1]
    if what == "query":
        q[:, :, 1, 0] = torch.nan
    leaves = [t.requires_grad_() for t in (q, k, v)]
    output = kernel(*leaves, **options)
    given = cotangents(output, dtype)[0]
    if what == "gradient":
        given[:, :, 1] = torch.nan
    for found in torch.autograd.grad(output[0], leaves, given)[1:]:
        assert torch.equal(found.isnan(), visible.unsqueeze(-1).expand_as(found))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", ["a row", "padding on the left", "every row"])
@pytest.mark.parametrize("name", [-1e3, -1e9, 1e9, "lowest"], ids=str)
def test_rows_of_huge_scores(name: float | str, kind: str, dtype: torch.dtype, kernel: Kernel) -> None:
    low = bias(name, dtype)
    if dtype is torch.float16:
        low = max(min(low, 6e4), -6e4)
    mask = torch.zeros(T, S, dtype=dtype)
    if kind == "a row":
        mask[T // 2] = low
    elif kind == "every row":
        mask[:] = low
    else:
        mask[:, : S // 2] = low
    options: dict[str, Any] = {"attn_mask": mask, "is_causal": kind == "padding on the left"}
    tensors = whole_numbers(T, dtype)
    found = gradients(kernel, tensors, options, dtype)
    work = torch.float64 if dtype is torch.float64 else torch.float32
    results = of_torch(*tensors, **options)
    exact = attend(tensors, tuple(cotangents(results, dtype)), **options, scores_dtype=work)
    for gradient in GRADIENTS:
        right = exact[gradient]
        error = (found[gradient].double() - right).abs().max()
        assert error <= 16 * torch.finfo(dtype).eps * right.abs().max().clamp(min=1), (gradient, error)


# -------------------------------------------------------------------------------- determinism


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", ["nothing", "everything"])
def test_the_order_of_threads_changes_nothing_of_few(
    name: str, dtype: torch.dtype, schedules: Callable[[int], None], kernel: Kernel
) -> None:
    tensors = operands(B=1, H=4, K=2, T=150, S=131, D=20, V=20, dtype=dtype)
    options = {**at(dtype, OPTIONS[name]), "enable_gqa": True}
    for option in ("lengths", "alibi_slopes"):
        if option in options:
            options[option] = options[option][:1] if option == "lengths" else options[option].repeat(2)
    first = tuple(gradients(kernel, tensors, options, dtype).values())
    for seed in range(4):
        schedules(seed)
        assert same_bits(tuple(gradients(kernel, tensors, options, dtype).values()), first), seed
