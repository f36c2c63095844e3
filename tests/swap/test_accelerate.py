"""Swapping torch's layers in a model."""

from __future__ import annotations

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch.ao.nn.quantized import dynamic as quantized_dynamic
from torch.nn.utils import parametrize

import pyrnn
import pyrnn.nn

EVERY = ("RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell")


class Gated(nn.LSTM):
    """A subclass that changes what torch's forward runs."""

    def check_forward_args(self, *args: Any) -> None:
        pass


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
        (lambda: Gated(3, 4), "a subclass of torch.nn.LSTM whose check_forward_args is its own"),
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
    model = nn.ModuleDict({"encoder": nn.LSTM(3, 4), "decoder": Gated(4, 4, bias=False)})
    lines = str(pyrnn.accelerate(model)).splitlines()
    assert lines[0] == "accelerate: 1 swapped, 1 kept"
    assert lines[1].split() == ["name", "layer", "result", "why"]
    assert lines[2].split(maxsplit=4)[:4] == ["encoder", "torch.nn.LSTM(3,", "4)", "swapped"]
    column = lines[1].index("result")
    assert [line[column:].split()[0] for line in lines[2:-1]] == ["swapped", "kept"]
    assert "pyrnn.restore(model)" in lines[-1]
    assert str(pyrnn.accelerate(nn.Linear(2, 2))) == (
        "accelerate: the model has no recurrent, attention or Transformer layer"
    )


def test_only_modules() -> None:
    with pytest.raises(TypeError, match=r"expects a torch\.nn\.Module, got dict"):
        pyrnn.accelerate({})  # type: ignore[arg-type]


# ---- attention and Transformers ------------------------------------------------------------------


def transformers() -> dict[str, tuple[Any, tuple[Tensor, ...]]]:
    """torch's module of each kind, and the arguments of a call."""
    options: dict[str, Any] = {"dtype": torch.float64, "dropout": 0.0}
    x, memory = torch.randn(5, 2, 8).double(), torch.randn(4, 2, 8).double()
    encoder = nn.TransformerEncoderLayer(8, 2, 16, **options)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, **options)
    return {
        "MultiheadAttention": (nn.MultiheadAttention(8, 2, **options), (x, x, x)),
        "TransformerEncoderLayer": (encoder, (x,)),
        "TransformerDecoderLayer": (decoder, (x, memory)),
        "TransformerEncoder": (nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False), (x,)),
        "TransformerDecoder": (nn.TransformerDecoder(decoder, 2), (x, memory)),
        "Transformer": (nn.Transformer(8, 2, 1, 1, 16, batch_first=True, **options), (x, x)),
    }


def is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn")


@pytest.mark.parametrize("name", transformers())
def test_every_part_of_a_transformer_computes_the_same(name: str) -> None:
    theirs, args = transformers()[name]
    ours = copy.deepcopy(theirs)
    parameters = dict(ours.named_parameters())
    report = pyrnn.accelerate(ours)
    assert not report.kept
    assert type(ours) is getattr(pyrnn.nn, name)
    assert not {type(part).__name__ for part in ours.modules() if is_of_torch(part)} & set(transformers())
    assert all(parameters[label] is weight for label, weight in ours.named_parameters())
    found, expected = ours(*args), theirs(*args)
    torch.testing.assert_close(found, expected)
    assert not pyrnn.accelerate(ours).swapped


def test_a_swapped_attention_has_our_options() -> None:
    model = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, 0.0), 2, enable_nested_tensor=False)
    pyrnn.accelerate(model)
    x, accelerated = torch.randn(5, 2, 8), cast(pyrnn.nn.TransformerEncoder, model)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    cache = accelerated.new_cache()
    steps = [accelerated(token, cache=cache) for token in x.split(1)]
    torch.testing.assert_close(torch.cat(steps), accelerated(x, mask))


def test_the_sizes_of_a_transformer_are_told() -> None:
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True)
    report = pyrnn.accelerate(model)
    assert [(entry.names[0], entry.layer) for entry in report.layers] == [
        ("", "torch.nn.Transformer(8, 2)"),
        ("encoder", "torch.nn.TransformerEncoder(1 layers)"),
        ("encoder.layers.0", "torch.nn.TransformerEncoderLayer(8, 2)"),
        ("encoder.layers.0.self_attn", "torch.nn.MultiheadAttention(8, 2)"),
        ("decoder", "torch.nn.TransformerDecoder(1 layers)"),
        ("decoder.layers.0", "torch.nn.TransformerDecoderLayer(8, 2)"),
        ("decoder.layers.0.self_attn", "torch.nn.MultiheadAttention(8, 2)"),
        ("decoder.layers.0.multihead_attn", "torch.nn.MultiheadAttention(8, 2)"),
    ]
    assert {entry.reason for entry in report.layers} == {"CPU kernels for torch.float32"}


class GatedAttention(nn.MultiheadAttention):
    """A subclass that computes something else."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output, weights = super().forward(*args, **kwargs)
        return output.tanh(), weights


def parametrized_attention() -> nn.Module:
    layer = nn.MultiheadAttention(8, 2)
    parametrize.register_parametrization(layer, "in_proj_weight", Halved())
    return layer


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GatedAttention(8, 2), "a subclass of torch.nn.MultiheadAttention whose forward is its own"),
        (parametrized_attention, "parametrized: accelerate the model before"),
        (lambda: nn.MultiheadAttention(8, 2).half(), "not in torch.float16"),
        (lambda: pyrnn.nn.MultiheadAttention(8, 2), "already pyrnn's"),
    ],
)
def test_which_attention_is_left_alone_and_why(make: Any, words: str) -> None:
    layer = make()
    kind = type(layer)
    (entry,) = pyrnn.accelerate(layer).layers
    assert not entry.swapped
    assert words in entry.reason
    assert type(layer) is kind


class Translator(nn.Module):
    """What a course's training script holds: embeddings, torch's Transformer and a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.symbols = nn.Embedding(20, 16, padding_idx=0)
        self.transformer = nn.Transformer(16, 2, 1, 1, 32, dropout=0.0)
        self.scores = nn.Linear(16, 20)

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        causal = nn.Transformer.generate_square_subsequent_mask(len(target)).isinf()
        padding = [(ids == 0).T for ids in (source, target)]
        decoded = self.transformer(
            self.symbols(source),
            self.symbols(target),
            tgt_mask=causal,
            src_key_padding_mask=padding[0],
            tgt_key_padding_mask=padding[1],
            memory_key_padding_mask=padding[0],
        )
        return self.scores(decoded)


def _losses(model: nn.Module) -> list[float]:
    generator, optimizer = torch.Generator().manual_seed(0), torch.optim.AdamW(model.parameters(), 0.003)
    losses = []
    for _ in range(15):
        source, target = (torch.randint(1, 20, (n, 4), generator=generator) for n in (9, 8))
        source[6:, ::2], target[5:, 1::2] = 0, 0
        output = model(source, target[:-1]).flatten(0, 1)
        loss = nn.functional.cross_entropy(output, target[1:].flatten(), ignore_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_a_training_script_goes_the_same_way() -> None:
    torch.manual_seed(0)
    theirs = Translator()
    ours = copy.deepcopy(theirs)
    assert pyrnn.accelerate(ours).swapped
    expected = _losses(theirs)
    assert expected[-1] < expected[0]
    torch.testing.assert_close(_losses(ours), expected, rtol=1e-4, atol=0)
