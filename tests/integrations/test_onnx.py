"""ONNX: models run by onnxruntime, lengths, masks and changing sizes included; `pyrnn.onnx`."""

from __future__ import annotations

import io
import warnings
from typing import Any, cast

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

import pyrnn
import pyrnn.nn
from pyrnn.nn import MultiheadAttention, RotaryEmbedding, TransformerDecoderLayer, TransformerEncoderLayer
from tests.nn.pairs import tensors_in

pytestmark = [
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

Array = np.ndarray[Any, Any]


def run(data: bytes, args: tuple[Tensor, ...]) -> list[Array]:
    session: Any = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [given.name for given in session.get_inputs()]
    return session.run(None, dict(zip(names, (arg.numpy() for arg in args), strict=True)))


def exported(model: nn.Module, args: tuple[Tensor, ...], **options: Any) -> bytes:
    table = pyrnn.onnx.translation_table()
    program = torch.onnx.export(model, args, dynamo=True, custom_translation_table=table, **options)
    assert program is not None
    return program.model_proto.SerializeToString()


def check(model: nn.Module, *args: Tensor) -> None:
    model.eval()
    with torch.no_grad():
        expected = tensors_in(model(*args))
    for found, tensor in zip(run(exported(model, args), args), expected, strict=True):
        np.testing.assert_allclose(found, tensor.numpy(), rtol=1e-5, atol=1e-5)


class Layers(nn.Module):
    """Several layers in one model: an export takes seconds."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor, lengths: Tensor | None = None, *states: Tensor) -> list[Any]:
        results = []
        for layer in self.layers:
            pair = isinstance(layer, nn.LSTM)
            hx = None if not states else states[:2] if pair else states[0]
            results.append(layer(x, hx, lengths=lengths))
        return results


@pytest.mark.parametrize("batch_first", [False, True])
def test_recurrent_layers_with_lengths(batch_first: bool) -> None:
    layers = [
        layer(3, 4, 2, bidirectional=True, batch_first=batch_first)
        for layer in (pyrnn.RNN, pyrnn.GRU, pyrnn.LSTM)
    ]
    x = torch.randn(2, 5, 3) if batch_first else torch.randn(5, 2, 3)
    check(Layers(*layers), x, torch.tensor([2, 5]))


def test_recurrent_layers_with_first_states_and_without_biases() -> None:
    layers = [layer(3, 4, bias=False) for layer in (pyrnn.RNN, pyrnn.GRU, pyrnn.LSTM)]
    states = torch.randn(1, 2, 4), torch.randn(1, 2, 4)
    check(Layers(*layers), torch.randn(5, 2, 3), torch.tensor([4, 1]), *states)


def test_relu_and_no_lengths() -> None:
    check(
        Layers(pyrnn.RNN(3, 4, nonlinearity="relu", bidirectional=True), pyrnn.GRU(3, 4)),
        torch.randn(5, 2, 3),
    )


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.ModuleList([pyrnn.RNNCell(3, 4), pyrnn.GRUCell(3, 4), pyrnn.LSTMCell(3, 4)])

    def forward(self, x: Tensor) -> list[Any]:
        return [cell(x, cell(x)) for cell in self.cells]


def test_cells() -> None:
    check(Cells(), torch.randn(2, 3))


class Attentions(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [
                MultiheadAttention(8, 2),
                MultiheadAttention(8, 2, causal=True, window=(2, 0)),
                MultiheadAttention(8, 2, window=(1, 2), alibi=True),
                MultiheadAttention(8, 2, rotary=RotaryEmbedding(4), batch_first=True),
                MultiheadAttention(8, 2, add_bias_kv=True, add_zero_attn=True),
            ]
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        results = []
        for layer in self.layers:
            results += layer(x, x, x)
            results += layer(x, x, x, average_attn_weights=False)
            results.append(layer(x, x, x, need_weights=False)[0])
        return results


def test_attention() -> None:
    check(Attentions(), torch.randn(5, 2, 8))


class Grouped(nn.Module):
    def forward(self, q: Tensor, k: Tensor, lengths: Tensor) -> Any:
        return pyrnn.ops.scaled_dot_product_attention(
            q, k, k, lengths=lengths, softcap=2.0, query_start=2, enable_gqa=True
        )


def test_the_operator_s_other_options() -> None:
    check(Grouped(), torch.randn(2, 4, 3, 8), torch.randn(2, 2, 5, 8), torch.tensor([5, 0]))


class Masked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = TransformerEncoderLayer(8, 2, 16, 0.0)
        self.decoder = TransformerDecoderLayer(8, 2, 16, 0.0, causal=True)

    def forward(self, x: Tensor, padding: Tensor, mask: Tensor) -> Tensor:
        memory = self.encoder(x, mask, padding)
        return self.decoder(x, memory, memory_key_padding_mask=padding)


def test_masks_where_some_queries_see_nothing() -> None:
    padding = torch.tensor([[False, False, True], [True, True, True]])
    for mask in (torch.randn(3, 3), torch.randn(3, 3) > 0):
        check(Masked(), torch.randn(3, 2, 8), padding, mask)


def test_sizes_may_change() -> None:
    model = nn.ModuleList([pyrnn.GRU(3, 8), TransformerEncoderLayer(8, 2, 16, 0.0, causal=True)])

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.parts = model

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.parts[1](self.parts[0](x, lengths=lengths)[0])

    both = Both().eval()
    T, B = Dim("T", min=2, max=64), Dim("B", min=2, max=64)
    args = (torch.randn(5, 3, 3), torch.tensor([5, 2, 1]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name: B will not be used")
        data = exported(both, args, dynamic_shapes=({0: T, 1: B}, {0: B}))
    for sizes, lengths in (((5, 3, 3), [5, 2, 1]), ((9, 2, 3), [3, 9])):
        args = (torch.randn(sizes), torch.tensor(lengths))
        with torch.no_grad():
            expected = both(*args).numpy()
        np.testing.assert_allclose(run(data, args)[0], expected, rtol=1e-5, atol=1e-5)


def test_an_accelerated_model() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0), nn.GRU(8, 4))
    pyrnn.accelerate(model)
    check(model, torch.randn(5, 2, 8))


@pytest.mark.parametrize(
    ("layer", "options", "words"),
    [
        (pyrnn.LSTM(3, 4, proj_size=2), {}, "projection"),
        (pyrnn.LSTM(3, 4), {"return_cells": True}, "return_cells"),
        (pyrnn.GRU(3, 4), {"reset": torch.ones(5, 2, dtype=torch.bool)}, "reset"),
    ],
)
def test_what_onnx_cannot_say_is_refused(layer: Any, options: Any, words: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        def forward(self, x: Tensor) -> Any:
            return self.layer(x, **options)

    with pytest.raises(RuntimeError) as caught:
        exported(Model().eval(), (torch.randn(5, 2, 3),))
    causes, error = "", cast(BaseException | None, caught.value)
    while error is not None:
        causes, error = causes + str(error), error.__cause__
    assert "ONNX's operators have no" in causes
    assert words in causes


@pytest.mark.filterwarnings(
    "ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning"
)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::torch.jit.TracerWarning")
def test_the_older_exporter_takes_a_restored_model() -> None:
    model = nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, 0.0), nn.GRU(8, 4)).eval()
    pyrnn.accelerate(model)
    x, buffer = torch.randn(5, 2, 8), io.BytesIO()
    expected = tensors_in(model(x))
    assert not pyrnn.restore(model).kept
    torch.onnx.export(model, (x,), buffer, dynamo=False)  # type: ignore[arg-type]
    for found, tensor in zip(run(buffer.getvalue(), (x,)), expected, strict=True):
        np.testing.assert_allclose(found, tensor.detach().numpy(), rtol=1e-5, atol=1e-5)
