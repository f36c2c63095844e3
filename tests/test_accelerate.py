"""Swapping torch's layers in a model."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic as quantized_dynamic
from torch.nn.utils import parametrize

import pyrnn

EVERY = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


class Tuned(nn.LSTM):
    """A subclass, as a user would write."""


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 0.5


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 4, 2, batch_first=True, dropout=0.1)
        self.tied = self.encoder
        self.parts = nn.ModuleDict({"cell": nn.GRUCell(4, 4), "rnn": nn.RNN(4, 4, nonlinearity="relu")})
        self.linear = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.tied(x)
        y, _ = self.parts["rnn"](y)
        return self.linear(self.parts["cell"](y[:, -1]))


@pytest.mark.parametrize("name", EVERY)
def test_every_kind_computes_the_same(name: str) -> None:
    theirs = getattr(nn, name)(3, 4, dtype=torch.float64)
    ours = copy.deepcopy(theirs)
    report = pyrnn.accelerate(ours)
    assert type(ours) is getattr(pyrnn, name)
    assert [layer.names for layer in report.swapped] == [("",)]
    x = torch.randn((2, 3) if name.endswith("Cell") else (5, 2, 3), dtype=torch.float64)
    for found, expected in zip(ours(x), theirs(x), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_model_keeps_everything_else() -> None:
    model: Any = Model().eval()
    model.encoder.register_buffer("scale", torch.ones(1))
    original = copy.deepcopy(model)
    calls: list[str] = []
    handle = model.encoder.register_forward_hook(lambda *_: calls.append("hook"))
    encoder: Any = model.encoder
    parameters = dict(model.named_parameters())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    report = pyrnn.accelerate(model)

    assert {layer.names for layer in report.swapped} == {("encoder", "tied"), ("parts.cell",), ("parts.rnn",)}
    assert not report.kept
    assert model.encoder is model.tied is encoder
    assert isinstance(encoder, pyrnn.LSTM)
    assert {name: id(p) for name, p in model.named_parameters()} == {
        name: id(p) for name, p in parameters.items()
    }
    assert model.state_dict().keys() == original.state_dict().keys()
    assert not encoder.training

    x = torch.randn(2, 5, 3)
    torch.testing.assert_close(model(x), original(x))
    assert calls == ["hook"]
    handle.remove()
    model(x).sum().backward()
    assert calls == ["hook"]
    weight = encoder.get_parameter("weight_hh_l0")
    before = weight.detach().clone()
    optimizer.step()
    assert not torch.equal(weight, before)


def test_a_swapped_layer_has_our_options() -> None:
    model = nn.Sequential(nn.LSTM(3, 4))
    pyrnn.accelerate(model)
    layer: Any = model[0]
    layer.checkpoint_every = 2
    output, _, cells = layer(torch.randn(5, 2, 3), lengths=[5, 2], return_cells=True)
    assert output.shape == cells.shape
    assert copy.deepcopy(layer).checkpoint_every == 2


def parametrized() -> nn.Module:
    layer = nn.GRU(3, 4)
    parametrize.register_parametrization(layer, "weight_hh_l0", Halved())
    return layer


def patched() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.forward = layer.forward  # what wrappers of a forward method do
    return layer


def lazy() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.weight_ih_l0 = nn.UninitializedParameter()
    return layer


def mixed() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer.bias_hh_l0 = nn.Parameter(layer.get_parameter("bias_hh_l0").detach().double())
    return layer


def empty() -> nn.Module:
    layer = nn.GRU(3, 4)
    layer._parameters.clear()
    return layer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tuned(3, 4), "a subclass of torch.nn.LSTM"),
        (parametrized, "parametrized: accelerate the model before"),
        (patched, "its forward was replaced"),
        (lazy, "not initialised yet"),
        (mixed, "differ in dtype or device"),
        (empty, "it has no parameters"),
        (lambda: nn.GRU(3, 4).half(), "not in torch.float16"),
        (lambda: pyrnn.GRU(3, 4), "already pyrnn's"),
        (lambda: pyrnn.GRUCell(3, 4), "already pyrnn's"),
        (lambda: quantized_dynamic.LSTM(3, 4), "quantized"),
    ],
)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_what_is_left_alone_and_why(make: Any, words: str) -> None:
    layer = make()
    kind = type(layer)
    report = pyrnn.accelerate(nn.Sequential(nn.Linear(2, 2), layer))
    assert not report.swapped
    assert [entry.names for entry in report.kept] == [("1",)]
    assert words in report.kept[0].reason
    assert type(layer) is kind


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_scripted_layers_are_left_alone() -> None:
    scripted: Any = torch.jit.script(nn.Sequential(nn.GRU(3, 4)))
    report = pyrnn.accelerate(scripted)
    assert [(entry.names, entry.swapped) for entry in report.layers] == [(("0",), False)]
    assert "scripted by torch.jit" in report.kept[0].reason


@torch.no_grad()
def test_a_compiled_model_takes_notice() -> None:
    torch.compiler.reset()
    model = nn.Sequential(nn.Linear(3, 3), nn.GRU(3, 4))
    compiled = torch.compile(model, backend="eager")
    x = torch.randn(5, 2, 3)
    expected = compiled(x)
    seen: list[str] = []
    pyrnn.accelerate(model)
    model[1].register_forward_hook(lambda module, *_: seen.append(type(module).__module__))
    torch.testing.assert_close(compiled(x), expected)
    assert seen == ["pyrnn.nn.recurrent"]


def test_the_report_is_a_table() -> None:
    model = nn.ModuleDict({"encoder": nn.LSTM(3, 4), "decoder": Tuned(4, 4, bias=False)})
    lines = str(pyrnn.accelerate(model)).splitlines()
    assert lines[0] == "accelerate: 1 swapped, 1 kept"
    assert lines[1].split() == ["name", "layer", "result", "why"]
    assert lines[2].split(maxsplit=4)[:4] == ["encoder", "torch.nn.LSTM(3,", "4)", "swapped"]
    column = lines[1].index("result")
    assert [line[column:].split()[0] for line in lines[2:]] == ["swapped", "kept"]
    assert str(pyrnn.accelerate(nn.Linear(2, 2))) == "accelerate: the model has no recurrent layer"


def test_only_modules() -> None:
    with pytest.raises(TypeError, match=r"expects a torch\.nn\.Module, got dict"):
        pyrnn.accelerate({})  # type: ignore[arg-type]
