"""What attention accepts: shapes, strides, options, dtypes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pyrnn.ops import attention_route, scaled_dot_product_attention
from tests.attention.cases import Calls, operands
from tests.attention.checking import of_kernel, of_reference, run


def assert_equals_reference(tensors: tuple[Tensor, ...], **options: Any) -> None:
    """Results and gradients, in float64."""
    ours, exact = (run(each, tensors, options, torch.float64) for each in (of_kernel, of_reference))
    for name, value in exact.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("lead", [(), (1,), (3,), (2, 3), (2, 1, 3), (0,), (2, 0)], ids=str)
def test_leading_dimensions(lead: tuple[int, ...]) -> None:
    q, k, v = (torch.randn(*lead, 2, n, 4, dtype=torch.float64) for n in (5, 7, 7))
    torch.testing.assert_close(scaled_dot_product_attention(q, k, v), F.scaled_dot_product_attention(q, k, v))
    mask = torch.randn(*lead[-1:], 2, 5, 7, dtype=torch.float64)
    lengths, padding = torch.randint(0, 8, lead), torch.rand(*lead, 7) < 0.3
    out, weights = of_kernel(
        q, k, v, attn_mask=mask, lengths=lengths, key_padding_mask=padding, return_weights="mean"
    )
    assert out.shape == (*lead, 2, 5, 4)
    assert weights.shape == (*lead, 5, 7)
    flat = (t.reshape(-1, *t.shape[-3:]) for t in (q, k, v))
    exact = of_reference(
        *flat,
        attn_mask=mask.expand(*lead, 2, 5, 7).reshape(-1, 2, 5, 7),
        lengths=lengths.reshape(-1),
        key_padding_mask=padding.reshape(-1, 7),
        return_weights="mean",
    )
    torch.testing.assert_close((out.reshape(-1, 2, 5, 4), weights.reshape(-1, 5, 7)), exact)


def test_a_single_head_without_a_dimension() -> None:
    q, k, v = (torch.randn(n, 4, dtype=torch.float64) for n in (5, 7, 7))
    mask, lengths = torch.randn(5, 7, dtype=torch.float64), torch.tensor(6)
    out, full = of_kernel(q, k, v, attn_mask=mask, lengths=lengths, return_weights="full")
    assert full.shape == (5, 7)
    torch.testing.assert_close(
        out, F.scaled_dot_product_attention(q, k, v, mask.masked_fill(torch.arange(7) == 6, -torch.inf))
    )
    assert of_kernel(q, k, v, return_weights="mean")[1].shape == (5, 7)


def test_leading_dimensions_broadcast() -> None:
    q, k = (torch.randn(3, 1, 2, n, 4, dtype=torch.float64) for n in (5, 7))
    v = torch.randn(4, 2, 7, 4, dtype=torch.float64)
    mask, padding = torch.randn(3, 1, 1, 5, 7, dtype=torch.float64), torch.rand(4, 7) < 0.3
    out = scaled_dot_product_attention(q, k, v, mask, key_padding_mask=padding)
    exact = F.scaled_dot_product_attention(
        q.expand(3, 4, 2, 5, 4),
        k.expand(3, 4, 2, 7, 4),
        v.expand(3, 4, 2, 7, 4),
        mask.masked_fill(padding[:, None, None], -torch.inf),
    )
    torch.testing.assert_close(out, exact)


@pytest.mark.parametrize("name", ["B", "H", "T", "S"])
def test_sizes_of_zero(name: str) -> None:
    sizes = {"B": 2, "H": 2, "T": 5, "S": 7, name: 0}
    q, k, v = operands(**sizes)
    mask = torch.zeros(sizes["T"], sizes["S"], dtype=torch.float64)
    for kind in (None, "mean", "full"):
        options = {"attn_mask": mask, "return_weights": kind}
        ours, exact = (run(each, (q, k, v), options, torch.float64) for each in (of_kernel, of_reference))
        torch.testing.assert_close(ours, exact)
        assert not any(t.any() for t in ours.values())


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "[B, T, H, D]": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "[T, B, H, D]": lambda x: x.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3),
    "rows of a wider tensor": lambda x: torch.cat([x, x], -1)[..., : x.shape[-1]],
    "every second row": lambda x: x.repeat_interleave(2, 2)[:, :, ::2],
    "features apart": lambda x: x.mT.contiguous().mT,
    "one sequence expanded": lambda x: x[:1].expand(x.shape),
    "one head expanded": lambda x: x[:, :1].expand(x.shape),
    "one row expanded": lambda x: x[:, :, :1].expand(x.shape),
    "one number expanded": lambda x: x[:1, :1, :1, :1].expand(x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strides(layout: str) -> None:
    tensors = tuple(LAYOUTS[layout](t) for t in operands(B=3, T=6))
    assert_equals_reference(tensors, is_causal=True, return_weights="full")


def test_one_feature_in_any_stride() -> None:
    tensors = tuple(t.repeat(1, 1, 1, 2)[..., ::2] for t in operands(D=1, V=1))
    assert_equals_reference(tensors)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3), (2, 0, 1, 3), (1, 0, 2, 3)], ids=str)
def test_results_lie_as_the_operands_do(order: tuple[int, ...]) -> None:
    """So that [T, B, H, D] memory comes back as such and heads merge without a copy."""
    back = tuple(order.index(n) for n in range(4))
    leaves = [t.permute(order).contiguous().permute(back).requires_grad_() for t in operands(V=4)]
    (out,) = of_kernel(*leaves)
    assert out.permute(order).is_contiguous()
    for grad in torch.autograd.grad(out.sum(), leaves):
        assert grad.permute(order).is_contiguous()


def test_packed_projections() -> None:
    packed = torch.randn(5, 2, 3 * 8, dtype=torch.float64, requires_grad=True)  # [T, B, (q, k, v) of H heads]
    q, k, v = (t.unflatten(-1, (2, 4)).permute(1, 2, 0, 3) for t in packed.chunk(3, -1))
    out = scaled_dot_product_attention(q, k, v, is_causal=True)
    assert isinstance(out, Tensor)
    merged = out.permute(2, 0, 1, 3).flatten(2)
    assert merged.data_ptr() == out.data_ptr()
    exact = F.scaled_dot_product_attention(q, k, v, is_causal=True).permute(2, 0, 1, 3).flatten(2)
    grad = torch.randn(merged.shape, dtype=torch.float64)
    torch.testing.assert_close(merged, exact)
    torch.testing.assert_close(
        torch.autograd.grad(merged, packed, grad), torch.autograd.grad(exact, packed, grad)
    )


@pytest.mark.parametrize(
    "shape", [(7,), (1,), (5, 1), (5, 7), (2, 5, 7), (2, 1, 1), (3, 1, 5, 7), (3, 2, 1, 7)]
)
@pytest.mark.parametrize("kind", ["bool", "float"])
def test_masks_broadcast(kind: str, shape: tuple[int, ...]) -> None:
    mask = torch.rand(shape) < 0.7 if kind == "bool" else torch.randn(shape, dtype=torch.float64)
    assert_equals_reference(operands(B=3), attn_mask=mask)


@pytest.mark.parametrize("kind", ["mean", "full"])
def test_mask_and_gradients_in_any_stride(kind: str) -> None:
    mask = torch.randn(7, 5, 2, 3, dtype=torch.float64).permute(3, 2, 1, 0)[..., ::2]
    leaves = [t.requires_grad_() for t in operands(B=3, S=4)]
    grads = []
    for function in (of_kernel, of_reference):
        out, weights = function(*leaves, attn_mask=mask, return_weights=kind)
        ones = torch.ones(1, dtype=torch.float64)
        turned = torch.randn(weights.mT.shape, generator=torch.Generator().manual_seed(2)).double().mT
        grads.append(torch.autograd.grad((out, weights), leaves, (ones.expand(out.shape), turned)))
    torch.testing.assert_close(*grads)


def test_integers_of_either_size_and_stride_are_lengths() -> None:
    for lengths in (torch.tensor([7, 2], dtype=torch.int32), torch.tensor([7, 9, 2, 9])[::2]):
        assert_equals_reference(operands(), lengths=lengths)


@settings(max_examples=40, derandomize=True)
@given(data=st.data())
def test_any_options_equal_torch(data: st.DataObject) -> None:
    """Where torch has them."""
    size = st.integers(1, 9)
    B, K, group, T, S, D, V = (data.draw(size) for _ in range(7))
    q, k, v = operands(B=B, H=K * group, K=K, T=T, S=S, D=D, V=V)
    sizes = [data.draw(st.sampled_from([1, full])) for full in (B, K * group, T, S)]
    kind = data.draw(st.sampled_from(["none", "bool", "float", "causal"]))
    mask = {"bool": torch.rand(sizes) < 0.6, "float": torch.randn(sizes, dtype=torch.float64)}.get(kind)
    scale = data.draw(st.none() | st.floats(-2, 2))
    options: dict[str, Any] = {"is_causal": kind == "causal", "scale": scale, "enable_gqa": group > 1}
    ours = scaled_dot_product_attention(q, k, v, mask, **options)
    torch.testing.assert_close(ours, F.scaled_dot_product_attention(q, k, v, mask, **options))


@settings(max_examples=40, derandomize=True)
@given(data=st.data())
def test_any_options_equal_the_reference(data: st.DataObject) -> None:
    size, limit = st.integers(1, 9), st.integers(-1, 9)
    B, K, group, T, S, D, V = (data.draw(size) for _ in range(7))
    H = K * group
    options: dict[str, Any] = {
        "is_causal": data.draw(st.booleans()),
        "query_start": data.draw(st.integers(-9, 9)),
        "window": data.draw(st.none() | st.tuples(limit, limit)),
        "lengths": torch.randint(0, S + 1, (B,)) if data.draw(st.booleans()) else None,
        "key_padding_mask": torch.rand(B, S) < 0.3 if data.draw(st.booleans()) else None,
        "alibi_slopes": torch.rand(H) if data.draw(st.booleans()) else None,
        "softcap": data.draw(st.sampled_from([0.0, 1.5])),
        "return_weights": data.draw(st.sampled_from([None, "mean", "full"])),
        "dropout_p": data.draw(st.sampled_from([0.0, 0.5])),
        "seed": torch.tensor(data.draw(st.integers(-(2**63), 2**63 - 1))),
        "enable_gqa": True,
    }
    sizes = [data.draw(st.sampled_from([1, full])) for full in (B, H, T, S)]
    if data.draw(st.booleans()):
        options["attn_mask"] = torch.randn(sizes, dtype=torch.float64)
    assert_equals_reference(operands(B=B, H=H, K=K, T=T, S=S, D=D, V=V), **options)


def test_causal_counts_from_the_top_left_and_from_query_start() -> None:
    q, k, v = operands(T=3, S=5)
    weights = of_kernel(q, k, v, is_causal=True, return_weights="full")[1]
    assert torch.equal(weights[0, 0] != 0, torch.ones(3, 5, dtype=torch.bool).tril())
    weights = of_kernel(q, k, v, is_causal=True, query_start=2, return_weights="full")[1]
    assert torch.equal(weights[0, 0] != 0, torch.ones(3, 5, dtype=torch.bool).tril(2))


def test_decoding_one_by_one_equals_all_at_once() -> None:
    q, k, v = operands(T=6, S=6)
    options = {"is_causal": True, "window": (3, -1), "alibi_slopes": torch.tensor([0.3, 0.1])}
    whole = of_kernel(q, k, v, **options)[0]
    for t in range(6):
        step = of_kernel(q[:, :, t : t + 1], k, v, query_start=t, **options)[0]
        torch.testing.assert_close(step, whole[:, :, t : t + 1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_cpu_kernels_compute_these(dtype: torch.dtype) -> None:
    assert attention_route(torch.zeros(1, 1, 1, 1, dtype=dtype)).path == "native"


def test_float16_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    q, k, v = operands(dtype=torch.float16)
    route = attention_route(q)
    assert route.path == "reference"
    assert "not in torch.float16" in route.reason
    found = run(of_kernel, (q, k, v), {"is_causal": True}, torch.float16)
    exact = run(of_reference, (q, k, v), {"is_causal": True}, torch.float64)
    for name, value in exact.items():
        torch.testing.assert_close(found[name].double(), value, rtol=2e-3, atol=2e-3)
    assert calls.counts == (0, 0)


def test_the_route_knows_devices_autocast_and_forward_mode() -> None:
    q = torch.zeros(1, 1, 1, 1)
    assert "'xpu'" in attention_route(FakeDevice("xpu")).reason  # type: ignore[arg-type]
    with torch.autocast("cpu", dtype=torch.float16):
        assert attention_route(q).path == "reference"
        assert attention_route(q.double()).path == "native"
    with torch.autograd.forward_ad.dual_level():
        assert "forward-mode" in attention_route(q).reason


class FakeDevice:
    """As much of a tensor of another device as the route looks at."""

    dtype = torch.float32

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
