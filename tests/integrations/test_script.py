"""torch.jit.script: compiles torch's layers in place of ours, with the same parameters."""

from __future__ import annotations

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
import pyrnn.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'norm' was found in ScriptModule constants"),
]
REPLACED = "torch.jit.script compiles torch's"


class Head(nn.Module):
    """A model with a scripted head, as deployment code has it."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(3, 8, 2, batch_first=True, dropout=0.1)
        self.block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.cell = nn.GRUCell(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        output, (h, _) = self.rnn(x)
        state = self.cell(self.block(output)[:, -1], h[-1, :, :4])
        for t in range(x.shape[1]):
            state = self.cell(output[:, t], state)
        return state


@pytest.mark.filterwarnings("ignore:.*compiles torch's:UserWarning")
def test_a_model_is_scripted_saved_and_loaded() -> None:
    model = Head().eval()
    expected_model = copy.deepcopy(model)
    pyrnn.accelerate(model)
    scripted = torch.jit.script(copy.deepcopy(model))
    buffer = io.BytesIO()
    torch.jit.save(scripted, buffer)
    buffer.seek(0)
    loaded = torch.jit.load(buffer)
    x = torch.randn(2, 5, 3)
    assert torch.equal(loaded(x), expected_model(x))
    torch.testing.assert_close(model(x), expected_model(x))
    assert not pyrnn.accelerate(model).swapped  # only the copy has lost its layers


def test_the_model_that_was_scripted_says_what_became_of_it() -> None:
    model = nn.Sequential(nn.GRU(3, 4))
    pyrnn.accelerate(model)
    weight = model[0].weight_hh_l0
    with pytest.warns(UserWarning, match=f"{REPLACED} GRU.*pyrnn.accelerate.model. brings ours back"):
        torch.jit.script(model)
    assert type(model[0]) is nn.GRU
    assert model[0].weight_hh_l0 is weight
    assert pyrnn.accelerate(model).swapped
    assert isinstance(model[0], pyrnn.GRU)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_every_layer_by_itself(name: str) -> None:
    layer: Any = getattr(pyrnn, name)(3, 4)
    x = torch.randn(2, 3) if "Cell" in name else torch.randn(5, 2, 3)
    with pytest.warns(UserWarning, match=REPLACED):
        scripted = torch.jit.script(nn.Sequential(layer))  # torch's own runs inside a model alone
    torch.testing.assert_close(scripted(x), layer(x))
    assert type(layer) is getattr(pyrnn, name)
    parameter = next(scripted.parameters())
    assert parameter.data_ptr() == next(layer.parameters()).data_ptr()


@pytest.mark.filterwarnings("ignore:.*compiles torch's:UserWarning")
def test_every_attention_by_itself() -> None:
    block, cross = pyrnn.nn.TransformerEncoderLayer(8, 2, 16), pyrnn.nn.TransformerDecoderLayer(8, 2, 16)
    x = torch.randn(5, 2, 8)
    for layer, args in (
        (pyrnn.nn.MultiheadAttention(8, 2), (x, x, x)),
        (block, (x,)),
        (cross, (x, x)),
        (pyrnn.nn.TransformerEncoder(block, 2), (x,)),
        (pyrnn.nn.TransformerDecoder(cross, 2), (x, x)),
        (pyrnn.nn.Transformer(8, 2, 1, 1, 16), (x, x)),
    ):
        layer.eval()
        expected = layer(*args)
        torch.testing.assert_close(torch.jit.script(layer)(*args), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (pyrnn.LSTM(3, 4, checkpoint_every=2), "torch's has no checkpoint_every"),
        (pyrnn.GRU(3, 4, locked_dropout=True), "torch's has no locked_dropout"),
        (pyrnn.nn.TransformerEncoderLayer(8, 2, window=(2, 0)), "no window, which its self_attn uses"),
    ],
)
def test_what_torch_s_could_not_do_is_refused(layer: nn.Module, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        torch.jit.script(nn.Sequential(layer))
