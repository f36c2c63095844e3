"""torch.fx: symbolic_trace records our layers as it records torch's, as nodes of the same graph."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

import pyrnn
import pyrnn.nn


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, 2, 4))
        self.rnn, self.gru = nn.RNN(3, 4), nn.GRU(4, 4)
        self.parts = nn.ModuleDict({"lstm": nn.LSTM(4, 4, bidirectional=True)})
        self.cells = nn.ModuleList([nn.RNNCell(8, 4), nn.GRUCell(4, 4), nn.LSTMCell(4, 4)])

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.rnn(x, self.start)
        y, h = self.gru(y, h)
        y, (h_n, c_n) = self.parts["lstm"](y)
        h = self.cells[0](y[-1])
        h = self.cells[1](torch.ones(2, 4), h)  # only the state is recorded
        h, c = self.cells[2](h, (h_n[0], c_n[0]))
        return h + c


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.encoder = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(8, 2, 16, 0.0), 2, enable_nested_tensor=False
        )
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, 0.0), 2)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, 0.0)
        self.cross = nn.TransformerDecoderLayer(8, 2, 16, 0.0)
        self.both = nn.Transformer(8, 2, custom_encoder=self.encoder, custom_decoder=self.decoder)

    def forward(self, x: Tensor) -> Tensor:
        padding = x[..., 0].T > 100
        memory = self.encoder(x, src_key_padding_mask=padding)
        y, weights = self.attention(memory, x, x, key_padding_mask=padding, average_attn_weights=False)
        y = self.decoder(self.block(y), memory) + weights.sum()
        return self.both(x, self.cross(y, memory))


CALLS: dict[str, tuple[Any, Tensor]] = {
    "recurrent": (Recurrent, torch.randn(5, 2, 3)),
    "attention": (Attention, torch.randn(5, 2, 8)),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_graph_is_that_of_torch_s_layers(name: str) -> None:
    make, x = CALLS[name]
    theirs = make().eval()
    ours = copy.deepcopy(theirs)
    assert not pyrnn.accelerate(ours).kept
    expected, found = fx.symbolic_trace(theirs), fx.symbolic_trace(ours)
    assert found.code == expected.code
    assert torch.equal(found(x), ours(x))
    torch.testing.assert_close(found(x), theirs(x))


def test_what_torch_s_layers_lack_is_recorded_too() -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = pyrnn.LSTM(3, 4)
            self.attention = pyrnn.nn.MultiheadAttention(4, 2, causal=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            output, _, cells = self.lstm(x, lengths=lengths, return_cells=True)
            return self.attention(output, cells, cells)[0]

    model = Model()
    traced = fx.symbolic_trace(model)
    x, lengths = torch.randn(5, 2, 3), torch.tensor([2, 5])
    assert torch.equal(traced(x, lengths), model(x, lengths))
    assert "lengths = lengths, return_cells = True" in traced.code


@pytest.mark.parametrize("patched", [False, True])
def test_what_hangs_on_a_layer_is_called_once(patched: bool) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rnn = nn.GRU(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(x)[0]

    model: Any = Model()
    pyrnn.accelerate(model)
    if patched:
        forward = model.rnn.forward
        model.rnn.forward = lambda x: (forward(x)[0] * 2, None)
    else:
        model.rnn.register_forward_pre_hook(lambda _, args: (args[0] + 1,))
        model.rnn.register_forward_hook(lambda _, __, result: (result[0] * 2, result[1]))
    x = torch.randn(5, 2, 3)
    assert torch.equal(fx.symbolic_trace(model)(x), model(x))


def test_a_tracer_may_have_a_rule_of_its_own() -> None:
    class Blocks(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            return isinstance(m, nn.Sequential) or super().is_leaf_module(m, module_qualified_name)

    model = nn.ModuleDict({"a": nn.Sequential(pyrnn.GRU(3, 4))})

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts, self.rnn = model, pyrnn.GRU(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(self.parts["a"](x)[0])[0]

    targets = [node.target for node in Blocks().trace(Model()).nodes if node.op == "call_module"]
    assert targets == ["parts.a", "rnn"]
