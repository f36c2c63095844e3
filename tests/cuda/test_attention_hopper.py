"""The forward pass for compute capability 9.0a: when it is chosen, what it computes, beside the other one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import pyrnn
from pyrnn.ops.attention import cuda
from pyrnn.ops.attention.call import Call
from tests.attention.cases import MASKS, operands
from tests.attention.checking import Kernel, check, of_reference, of_torch, sizes_of_terms
from tests.attention.test_accuracy import OPTIONS

HALF = [torch.bfloat16, torch.float16]
#: Where the backward pass must find the very same scores.
OTHERS = {name: options for name, options in OPTIONS.items() if name != "everything"}


def plan_of(device: str, *qkv: Tensor, mask: Tensor | None = None) -> cuda.Plan:
    query, key, value = (t.to(device) for t in qkv)
    mask = None if mask is None else mask.to(device)
    return cuda.plan(
        Call(query, key, value, mask, None, None, None, None, 0.0, True, None, 0, -1, -1, 0.0, "none")
    )


@pytest.fixture
def hopper(kernel: Kernel, device: str) -> Iterator[Kernel]:
    """The kernel of 9.0a, or an error where it does not take a call."""
    if plan_of(device, *operands(T=66, D=64, V=64, dtype=torch.bfloat16)).kernel != "hopper":
        pytest.skip("neither this device nor an emulated one is of compute capability 9.0")
    cuda.forced_kernel = "hopper"
    yield kernel
    cuda.forced_kernel = ""


def check_output(qkv: tuple[Tensor, Tensor, Tensor], options: dict[str, Any], kernel: Kernel) -> None:
    """The bound of `check`, of a forward pass alone."""
    with torch.no_grad():
        (ours,), (theirs,) = kernel(*qkv, **options), of_torch(*qkv, **options)[:1]
        (exact,) = of_reference(*(x.double() for x in qkv), **options)
    error, torch_error = ((each.double() - exact).abs().max().item() for each in (ours, theirs))
    size = max(exact.abs().max().item(), sizes_of_terms(qkv, options)["output"])
    bound = 2 * torch_error + 4 * torch.finfo(ours.dtype).eps * size
    assert error <= bound, f"error {error:.3g} above {bound:.3g} (torch's own: {torch_error:.3g})"


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize(("features", "dtype"), [(24, torch.bfloat16), (100, torch.float16)], ids=str)
def test_each_option_alone(name: str, features: int, dtype: torch.dtype, hopper: Kernel) -> None:
    check(operands(T=66, S=131, D=features, V=features - 4, dtype=dtype), OTHERS[name], kernel=hopper)


@pytest.mark.parametrize("name", [name for name in MASKS if name.startswith("bool")])
def test_boolean_masks(name: str, hopper: Kernel) -> None:
    mask = MASKS[name](2, 2, 66, 131)
    check(operands(T=66, S=131, D=32, V=32, dtype=torch.bfloat16), {"attn_mask": mask}, kernel=hopper)


@pytest.mark.parametrize("features", [(64, 64), (128, 128), (40, 120), (128, 8)], ids=str)
@pytest.mark.parametrize(("T", "S"), [(17, 1), (64, 79), (65, 81), (128, 128), (129, 300), (200, 129)])
def test_sizes_beside_every_tile(T: int, S: int, features: tuple[int, int], hopper: Kernel) -> None:
    D, V = features
    qkv = operands(B=1, H=2, K=1, T=T, S=S, D=D, V=V, dtype=torch.bfloat16)
    for options in ({}, {"is_causal": True}, {"is_causal": True, "query_start": S - T}):
        check_output(qkv, {"enable_gqa": True, **options}, hopper)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_blocks_that_do_several_pieces_of_work(dtype: torch.dtype, hopper: Kernel, device: str) -> None:
    """In two rounds, the second one of them backwards; some have no keys."""
    qkv = operands(B=19, H=16, K=8, T=20, S=40, D=16, V=24, dtype=dtype)
    assert plan_of(device, *qkv).blocks < 19 * 8
    lengths = torch.arange(19) * 13 % 41
    check_output(qkv, {"enable_gqa": True, "is_causal": True, "lengths": lengths}, hopper)


def test_blocks_that_share_keys(hopper: Kernel, device: str) -> None:
    qkv = operands(B=1, H=2, K=1, T=20, S=1100, D=64, V=64, dtype=torch.bfloat16)
    assert plan_of(device, *qkv).splits > 1
    options = {"window": (700, 9), "query_start": 1000, "dropout_p": 0.1, "seed": torch.tensor(3)}
    for each in ({}, {"lengths": torch.tensor([5])}, options):
        check_output(qkv, {"enable_gqa": True, **each}, hopper)


@pytest.mark.parametrize(("features", "dtype"), [(64, torch.bfloat16), (128, torch.float16)], ids=str)
def test_twenty_runs_have_the_same_bits(
    features: int, dtype: torch.dtype, hopper: Kernel, schedules: Callable[[int], None]
) -> None:
    qkv = operands(B=1, H=2, K=1, T=70, S=260, D=features, V=features, dtype=dtype)
    for options in ({}, {"alibi_slopes": torch.ones(2) / 16, "softcap": 3.0}):
        runs = []
        for seed in range(20):
            schedules(seed)
            runs.append(hopper(*qkv, enable_gqa=True, is_causal=True, **options)[0])
        assert all(torch.equal(run, runs[0]) for run in runs)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("garbage", [float("nan"), float("inf")])
def test_what_a_query_does_not_see_does_not_leak(garbage: float, dtype: torch.dtype, hopper: Kernel) -> None:
    hidden = torch.arange(300)[None] % 7 == 2
    for options, unseen in (
        ({"key_padding_mask": hidden}, hidden[0]),
        ({"lengths": torch.tensor([150])}, torch.arange(300) >= 150),
        ({"attn_mask": ~hidden}, hidden[0]),
    ):
        query, key, value = operands(B=1, T=66, S=300, D=40, V=100, dtype=dtype)
        clean = hopper(query, key, value, **options)[0]
        key[:, :, unseen] = value[:, :, unseen] = garbage
        dirty = hopper(query, key, value, **options)[0]
        torch.testing.assert_close(dirty, clean, rtol=2e-2, atol=1e-2)
        value[:, :, 20] = garbage  # which all see
        assert not hopper(query, key, value, **options)[0].isfinite().any()


def expanded(*qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    query, key, value = (t.expand(2, -1, -1, -1) for t in qkv)
    return query, key, value


REFUSED: dict[str, tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]] = {
    "not of 16 bits": (operands(T=66, dtype=torch.float32), {}),
    "a warp has all queries": (operands(T=9, dtype=torch.bfloat16), {}),
    "more than 128": (operands(T=66, V=136, dtype=torch.bfloat16), {}),
    "groups of 3 heads": (operands(T=66, H=6, K=2, dtype=torch.float16), {}),
    "the very same scores": (
        operands(T=66, dtype=torch.float16),
        {"mask": torch.zeros(1, 1, 66, 7, dtype=torch.float16)},
    ),
    "an expanded dimension": (expanded(*operands(B=1, T=66, D=8, V=8, dtype=torch.bfloat16)), {}),
}


@pytest.mark.parametrize("why", REFUSED)
def test_calls_for_the_other_kernel_are_told_with_the_reason(why: str, hopper: Kernel, device: str) -> None:
    qkv, options = REFUSED[why]
    with pytest.raises(ValueError, match=f"9.0a does not take this call: .*{why}"):
        plan_of(device, *qkv, **options)
    cuda.forced_kernel = ""
    found = plan_of(device, *qkv, **options)
    assert found.kernel == "ampere"
    assert why in found.why


@pytest.mark.parametrize("features", [24, 100])
def test_the_kernel_of_8_0_computes_the_same(features: int, hopper: Kernel, device: str) -> None:
    """No device of 9.0 chooses it for such calls, so that other tests of options do not reach it."""
    qkv = operands(T=66, S=131, D=features, V=features, dtype=torch.bfloat16)
    assert plan_of(device, *qkv).kernel == "hopper"
    cuda.forced_kernel = "ampere"
    assert plan_of(device, *qkv).kernel == "ampere"
    for options in OTHERS.values():
        check(qkv, options, kernel=hopper)


@pytest.mark.usefixtures("hopper")
def test_it_is_told_which_kernel_runs(device: str) -> None:
    cuda.forced_kernel = ""
    layer = pyrnn.nn.MultiheadAttention(64, 1, batch_first=True, device=device, dtype=torch.bfloat16)
    told = [
        str(pyrnn.explain(layer, *[torch.zeros(1, T, 64, device=device).bfloat16()] * 3)) for T in (9, 90)
    ]
    assert "the kernel of 8.0, for a warp has all queries of a head" in told[0]
    assert "the kernel of 9.0a, 1 blocks that stay; 1 tiles of queries" in told[1]
