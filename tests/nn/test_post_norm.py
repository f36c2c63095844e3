"""Post-norm Transformer layers: sum and normalisation in one pass, and by parts where one is not plain."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import pyrnn.nn
from pyrnn import ops
from pyrnn.nn import parts


class Watched:
    """`ops.residual_layer_norm`, and how often it was called."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        return ops.residual_layer_norm(*args, **options)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    found = Watched()
    monkeypatch.setattr(parts, "ops", _With(found))
    return found


class _With:
    """The operators, one of them watched."""

    def __init__(self, residual_layer_norm: Watched) -> None:
        self.linear, self.dropout = ops.linear, ops.dropout
        self.residual_layer_norm = residual_layer_norm


def make(name: str, **options: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """A layer with the tensors of a call."""
    torch.manual_seed(0)
    cls = getattr(pyrnn.nn, f"Transformer{name}Layer")
    layer = cls(8, 2, 12, **{"dropout": 0.3, "dtype": torch.float64, **options})
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    shapes = [(5, 3, 8), (4, 3, 8)][: 1 if name == "Encoder" else 2]
    return layer, tuple(torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes)


def train(layer: nn.Module, tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Output, gradients, and the state of torch's generator behind them."""
    torch.manual_seed(3)
    out = layer(*tensors)
    grads = torch.autograd.grad(out.sin().sum(), (*tensors, *layer.parameters()))
    return out.detach(), *grads, torch.get_rng_state()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("name", "norms"), [("Encoder", 2), ("Decoder", 3)])
def test_one_pass_is_what_the_parts_compute(
    name: str, norms: int, training: bool, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, tensors = make(name)
    layer.train(training)
    fused = train(layer, tensors)
    taken = norms if training else 0  # on a CPU it is for dropout
    assert watched.calls == taken
    monkeypatch.setattr(parts, "_normalises", lambda *_: False)
    by_parts = train(layer, tensors)
    assert watched.calls == taken
    torch.testing.assert_close(fused, by_parts)


def subclass(norm: Any) -> nn.Module:
    class Norm(nn.LayerNorm):
        pass

    norm.__class__ = Norm
    return norm


def patched(norm: nn.Module) -> nn.Module:
    norm.forward = lambda input: nn.LayerNorm.forward(norm, input)  # type: ignore[arg-type, method-assign]
    return norm


def hooked(norm: nn.Module) -> nn.Module:
    norm.register_forward_hook(lambda *_: None)
    return norm


def parametrized(norm: nn.Module) -> nn.Module:
    parametrize.register_parametrization(norm, "weight", nn.Identity())
    return norm


@pytest.mark.parametrize("change", [subclass, patched, hooked, parametrized])
def test_a_norm_that_is_more_than_a_layer_norm_is_called(
    change: Callable[[nn.Module], nn.Module], watched: Watched
) -> None:
    layer, tensors = make("Encoder")
    plain = train(copy.deepcopy(layer), tensors)
    layer.norm1 = change(layer.norm1)
    watched.calls = 0
    changed = train(layer, tensors)
    assert watched.calls == 1  # norm2
    torch.testing.assert_close(changed[0], plain[0])


def test_a_dropout_that_is_more_is_called(watched: Watched) -> None:
    layer, tensors = make("Encoder")
    layer.dropout1 = nn.AlphaDropout(0.3)
    hooked(layer.dropout2)
    train(layer, tensors)
    assert watched.calls == 0


def test_other_dtypes_shapes_and_modes_take_the_parts(watched: Watched) -> None:
    layer, (x,) = make("Encoder", dtype=torch.float32)
    x = x.detach().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x)
    layer.eval()
    with torch.no_grad():
        layer(x)
    layer.norm1, layer.norm2 = nn.LayerNorm([3, 8]), nn.LayerNorm([3, 8])
    layer.train()(x)
    before_norms, tensors = make("Encoder", norm_first=True)
    before_norms(*tensors)
    assert watched.calls == 0


@pytest.mark.parametrize("bias", [True, False])
def test_without_bias_or_affine(bias: bool, watched: Watched) -> None:
    layer, (x,) = make("Encoder", bias=bias)
    layer.norm2 = nn.LayerNorm(8, elementwise_affine=False)
    out = layer(x)
    assert watched.calls == 2
    torch.testing.assert_close(out.mean(-1), torch.zeros(5, 3, dtype=torch.float64))
