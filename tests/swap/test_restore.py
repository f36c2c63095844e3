"""The way back to torch's layers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn

import pyrnn
import pyrnn.nn
from pyrnn.swap.layers import OURS


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.LSTM(3, 8, 2, bidirectional=True)
        self.again = self.encoder
        self.narrow = nn.Linear(16, 8)
        self.attention = nn.TransformerEncoderLayer(8, 2, 16, 0.0)
        self.cell = nn.GRUCell(8, 4)

    def forward(self, x: Any) -> Any:
        y = self.narrow(self.encoder(x)[0])
        return self.cell(self.attention(y)[-1])


def test_accelerate_and_restore_are_inverse() -> None:
    model = Model()
    original = copy.deepcopy(model)
    x = torch.randn(5, 2, 3)
    parameters = {name: id(p) for name, p in model.named_parameters()}
    seen: list[str] = []
    model.encoder.register_forward_hook(lambda *_: seen.append("hook"))

    pyrnn.accelerate(model)
    report = pyrnn.restore(model)

    assert [layer.names for layer in report.swapped] == [
        ("encoder", "again"), ("attention",), ("attention.self_attn",), ("cell",),
    ]  # fmt: skip
    assert str(report).splitlines()[0] == "restore: 4 swapped, 0 kept"
    assert [type(module) for module in model.modules()] == [type(module) for module in original.modules()]
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert torch.equal(model(x), original(x))
    assert seen == ["hook"]


@pytest.mark.parametrize("theirs", OURS, ids=lambda cls: cls.__name__)
def test_what_was_built_of_ours_becomes_torch_s(theirs: type[nn.Module]) -> None:
    ours = OURS[theirs]
    args: tuple[Any, ...] = (8, 2) if "Transformer" in ours.__name__ or ours.__name__[0] == "M" else (3, 4)
    if "Encoder" in ours.__name__ and "Layer" not in ours.__name__:
        args = (pyrnn.nn.TransformerEncoderLayer(8, 2, 16), 2)
    if "Decoder" in ours.__name__ and "Layer" not in ours.__name__:
        args = (pyrnn.nn.TransformerDecoderLayer(8, 2, 16), 2)
    layer: Any = ours(*args)
    assert isinstance(layer, theirs)
    assert not pyrnn.restore(layer).kept
    assert type(layer) is theirs
    assert not any(type(module) in OURS.values() for module in layer.modules())


def test_the_weights_of_the_moment_are_torch_s() -> None:
    layer = nn.GRU(3, 4)
    pyrnn.accelerate(layer)
    layer._parameters["weight_hh_l0"] = nn.Parameter(torch.zeros(12, 4))  # past torch's own book-keeping
    expected = layer(torch.ones(5, 2, 3))[0]
    pyrnn.restore(layer)
    torch.testing.assert_close(layer(torch.ones(5, 2, 3))[0], expected)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (pyrnn.LSTM(3, 4, checkpoint_every=2), "torch's has no checkpoint_every"),
        (pyrnn.GRU(3, 4, locked_dropout=True), "torch's has no locked_dropout"),
        (pyrnn.nn.MultiheadAttention(8, 2, causal=True), "torch's has no causal"),
        (pyrnn.nn.MultiheadAttention(8, 2, window=(1, 1), alibi=True), "torch's has no window, alibi"),
        (
            pyrnn.nn.TransformerEncoderLayer(8, 2, rotary=pyrnn.nn.RotaryEmbedding(4)),
            "torch's has no rotary, which its self_attn uses",
        ),
        (nn.GRU(3, 4), "not pyrnn's"),
    ],
)
def test_what_torch_s_could_not_do_is_kept(layer: nn.Module, words: str) -> None:
    kinds = [type(module) for module in layer.modules()]
    report = pyrnn.restore(layer)
    assert not report.swapped
    assert report.kept[0].reason == words
    assert [type(module) for module in layer.modules()] == kinds


def test_only_modules() -> None:
    with pytest.raises(TypeError, match=r"restore expects a torch\.nn\.Module, got dict"):
        pyrnn.restore({})  # type: ignore[arg-type]
