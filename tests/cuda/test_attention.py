"""CUDA attention: every kernel at sizes beside every tile, with every option and mask, against float64."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.ops import attention_route, scaled_dot_product_attention
from pyrnn.ops.attention import cuda
from pyrnn.ops.attention.call import Call
from tests.attention.cases import MASKS, Case, cases, operands
from tests.attention.checking import Kernel, check, of_kernel, of_torch
from tests.attention.test_accuracy import OPTIONS
from tests.cuda.cases import on_cpu

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)


def small(case: Case) -> Case:
    """Of a size that an emulated GPU runs soon, with features that the kernels take."""
    limit = cuda.MOST_FEATURES[case.dtype]
    (rows, keys), V = case.TS, case.V
    return replace(
        case,
        B=min(case.B, 2),
        TS=(min(rows, 150), min(keys, 250)),
        D=min(case.D, limit),
        V=None if V is None else min(V, limit),
    )


@pytest.mark.parametrize("case", [small(case) for dtype in DTYPES for case in cases("cuda", dtype)], ids=str)
def test_as_accurate_as_torch(case: Case, kernel: Kernel) -> None:
    check(case.operands(), case.options(), kernel=kernel)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("T", [3, 66])
@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_alone(name: str, T: int, dtype: torch.dtype, kernel: Kernel) -> None:
    options = {key: value.to(dtype) if key == "attn_mask" else value for key, value in OPTIONS[name].items()}
    check(operands(T=T, S=131, D=24, V=24, dtype=dtype), options, kernel=kernel)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", MASKS)
def test_each_mask_alone(name: str, dtype: torch.dtype, kernel: Kernel) -> None:
    mask = MASKS[name](2, 2, 66, 70)
    mask = mask if mask.dtype is torch.bool else mask.to(dtype)
    check(operands(T=66, S=70, D=24, V=24, dtype=dtype), {"attn_mask": mask}, kernel=kernel)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [(8, 8), (65, 1), (1, 129), (250, 256)], ids=str)
def test_sizes_of_heads(features: tuple[int, int], dtype: torch.dtype, kernel: Kernel) -> None:
    if max(features) > cuda.MOST_FEATURES[dtype]:
        pytest.skip(f"no kernel takes {max(features)} features in {dtype}")
    D, V = features
    for T in (1, 40):
        qkv = operands(B=1, H=4, K=2, T=T, S=97, D=D, V=V, dtype=dtype)
        check(qkv, {"enable_gqa": True, "is_causal": True, "query_start": 97 - T}, kernel=kernel)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("features", [64, 128, 256])
def test_each_width_with_work_in_splits(features: int, dtype: torch.dtype, kernel: Kernel) -> None:
    """The few blocks of one head share its keys, and its queries."""
    features = min(features, cuda.MOST_FEATURES[dtype])
    tensors = operands(B=1, H=1, T=200, S=250, D=features, V=features, dtype=dtype)
    check(tensors, {"is_causal": True}, kernel=kernel)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("H", "K"), [(4, 1), (6, 3)])
@pytest.mark.parametrize("is_causal", [False, True])
def test_heads_that_share_keys(H: int, K: int, is_causal: bool, dtype: torch.dtype, kernel: Kernel) -> None:
    options = {"enable_gqa": True, "is_causal": is_causal}
    check(operands(H=H, K=K, T=70, S=70, D=32, V=32, dtype=dtype), options, kernel=kernel)


def plan_of(device: str, qkv: tuple[Tensor, Tensor, Tensor]) -> cuda.Plan:
    query, key, value = (t.to(device) for t in qkv)
    none_given = (None, None, None, None, None)
    return cuda.plan(Call(query, key, value, *none_given, 0.0, True, None, 0, -1, -1, 0.0, "none"))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_splits_of_the_keys(dtype: torch.dtype, device: str, kernel: Kernel) -> None:
    qkv = operands(B=1, H=2, K=1, T=3, S=1500, D=16, V=24, dtype=dtype)
    assert plan_of(device, qkv).splits > 1
    for options in ({}, {"lengths": torch.tensor([5])}, {"window": (700, 9), "query_start": 1000}):
        check(qkv, {"enable_gqa": True, "dropout_p": 0.1, "seed": torch.tensor(3), **options}, kernel=kernel)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_parts_of_gradients_of_odd_size(dtype: torch.dtype, kernel: Kernel) -> None:
    """The sums of d_v lie behind an odd number of those of d_k, and are stored two at a time."""
    check(operands(B=1, H=1, T=768, S=33, D=9, V=18, dtype=dtype), {}, kernel=kernel)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_a_row_hidden_by_a_large_number_has_equal_weights_in_both_passes(
    dtype: torch.dtype, kernel: Kernel
) -> None:
    """Its scores are whole multiples of 64: a pass that rounds a product otherwise errs by e^64."""
    query, key, value = (t.requires_grad_() for t in operands(B=1, T=17, S=300, D=64, V=8, dtype=dtype))
    with torch.no_grad():
        query *= 30
    mask = torch.zeros(17, 300, dtype=dtype)
    mask[4] = -1e9 if dtype is not torch.float16 else -6e4
    (out,) = kernel(query, key, value, attn_mask=mask)
    grads = torch.autograd.grad(out.float().sum(), (query, key, value))
    assert all(grad.isfinite().all() for grad in grads)
    of_rows = grads[2].float().sum((2, 3)) / 8  # each weight reaches d_v once
    torch.testing.assert_close(of_rows, torch.full_like(of_rows, 17.0), rtol=0.02, atol=0.02)


def test_a_plan_names_what_runs(device: str) -> None:
    decoding, training = (operands(B=2, H=4, T=T, S=256, D=64, V=64, dtype=torch.bfloat16) for T in (1, 256))
    assert plan_of(device, decoding).rows < plan_of(device, training).rows
    many = operands(B=64, H=16, T=256, S=256, D=64, V=64, dtype=torch.bfloat16)
    assert plan_of(device, many).splits == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf")])
def test_nothing_leaks_from_places_that_a_query_does_not_see(
    garbage: float, dtype: torch.dtype, kernel: Kernel
) -> None:
    T = S = 70
    hidden = torch.zeros(S, dtype=torch.bool)
    hidden[[3, 20, 69]] = True
    later = torch.arange(S) > torch.arange(T)[:, None]
    for options, unseen in (
        ({"is_causal": True}, later),
        ({"lengths": torch.tensor([41, 41])}, (torch.arange(S) >= 41).expand(T, S)),
        ({"key_padding_mask": hidden.expand(2, S)}, hidden.expand(T, S)),
        ({"attn_mask": ~later & ~hidden}, later | hidden),
        ({"attn_mask": torch.zeros(T, S, dtype=dtype).masked_fill(later, -torch.inf)}, later),
        ({"window": (5, 2)}, (torch.arange(S) - torch.arange(T)[:, None] - 0).sub(-1.5).abs() > 3.5),
    ):
        query, key, value = operands(T=T, S=S, D=24, V=20, dtype=dtype)
        clean = kernel(query, key, value, **options)[0]
        for place in (1, 41, 69):
            blind = unseen[:, place]
            for spoiled in (key, value):
                dirty = spoiled.clone()
                dirty[:, :, place] = garbage
                changed = (query, dirty, value) if spoiled is key else (query, key, dirty)
                out = kernel(*changed, **options)[0]
                assert torch.isfinite(out[:, :, blind]).all(), (options, place)
                if spoiled is value and not torch.isnan(torch.tensor(garbage)):
                    assert not torch.isfinite(out[:, :, ~blind]).any()
                # Sums in another order where the values are looked at one by one.
                torch.testing.assert_close(out[:, :, blind], clean[:, :, blind], rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("low", [-1e9, "min"])
def test_rows_of_large_negative_masks(low: float | str, dtype: torch.dtype, kernel: Kernel) -> None:
    """Their weights are those that the rounded scores have: equal ones."""
    fill = torch.finfo(dtype).min if low == "min" else max(float(low), torch.finfo(dtype).min)
    query, key, value = operands(T=40, S=70, D=16, V=16, dtype=dtype)
    mask = torch.zeros(40, 70, dtype=dtype)
    mask[5] = fill
    out = kernel(query, key, value, attn_mask=mask)[0]
    if dtype in (torch.bfloat16, torch.float32):
        mean = value.double().mean(2)
        torch.testing.assert_close(out[:, :, 5].double(), mean, rtol=0.02, atol=0.02)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_order_of_threads_does_not_matter(
    dtype: torch.dtype, kernel: Kernel, schedules: Callable[[int], None]
) -> None:
    options = {"is_causal": True, "enable_gqa": True, "return_weights": "mean"}
    for T in (2, 66):
        qkv = operands(H=4, K=2, T=T, S=300, D=40, V=33, dtype=dtype)
        schedules(1)
        first = kernel(*qkv, **options)
        for seed in range(2, 9):
            schedules(seed)
            for once, again in zip(first, kernel(*qkv, **options), strict=True):
                assert torch.equal(once, again)


def test_dropout_is_that_of_the_cpu(kernel: Kernel) -> None:
    qkv = operands(B=2, H=3, T=21, S=50, D=8, V=8, dtype=torch.float32)
    options: dict[str, Any] = {"dropout_p": 0.4, "seed": torch.tensor(-5), "return_weights": "full"}
    ours = kernel(*qkv, **options)[1]
    cpu = on_cpu(lambda _: of_kernel(*qkv, **options)[1])
    assert torch.equal(ours == 0, cpu == 0)


def test_heads_that_no_kernel_takes_are_told(device: str) -> None:
    query = torch.randn(1, 1, 2, 300, device=device)
    route = attention_route(query)
    assert route.path == "reference"
    assert "at most 256 features" in route.reason
    key, value = torch.randn(1, 1, 3, 300, device=device), torch.randn(1, 1, 3, 2, device=device)
    ours = scaled_dot_product_attention(query, key, value)
    torch.testing.assert_close(ours, torch.nn.functional.scaled_dot_product_attention(query, key, value))
    narrow = torch.randn(1, 1, 2, 8, device=device)
    assert attention_route(narrow).path == "native"
    assert attention_route(narrow, query).path == "reference"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_strides_that_no_copy_takes(dtype: torch.dtype, device: str) -> None:
    """Rows that start at odd places, features that do not lie side by side, expanded dimensions."""
    query, key, value = operands(T=9, S=11, D=8, V=8, dtype=dtype)
    right = of_torch(query, key, value)[0]
    odd = torch.zeros(2, 2, 9, 11, dtype=dtype, device=device)[..., 1:9].copy_(query)
    turned = key.to(device).mT.contiguous().mT
    torch.testing.assert_close(of_kernel(odd, turned, value.to(device))[0].cpu(), right)
    one = value[:, :1].to(device).expand(2, 2, 11, 8)
    torch.testing.assert_close(of_kernel(odd, turned, one)[0].cpu(), of_torch(query, key, one.cpu())[0])
