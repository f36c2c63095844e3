"""Attention and Transformers under torch's compilers, transforms, autocast and checkpointing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

import pyrnn.nn
from pyrnn.nn import MultiheadAttention, RotaryEmbedding, TransformerEncoder, TransformerEncoderLayer
from tests.nn.attention_pairs import LAYERS, MODELS, causal_mask, pair
from tests.nn.pairs import assert_same, gradients
from tests.nn.test_transformer import SIZES

X = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
PADDING = torch.arange(5) >= torch.tensor([[5], [3]])


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compiled in one graph, without the code generator, which is slow to start and not what is tested."""
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


def arguments(name: str) -> tuple[Tensor, ...]:
    return (X,) if name == "TransformerEncoderLayer" else (X, X[:3])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"need_weights": False},
        {"key_padding_mask": PADDING, "average_attn_weights": False},
        {"attn_mask": causal_mask(5), "is_causal": True, "need_weights": False},
    ],
)
def test_compile_attention(options: dict[str, Any]) -> None:
    layer = MultiheadAttention(8, 2, dtype=torch.float64)
    x = X.clone().requires_grad_()
    found, expected = compiled(layer)(x, x, x, **options), layer(x, x, x, **options)
    found, expected = ([t for t in result if t is not None] for result in (found, expected))
    assert_same(found, expected)
    assert_same(gradients(layer, found, x), gradients(layer, expected, x))


@pytest.mark.parametrize(
    ("name", "norm_first"), [*((name, False) for name in MODELS), *((name, True) for name in LAYERS)]
)
def test_compile(name: str, norm_first: bool) -> None:
    _, ours = pair(name, *SIZES[name], dropout=0.0, norm_first=norm_first)
    args = arguments(name)
    found, expected = compiled(ours)(*args), ours(*args)
    assert_same(found, expected)
    assert_same(gradients(ours, found), gradients(ours, expected))
    ours.eval()
    with torch.no_grad():
        assert_same(compiled(ours)(*args), expected.detach())


def test_compile_with_options_and_changing_sizes() -> None:
    layer = TransformerEncoderLayer(
        8,
        2,
        16,
        0.0,
        "gelu",
        causal=True,
        window=(3, 0),
        alibi=True,
        rotary=RotaryEmbedding(4),
        dtype=torch.float64,
    )
    function = compiled(layer, dynamic=True)
    for T, B in ((5, 2), (7, 3), (11, 4)):
        x = torch.randn(T, B, 8, dtype=torch.float64)
        assert_same(function(x), layer(x))


def test_compile_with_dropout() -> None:
    _, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.5)
    function = compiled(ours)
    assert not torch.equal(function(X), function(X))


def test_compile_with_a_mask_that_eager_mode_finds_causal() -> None:
    model = TransformerEncoder(TransformerEncoderLayer(8, 2, 16, 0.0, dtype=torch.float64), 2)
    assert_same(compiled(model)(X, causal_mask(5)), model(X, causal_mask(5)))


@pytest.mark.parametrize("name", MODELS)
def test_export(name: str) -> None:
    _, ours = pair(name, *SIZES[name])
    ours.eval()
    args = arguments(name)
    program = torch.export.export(ours, args)
    assert_same(program.module()(*args), ours(*args))


def test_export_with_a_changing_length() -> None:
    layer = TransformerEncoderLayer(8, 2, 16, causal=True, dtype=torch.float64).eval()
    program = torch.export.export(layer, (X,), dynamic_shapes=({0: torch.export.Dim("T", min=2, max=100)},))
    x = torch.randn(9, 2, 8, dtype=torch.float64)
    assert_same(program.module()(x), layer(x))


@pytest.mark.parametrize("name", MODELS)
def test_autocast(name: str) -> None:
    _, ours = pair(name, *SIZES[name], dropout=0.0, dtype=torch.float32)
    args = tuple(arg.float() for arg in arguments(name))
    expected = ours(*args)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = ours(*args)
    torch.testing.assert_close(result.float(), expected, rtol=0.1, atol=0.1)
    result.sum().backward()
    assert all(p.grad.dtype is torch.float32 for p in ours.parameters())


@pytest.mark.parametrize("options", [{}, {"add_bias_kv": True, "add_zero_attn": True}])
def test_autocast_of_attention(options: dict[str, Any]) -> None:
    layer = MultiheadAttention(8, 2, **options)
    x = X.float()
    mask = torch.randn(5, 5)
    expected, _ = layer(x, x, x, attn_mask=mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result, weights = layer(x, x, x, attn_mask=mask)
        layer(x.bfloat16(), x.bfloat16(), x.bfloat16())
    assert result.dtype is weights.dtype is torch.bfloat16
    torch.testing.assert_close(result.float(), expected, rtol=0.05, atol=0.05)


def test_float16_is_computed_by_the_reference() -> None:
    theirs, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.0, dtype=torch.float16)
    torch.testing.assert_close(ours(X.half()), theirs(X.half()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_checkpointing(use_reentrant: bool) -> None:
    _, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.3)
    grads = []
    for run in (lambda x: checkpoint(ours, x, use_reentrant=use_reentrant), ours):
        torch.manual_seed(5)
        ours.zero_grad()
        x = X.clone().requires_grad_()
        run(x).square().sum().backward()
        grads.append([x.grad, *(parameter.grad for parameter in ours.parameters())])
    assert_same(*grads)


@pytest.mark.parametrize("name", MODELS)
def test_functional_call(name: str) -> None:
    theirs, ours = pair(name, *SIZES[name], dropout=0.0)
    halved = {label: weight * 0.5 for label, weight in ours.named_parameters()}
    args = arguments(name)
    expected = torch.func.functional_call(theirs, halved, args)
    assert_same(torch.func.functional_call(ours, halved, args), expected)


def test_per_sample_gradients() -> None:
    _, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.0)
    weights = dict(ours.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (x,)).square().sum()

    samples = X.transpose(0, 1)
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, samples)
    for n, x in enumerate(samples):
        expected = torch.autograd.grad(loss(weights, x), list(weights.values()))
        assert_same([gradient[n] for gradient in found.values()], list(expected))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own use of torch.jit
def test_forward_mode() -> None:
    theirs, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.0)
    tangent = torch.randn_like(X)
    with sdpa_kernel(SDPBackend.MATH):  # the only one of torch's that can
        expected = torch.func.jvp(theirs, (X,), (tangent,))
    for found, exact in zip(torch.func.jvp(ours, (X,), (tangent,)), expected, strict=True):
        assert_same(found, exact)


def test_second_derivatives() -> None:
    layer = MultiheadAttention(4, 2, causal=True, rotary=RotaryEmbedding(2), dtype=torch.float64)
    x = torch.randn(3, 1, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: layer(x, x, x), x)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
def test_trace() -> None:
    layer = TransformerEncoderLayer(8, 2, 16, dtype=torch.float64).eval()
    traced: Any = torch.jit.trace(layer, (X,))
    other = torch.randn_like(X)
    assert_same(traced(other), layer(other))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_trace_with_a_causal_mask(dtype: torch.dtype) -> None:
    model = pyrnn.nn.Transformer(8, 2, 1, 1, 16, dtype=torch.float64).eval()
    masks = [causal_mask(n) for n in (5, 3)]
    if dtype == torch.bool:
        masks = [mask < 0 for mask in masks]
    first, second = ((x, x, mask, mask) for x, mask in zip((X, X[:3]), masks, strict=True))
    traced: Any = torch.jit.trace(model, first, check_trace=False)
    assert_same(traced(*second), model(*second))


def test_modules_of_every_kind_are_in_the_package() -> None:
    assert {name for name in dir(torch.nn) if name.startswith("Transformer")} <= set(pyrnn.nn.__all__)
