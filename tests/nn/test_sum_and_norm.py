"""Transformer layers: sum and normalisation in one pass, and by parts where one is not plain."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.utils.checkpoint import checkpoint

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
    monkeypatch.setattr(parts, "_MANY_ELEMENTS", 0)
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


def make_stack(name: str, norm: nn.Module | None = None) -> tuple[Any, tuple[Tensor, ...]]:
    """Three layers that normalise first, with the tensors of a call."""
    layer, tensors = make(name, norm_first=True)
    return getattr(pyrnn.nn, f"Transformer{name}")(layer, 3, norm), tensors


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(("name", "norms"), [("Encoder", 2), ("Decoder", 3)])
def test_one_pass_is_what_the_parts_compute(
    name: str,
    norms: int,
    norm_first: bool,
    training: bool,
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, tensors = make(name, norm_first=norm_first)
    layer.train(training)
    fused = train(layer, tensors)
    taken = norms - norm_first if training else 0  # on a CPU it is for dropout
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


def subclass_of_layer(layer: Any) -> nn.Module:
    layer.__class__ = type("Layer", (type(layer),), {})
    return layer


def patched_layer(layer: Any) -> nn.Module:
    layer.forward = functools.partial(type(layer).forward, layer)
    return layer


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
    assert watched.calls == 0


def test_few_elements_take_the_parts(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    layer, (x,) = make("Encoder")
    monkeypatch.setattr(parts, "_MANY_ELEMENTS", x.numel() + 1)
    layer(x)
    assert watched.calls == 0
    monkeypatch.setattr(parts, "_MANY_ELEMENTS", x.numel())
    layer(x)
    assert watched.calls == 2


@pytest.mark.parametrize("bias", [True, False])
def test_without_bias_or_affine(bias: bool, watched: Watched) -> None:
    layer, (x,) = make("Encoder", bias=bias)
    layer.norm2 = nn.LayerNorm(8, elementwise_affine=False)
    out = layer(x)
    assert watched.calls == 2
    torch.testing.assert_close(out.mean(-1), torch.zeros(5, 3, dtype=torch.float64))


# ---- stacks of layers that normalise first: the norm behind a sum is the next layer's ------------


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(("name", "norms"), [("Encoder", 2), ("Decoder", 3)])
def test_a_stack_is_what_its_layers_compute(name: str, norms: int, norm: bool, watched: Watched) -> None:
    stack, tensors = make_stack(name, nn.LayerNorm(8, dtype=torch.float64) if norm else None)
    fused = train(stack, tensors)
    assert watched.calls == 3 * norms - 1 + norm  # the first norm is behind no sum

    class Called(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stack = stack

        def forward(self, x: Tensor, *memory: Tensor) -> Tensor:
            for layer in stack.layers:
                x = layer(x, *memory)
            return stack.norm(x) if norm else x

    called = train(Called(), tensors)
    assert watched.calls == 2 * (3 * norms - 1 + norm) - 2 - norm
    torch.testing.assert_close(fused, called)


@pytest.mark.parametrize("name", ["Encoder", "Decoder"])
def test_a_stack_hands_masks_on(name: str, watched: Watched) -> None:
    stack, tensors = make_stack(name)
    side = "src" if name == "Encoder" else "tgt"
    options: dict[str, Any] = {
        "mask" if name == "Encoder" else "tgt_mask": torch.ones(5, 5, dtype=torch.bool).triu(2),
        f"{side}_key_padding_mask": torch.arange(5) >= torch.tensor([[5], [3], [4]]),
    }
    if name == "Decoder":
        options["memory_mask"] = torch.ones(5, 4, dtype=torch.bool).triu(1)
        options["memory_key_padding_mask"] = torch.arange(4) >= torch.tensor([[2], [4], [3]])
    torch.manual_seed(3)
    fused, taken = stack(*tensors, **options), watched.calls
    stack.layers[1] = hooked(stack.layers[1])
    torch.manual_seed(3)
    torch.testing.assert_close(fused, stack(*tensors, **options))
    assert watched.calls - taken < taken


@pytest.mark.parametrize("change", [subclass_of_layer, patched_layer, hooked])
@pytest.mark.parametrize("name", ["Encoder", "Decoder"])
def test_layers_that_are_more_are_called(
    name: str, change: Callable[[Any], nn.Module], watched: Watched
) -> None:
    stack, tensors = make_stack(name)
    plain = train(stack, tensors)
    watched.calls = 0
    stack.layers[1] = change(stack.layers[1])
    changed = train(stack, tensors)
    assert watched.calls == 3 * (1 if name == "Encoder" else 2)  # within the layers
    torch.testing.assert_close(changed, plain)


def test_hooks_on_layers_see_their_outputs(watched: Watched) -> None:
    stack, tensors = make_stack("Encoder")
    seen: list[Tensor] = []
    for layer in stack.layers:
        layer.register_forward_hook(lambda _, args, output: seen.extend((args[0], output)))
    out = stack(*tensors)
    assert seen[0] is tensors[0]
    assert seen[5] is out
    assert seen[1] is seen[2]
    assert seen[3] is seen[4]


def test_a_norm_behind_a_layer_is_called_if_it_is_more(watched: Watched) -> None:
    stack, tensors = make_stack("Encoder", nn.LayerNorm(8, dtype=torch.float64))
    calls: list[str] = []
    for name, norm in (("next", stack.layers[1].norm1), ("last", stack.norm)):
        norm.register_forward_hook(lambda *_, name=name: calls.append(name))
    train(stack, tensors)
    assert calls == ["next", "last"]
    assert watched.calls == 4


def test_layers_of_both_kinds_are_called(watched: Watched) -> None:
    stack, tensors = make_stack("Encoder")
    stack.layers[1].norm_first = False
    train(stack, tensors)
    assert watched.calls == 4


def test_an_exported_stack_calls_its_layers() -> None:
    """So that the graph's nodes tell of which layer they are, and `compile` of one layer is seen."""
    stack, (x,) = make_stack("Encoder")
    graph = torch.export.export(stack, (x.detach(),)).graph
    stacks = [node.meta.get("nn_module_stack", {}).values() for node in graph.nodes]
    last_sums = [next(reversed(names))[0] for names in stacks if names]
    assert [name for name in dict.fromkeys(last_sums) if name.count(".") == 1] == [
        "layers.0", "layers.1", "layers.2",
    ]  # fmt: skip


def test_functorch_and_checkpoints_of_a_stack(watched: Watched) -> None:
    stack, (x,) = make_stack("Encoder")
    plain = train(stack, (x,))[1]
    assert watched.calls == 5
    torch.manual_seed(3)
    derived = torch.func.grad(lambda x: stack(x).sin().sum())(x.detach())
    torch.testing.assert_close(derived, plain)
    torch.manual_seed(3)
    again = checkpoint(stack, x, use_reentrant=False).sin().sum()
    torch.testing.assert_close(torch.autograd.grad(again, x)[0], plain)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_a_stack_takes_nested_tensors() -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
    stack = pyrnn.nn.TransformerEncoder(layer, 2, nn.LayerNorm(8))
    sequences = [torch.randn(3, 8), torch.randn(5, 8)]
    for found, sequence in zip(stack(torch.nested.nested_tensor(sequences)).unbind(), sequences, strict=True):
        torch.testing.assert_close(found, stack(sequence[None])[0])


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("name", ["dropout", "dropout1", "dropout2"])
def test_a_dropout_may_be_any_function(name: str, norm_first: bool) -> None:
    layer, tensors = make("Encoder", norm_first=norm_first, dropout=0.0)
    plain = train(layer, tensors)
    delattr(layer, name)
    setattr(layer, name, lambda x: x * 1)
    torch.testing.assert_close(train(layer, tensors), plain)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize(("name", "norms"), [("Encoder", 2), ("Decoder", 3)])
def test_a_layer_without_its_norm_raises(name: str, norms: int, norm_first: bool) -> None:
    """As torch's does, rather than leave it out."""
    for n in range(norms):
        layer, tensors = make(name, norm_first=norm_first)
        setattr(layer, f"norm{n + 1}", None)
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            layer(*tensors)
