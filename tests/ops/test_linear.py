"""The linear layer: its numbers on every route, its derivatives, transforms and refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.nn import functional as F

from pyrnn.ops import linear, linear_route
from tests.helpers import assert_as_accurate
from tests.ops.linears import leaves, linear_module, torchs

#: rows, I, O: below and above the size from which oneDNN is taken, odd, and with I on either side of O.
SHAPES = [(0, 3, 2), (1, 1, 40), (30, 1, 1), (3, 5, 7), (33, 257, 300), (1, 300, 257), (40, 513, 129)]


@pytest.fixture(params=["chosen", "onednn", "native"])
def path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The route that this machine takes, and oneDNN or our kernel for every product that it can do."""
    if request.param == "chosen":
        return "chosen"
    monkeypatch.setattr(linear_module, "_mkl_suits", lambda: False)
    missing = linear_module._why_no_onednn("cpu", torch.float32) if request.param == "onednn" else ""
    if missing:
        pytest.skip(missing)

    def forced(input: Tensor, weight: Tensor, product: str = "forward") -> Any:
        why = ""
        if request.param == "onednn":
            why = linear_module._why_no_onednn("cpu", input.dtype)
        return linear_module.LinearRoute("torch" if why else request.param, why or "forced")

    monkeypatch.setattr(linear_module, "_route", forced)
    if request.param == "onednn":
        monkeypatch.setattr(linear_module, "_library_route", forced)
    monkeypatch.setattr(linear_module, "_TRAINED", dict.fromkeys((torch.float32, torch.bfloat16), 1))
    return request.param


@pytest.mark.parametrize("derived", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("rows", [3, 300])
def test_nan_survives_every_activation(
    path: str, rows: int, dtype: torch.dtype, activation: Any, derived: bool
) -> None:
    x, weight, bias = (t.detach() for t in leaves(rows, 256, 513, dtype))
    x[1, 7] = torch.nan
    y = linear(x.requires_grad_(derived), weight, bias, activation)
    assert y[1].isnan().all()
    assert y[2:].isfinite().all()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", [None, "relu", "gelu", "gelu_tanh"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_accurate_as_torch(
    path: str, shape: tuple[int, int, int], dtype: torch.dtype, activation: Any, bias: bool
) -> None:
    given = leaves(*shape, dtype, bias=bias)
    upstream = torch.randn(shape[0], shape[2]).to(dtype)

    def run(operator: Callable[..., Tensor], to: torch.dtype) -> tuple[Tensor, ...]:
        own = [None if t is None else t.detach().to(to).requires_grad_() for t in given]
        out = operator(*own, activation=activation)
        return out, *torch.autograd.grad(out, [t for t in own if t is not None], upstream.to(to))

    names = ("output", "input", "weight", "bias")
    exact = run(torchs, torch.float64)
    assert_as_accurate(run(linear, dtype), run(torchs, dtype), exact, names=names)
    with torch.no_grad():
        inference = linear(*given, activation=activation)
    assert_as_accurate([inference], [torchs(*given, activation=activation)], exact[:1], names=names)


def test_leading_dimensions_and_layouts(path: str) -> None:
    weight, bias = torch.randn(300, 260), torch.randn(300)
    for x in (
        torch.randn(260),
        torch.randn(2, 3, 260),
        torch.randn(260, 5).t(),
        torch.randn(1, 260).expand(4, 260),
        torch.randn(4, 520)[:, ::2],
    ):
        torch.testing.assert_close(linear(x, weight, bias), F.linear(x, weight, bias), rtol=1e-4, atol=1e-4)
    strided = torch.randn(260, 300).t()
    x = torch.randn(7, 260)
    torch.testing.assert_close(linear(x, strided), F.linear(x, strided), rtol=1e-4, atol=1e-4)
    every_other = torch.full((600,), torch.nan)[::2].copy_(bias)
    torch.testing.assert_close(
        linear(x, weight, every_other), F.linear(x, weight, bias), rtol=1e-4, atol=1e-4
    )


def test_expanded_gradient(path: str) -> None:
    x, weight, bias = leaves(20, 300, 260, torch.float32)
    ours, exact = (
        torch.autograd.grad(operator(x, weight, bias).sum(), (x, weight, bias))
        for operator in (linear, F.linear)
    )
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-4)


def test_only_needed_gradients(path: str) -> None:
    x, weight, bias = leaves(20, 300, 260, torch.float32)
    for wanted in (x, weight, bias):
        own = [t.detach().requires_grad_(t is wanted) for t in (x, weight, bias)]
        linear(*own).sum().backward()
        assert [t.grad is not None for t in own] == [t is wanted for t in (x, weight, bias)]


@pytest.mark.parametrize("activation", [None, "gelu"])
def test_gradcheck_and_gradgradcheck(activation: Any) -> None:
    given = leaves(3, 2, 4)

    def run(*tensors: Tensor) -> Tensor:
        return linear(*tensors, activation=activation)

    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


# torch compiles its formulas for forward-mode derivatives at the first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_functorch(path: str) -> None:
    given = [t.detach() for t in leaves(5, 300, 260, torch.float32) if t is not None]
    tangents = [torch.randn_like(t) for t in given]

    def ours(*tensors: Tensor) -> Tensor:
        return linear(*tensors, activation="gelu")

    def exact(*tensors: Tensor) -> Tensor:
        return F.gelu(F.linear(*tensors))

    def transformed(run: Callable[..., Tensor]) -> tuple[Any, ...]:
        def total(x: Tensor) -> Tensor:
            return run(x, *given[1:]).sum()

        return (
            jvp(run, tuple(given), tuple(tangents)),
            vmap(run, (0, None, None))(*given),
            grad(total)(given[0]),
            vmap(grad(total))(given[0]),
        )

    torch.testing.assert_close(transformed(ours), transformed(exact), rtol=1e-4, atol=1e-4)


def test_batched_gradients(path: str) -> None:
    x, weight, _ = leaves(2, 300, 260, torch.float32)
    out = linear(x, weight)
    basis = torch.randn(3, *out.shape)
    (batched,) = torch.autograd.grad(out, x, basis, is_grads_batched=True)
    torch.testing.assert_close(batched, basis @ weight, rtol=1e-4, atol=1e-4)


def test_compiled_training_is_one_graph(path: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(linear, fullgraph=True, backend="aot_eager")
    given = leaves(4, 300, 260, torch.float32)
    ours, eager = compiled(*given, activation="gelu"), linear(*given, activation="gelu")
    torch.testing.assert_close(ours, eager, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        *(torch.autograd.grad(y.sum(), given) for y in (ours, eager)), rtol=1e-4, atol=1e-4
    )


def test_autocast(path: str) -> None:
    x, weight, bias = leaves(5, 300, 260, torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = linear(x, weight, bias)
    assert out.dtype is torch.bfloat16
    out.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype is torch.float32


def test_routes_of_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "_mkl_suits", lambda: False)
    monkeypatch.setattr(linear_module, "_why_no_kernel", lambda *_: "it is set aside")
    if linear_module._why_no_onednn("cpu", torch.float32):
        pytest.skip(linear_module._why_no_onednn("cpu", torch.float32))
    x = torch.zeros(512, 512, requires_grad=True)  # without derivatives the kernel may take it
    wide, tall = torch.zeros(256, 512), torch.zeros(1024, 512)
    assert linear_route(x, wide).path == "onednn"
    assert linear_route(x, wide).reason.endswith("not our kernel: it is set aside")
    assert linear_route(x.bfloat16(), wide.bfloat16()).path == "torch"
    assert "the choice costs more" in linear_route(x[:20], wide).reason
    assert linear_route(x, wide, "input_gradient").path == "onednn"
    assert linear_route(x, wide, "weight_gradient").path == "onednn"
    assert linear_route(x, tall, "weight_gradient").path == "torch"
    assert "here 512 and 1024" in linear_route(x, tall, "weight_gradient").reason
    assert "float64" in linear_route(x.double(), wide.double()).reason
    monkeypatch.setattr(linear_module, "_mkl_suits", lambda: True)
    assert "not found slower" in linear_route(x, wide).reason


def test_routes_of_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight = torch.zeros(2048, 256, requires_grad=True), torch.zeros(256, 256)
    sets, vendors = linear_module._native, linear_module
    for vendor, in_use, most, dtype, expected in (
        ("AuthenticAMD", "avx512_bf16", 4096, torch.float32, {"native"}),
        ("AuthenticAMD", "avx2", 4096, torch.float32, {"native"}),
        ("AuthenticAMD", "avx2", 4096, torch.bfloat16, {"native"}),
        ("AuthenticAMD", "avx512_bf16", 256, torch.bfloat16, {"torch"}),
        ("GenuineIntel", "avx512_bf16", 16, torch.float32, {"torch", "onednn"}),
        ("AuthenticAMD", "baseline", 16, torch.float32, {"torch", "onednn"}),
        ("AuthenticAMD", "avx2", 4096, torch.float64, {"torch"}),
    ):
        monkeypatch.setattr(vendors, "processor", lambda vendor=vendor: (vendor, vendor))
        monkeypatch.setattr(sets, "isa", lambda in_use=in_use: in_use)
        monkeypatch.setattr(linear_module._native.cpu, "most_rows", lambda _=0, most=most: most)
        paths = {linear_route(x.to(dtype), weight.to(dtype), p).path for p in linear_module._PRODUCTS}
        assert paths <= expected, (vendor, in_use, dtype, paths)
    assert "below" in linear_route(x[:2], weight, "weight_gradient").reason
    long = torch.zeros(4097, 256, requires_grad=True)
    monkeypatch.setattr(sets, "isa", lambda: "avx2")
    assert "more than 4096 rows" in linear_route(long, weight, "input_gradient").reason
    assert linear_route(long, weight, "weight_gradient").path == "native"
    assert "on 'meta'" in linear_route(x.to("meta"), weight.to("meta"), "input_gradient").reason


def test_switched_off_onednn_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_module, "_mkl_suits", lambda: False)
    monkeypatch.setattr(linear_module, "_why_no_kernel", lambda *_: "it is set aside")
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    x = torch.zeros(80, 512, requires_grad=True)
    assert "switched off" in linear_route(x, torch.zeros(512, 512)).reason


def test_second_derivatives_of_large_products(path: str) -> None:
    x, weight, bias = leaves(20, 33, 17, torch.float32)

    def second(operator: Callable[..., Tensor], *tensors: Tensor) -> tuple[Tensor, ...]:
        out = operator(*tensors).square().sum()
        first = torch.autograd.grad(out, tensors, create_graph=True)
        return torch.autograd.grad(torch.stack([g.square().sum() for g in first]).sum(), tensors)

    ours, exact = second(linear, x, weight, bias), second(F.linear, x, weight, bias)
    torch.testing.assert_close(ours, exact, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input": torch.zeros(2, 4)}, ValueError, r"with the same I, got \[2, 4\] and \[2, 3\]"),
        ({"input": torch.tensor(1.0)}, ValueError, "with the same I"),
        ({"bias": torch.zeros(3)}, ValueError, r"bias must have shape \[O\] = \[2\], got \[3\]"),
        ({"weight": torch.zeros(2, 3).double()}, TypeError, "got torch.float64; convert one of them"),
        ({"bias": torch.zeros(2, device="meta")}, ValueError, "on the input's device cpu, got meta"),
        ({"activation": "tanh"}, ValueError, "one of 'relu', 'gelu', 'gelu_tanh', got 'tanh'"),
        ({"input": torch.zeros(2, 3).long()}, TypeError, "must be floating point, got torch.int64"),
    ],
)
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        linear(**{"input": torch.zeros(2, 3), "weight": torch.zeros(2, 3), **arguments})
