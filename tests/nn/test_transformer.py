"""Transformers compute what torch's do, whole and in parts."""

from __future__ import annotations

import copy
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import pyrnn.nn
from pyrnn.nn import TransformerDecoder, TransformerDecoderLayer, TransformerEncoder, TransformerEncoderLayer
from tests.helpers import assert_as_accurate
from tests.nn.attention_pairs import LAYERS, MODELS, causal_mask, pair
from tests.nn.pairs import assert_same, gradients
from tests.nn.test_misuse import assert_same_refusal

SIZES: dict[str, tuple[int, ...]] = {
    "TransformerEncoderLayer": (8, 2, 16),
    "TransformerDecoderLayer": (8, 2, 16),
    "Transformer": (8, 2, 1, 2, 16),
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False, "norm_first": True},
    {"activation": "gelu", "batch_first": True},
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", MODELS)
def test_same_parameters_and_attributes(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, *SIZES[name], **options)
    expected = list(theirs.named_parameters())
    assert [label for label, _ in ours.named_parameters()] == [label for label, _ in expected]
    assert all(torch.equal(ours.get_parameter(label), weight) for label, weight in expected)
    assert repr(ours) == repr(theirs)
    assert isinstance(ours, getattr(nn, name))
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("name", [*MODELS, "TransformerEncoder", "TransformerDecoder"])
@pytest.mark.parametrize("method", ["__init__", "forward"])
def test_same_signatures(name: str, method: str) -> None:
    expected = inspect.signature(getattr(getattr(nn, name), method)).parameters
    found = inspect.signature(getattr(getattr(pyrnn.nn, name), method)).parameters
    positional = {n: p.default for n, p in found.items() if p.kind is not p.KEYWORD_ONLY}
    assert list(positional.items()) == [(n, p.default) for n, p in expected.items()]


def silu(x: Tensor) -> Tensor:
    return x * x.sigmoid()


class Squared(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


ACTIVATIONS: dict[str, Any] = {
    "relu": "relu",
    "gelu": "gelu",
    "F.relu": F.relu,
    "torch.relu": torch.relu,
    "nn.GELU": nn.GELU(),
    "silu": silu,
    "module": Squared(),
}


@st.composite
def models(draw: st.DrawFn) -> tuple[str, dict[str, Any], tuple[Tensor, ...], dict[str, Any]]:
    """A model, its options, and a call of it."""
    name = draw(st.sampled_from(MODELS))
    options = {
        "dropout": 0.0,
        "activation": ACTIVATIONS[draw(st.sampled_from(list(ACTIVATIONS)))],
        "layer_norm_eps": draw(st.sampled_from([1e-5, 0.1])),
        **{option: draw(st.booleans()) for option in ("batch_first", "norm_first", "bias")},
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 1000)))
    B, T, S = draw(st.integers(1, 3)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    batched = draw(st.booleans())

    def new(length: int) -> Tensor:
        shape = (B, length, 8) if options["batch_first"] else (length, B, 8)
        return torch.randn(shape if batched else (length, 8), generator=generator, dtype=torch.float64)

    def padding(length: int) -> Tensor | None:
        mask = torch.rand(B, length, generator=generator) < 0.3
        mask[:, 0] = False
        return draw(st.sampled_from([None, mask if batched else mask[0]]))

    def mask(length: int) -> Tensor | None:
        bias = torch.randn(length, length, generator=generator, dtype=torch.float64)
        forbidden = causal_mask(length) < 0
        return draw(st.sampled_from([None, causal_mask(length), forbidden, bias]))

    if name == "TransformerEncoderLayer":
        return name, options, (new(T),), {"src_mask": mask(T), "src_key_padding_mask": padding(T)}
    masks = {
        "tgt_mask": mask(T),
        "tgt_key_padding_mask": padding(T),
        "memory_key_padding_mask": padding(S),
        "memory_mask": draw(st.sampled_from([None, torch.zeros(T, S, dtype=torch.float64)])),
    }
    if name == "TransformerDecoderLayer":
        return name, options, (new(T), new(S)), masks
    return name, options, (new(S), new(T)), {**masks, "src_mask": mask(S), "src_key_padding_mask": padding(S)}


@settings(max_examples=40)
@given(model=models(), training=st.booleans())
@pytest.mark.filterwarnings("ignore:Support for mismatched")
def test_any_call_gives_torch_s_results_and_gradients(model: Any, training: bool) -> None:
    name, options, args, kwargs = model
    theirs, ours = (module.train(training) for module in pair(name, *SIZES[name], **options))
    leaves = [arg.requires_grad_() for arg in args]
    expected, found = theirs(*args, **kwargs), ours(*args, **kwargs)
    assert_same(found, expected)
    assert_same(gradients(ours, found, *leaves), gradients(theirs, expected, *leaves))
    if not training:
        with torch.no_grad():
            assert_same(ours(*args, **kwargs), expected.detach())


@pytest.mark.parametrize("norm_first", [False, True])
def test_as_accurate_as_torch(norm_first: bool) -> None:
    exact, _ = pair("TransformerEncoderLayer", 64, 4, 128, 0.0, norm_first=norm_first)
    theirs, ours = pair(
        "TransformerEncoderLayer", 64, 4, 128, 0.0, norm_first=norm_first, dtype=torch.float32
    )
    exact.load_state_dict(theirs.state_dict())
    x = torch.randn(20, 3, 64)
    results = []
    for layer in (ours, theirs, exact):
        own = x.to(layer.norm1.weight.dtype).requires_grad_()
        output = layer(own)
        results.append([output, *gradients(layer, output, own)])
    assert_as_accurate(*results)


# ---- stacks --------------------------------------------------------------------------------------


def stacks(**options: Any) -> list[Any]:
    """torch's encoder of torch's layers; ours of ours; each of the other's. The same weights."""
    options = {"dtype": torch.float64, "dropout": 0.0, "batch_first": True, **options}
    theirs = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **options), 2)
    layer = TransformerEncoderLayer(8, 2, 16, **options)
    made = [
        theirs,
        TransformerEncoder(layer, 2),
        nn.TransformerEncoder(layer, 2),
        TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, **options), 2),
    ]
    for stack in made:
        stack.load_state_dict(theirs.state_dict())
    return made


@pytest.mark.parametrize("mask", [None, "causal", "bool", "other"])
@pytest.mark.parametrize("is_causal", [None, False])
def test_encoders_of_either_kind_with_layers_of_either_kind(mask: str | None, is_causal: bool | None) -> None:
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    masks = {None: None, "causal": causal_mask(5), "bool": causal_mask(5) < 0, "other": causal_mask(5).exp()}
    results = [stack(x, masks[mask], is_causal=is_causal) for stack in stacks()]
    for found in results[1:]:
        assert_same(found, results[0])


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_padding_in_evaluation() -> None:
    """torch writes zeros at padding here, and the numbers that ours has while training."""
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    padding = torch.arange(5) >= torch.tensor([[5], [2], [4]])
    theirs, *others = stacks()
    training = theirs(x, src_key_padding_mask=padding)
    with torch.no_grad():
        expected = theirs.eval()(x, src_key_padding_mask=padding)
        assert not expected[padding].any()
        for stack in others:
            found = stack.eval()(x, src_key_padding_mask=padding)
            assert_same(found[~padding], expected[~padding])
        assert_same(others[0](x, src_key_padding_mask=padding), training.detach())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors(layout: torch.layout) -> None:
    layer = TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    stack = TransformerEncoder(layer, 2, nn.LayerNorm(8) if layout == torch.jagged else None)
    sequences = [torch.randn(length, 8) for length in (5, 2, 7)]
    output = stack(torch.nested.nested_tensor(sequences, layout=layout))
    for row, sequence in zip(output.unbind(), sequences, strict=True):
        torch.testing.assert_close(row, stack(sequence))
    with pytest.raises(AssertionError, match="without masks"):
        layer(torch.nested.nested_tensor(sequences), torch.zeros(7, 7))


def test_encoders_need_no_advice_about_nested_tensors() -> None:
    encoder = TransformerEncoder(TransformerEncoderLayer(8, 1, 16), 2)  # torch warns
    assert (encoder.enable_nested_tensor, encoder.use_nested_tensor) == (True, False)


def test_decoders_of_either_kind_with_layers_of_either_kind() -> None:
    options = {"dtype": torch.float64, "dropout": 0.0}
    theirs = nn.TransformerDecoder(
        nn.TransformerDecoderLayer(8, 2, 16, **options), 2, nn.LayerNorm(8).double()
    )
    layer = TransformerDecoderLayer(8, 2, 16, **options)
    x, memory = torch.randn(4, 3, 8).double(), torch.randn(5, 3, 8).double()
    expected = theirs(x, memory, causal_mask(4))
    for stack in (
        TransformerDecoder(layer, 2, nn.LayerNorm(8).double()),
        nn.TransformerDecoder(layer, 2, nn.LayerNorm(8).double()),
        TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 16, **options), 2, nn.LayerNorm(8).double()),
    ):
        stack.load_state_dict(theirs.state_dict())
        assert_same(stack(x, memory, causal_mask(4)), expected)


@pytest.mark.parametrize("name", MODELS)
def test_empty_batch(name: str) -> None:
    _, ours = pair(name, *SIZES[name])
    x, memory = torch.randn(4, 0, 8).double(), torch.randn(3, 0, 8).double()
    assert (ours(x) if name == "TransformerEncoderLayer" else ours(x, memory)).shape[1:] == (0, 8)


def test_custom_parts_of_a_transformer() -> None:
    class Body(nn.Module):
        def forward(self, x: Tensor, *_: Any, **__: Any) -> Tensor:
            return x + 1

    torch.manual_seed(0)
    model = pyrnn.nn.Transformer(8, 2, custom_encoder=Body(), custom_decoder=Body())
    x = torch.randn(4, 3, 8)
    assert torch.equal(model(x, x), x + 1)
    assert torch.equal(model.generate_square_subsequent_mask(3), causal_mask(3, torch.float32))


# ---- what users put into layers ------------------------------------------------------------------


def test_hooks_of_parts_are_called() -> None:
    layer, calls = TransformerEncoderLayer(8, 2, 16), []
    x = torch.randn(4, 3, 8)
    parts = ("self_attn", "linear1", "linear2", "dropout", "dropout1", "dropout2", "norm1", "norm2")
    expected = layer.eval()(x)
    for name in parts:
        part = layer.get_submodule(name)
        part.register_forward_hook(lambda *_, name=name: calls.append(name))
    assert_same(layer(x), expected, rtol=1e-5, atol=1e-6)
    assert sorted(calls) == sorted(parts)


def test_replaced_parts_are_used() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    theirs, ours = pair("TransformerEncoderLayer", 8, 2, 16, dropout=0.0)
    for layer in (theirs, ours):
        torch.manual_seed(0)
        layer.linear1 = Doubled(8, 16, dtype=torch.float64)
        layer.dropout1 = nn.Identity()
        layer.activation = silu
    x = torch.randn(4, 3, 8, dtype=torch.float64)
    assert_same(ours(x), theirs(x))


def test_dropout_falls_where_it_does_in_torch() -> None:
    """The mean over many masks is what the layer gives without dropout, and each part has its own."""
    x = torch.randn(2, 3, 8)
    for name in ("dropout", "dropout1", "dropout2"):
        layer = TransformerEncoderLayer(8, 2, 16, 0.0, norm_first=True)
        exact = layer(x)
        layer.get_submodule(name).p = 0.5  # type: ignore[assignment]
        outputs = torch.stack([layer(x) for _ in range(100)])
        spread = outputs.std(0)
        assert (spread > 0).any()
        if name != "dropout1":  # what follows it is not linear
            assert ((outputs.mean(0) - exact).abs() <= 5 * spread / 10 + 1e-5).all()
        torch.manual_seed(1)
        first = layer(x)
        torch.manual_seed(1)
        assert torch.equal(layer(x), first)
        assert torch.equal(layer.eval()(x), layer(x))


def test_copies_and_pickles() -> None:
    layer = TransformerDecoderLayer(8, 2, 16, 0.0, "gelu", causal=True, rotary=pyrnn.nn.RotaryEmbedding(4))
    model = TransformerDecoder(layer, 2)
    x = torch.randn(4, 3, 8)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_same(other(x, x), model(x, x))


def test_causal_layers_need_no_mask() -> None:
    torch.manual_seed(0)
    plain = TransformerDecoderLayer(8, 2, 16, 0.0)
    layer = TransformerDecoderLayer(8, 2, 16, 0.0, causal=True, window=(2, 0))
    layer.load_state_dict(plain.state_dict())
    x, memory = torch.randn(6, 3, 8), torch.randn(5, 3, 8)
    distance = torch.arange(6)[:, None] - torch.arange(6)
    expected = plain(x, memory, (distance < 0) | (distance > 2))
    assert_same(layer(x, memory), expected, rtol=1e-5, atol=1e-6)


# ---- misuse --------------------------------------------------------------------------------------

X = torch.zeros(5, 2, 8)


@pytest.mark.parametrize(
    ("args", "options"),
    [
        ((), {}),
        ((8,), {}),
        ((8, 3), {}),
        ((0, 2), {}),
        ((8, 2), {"activation": "tanh"}),
        ((8, 2), {"dropout": 2.0}),
        ((8, 2), {"sliding": True}),
    ],
)
@pytest.mark.parametrize("name", LAYERS)
def test_construction(name: str, args: tuple[Any, ...], options: dict[str, Any]) -> None:
    assert_same_refusal(
        lambda: getattr(pyrnn.nn, name)(*args, **options), lambda: getattr(nn, name)(*args, **options)
    )


MISUSES: dict[str, Callable[[Any], object]] = {
    "features": lambda package: package.TransformerEncoderLayer(8, 2)(torch.zeros(5, 2, 7)),
    "features, norm_first": lambda package: package.TransformerEncoderLayer(8, 2, norm_first=True)(
        torch.zeros(5, 2, 7)
    ),
    "dtype": lambda package: package.TransformerEncoderLayer(8, 2)(X.double()),
    "dimensions": lambda package: package.TransformerEncoderLayer(8, 2)(X[None]),
    "mask": lambda package: package.TransformerEncoderLayer(8, 2)(X, torch.zeros(4, 4)),
    "int mask": lambda package: package.TransformerEncoderLayer(8, 2)(X, torch.zeros(5, 5).int()),
    "padding": lambda package: package.TransformerEncoderLayer(8, 2)(X, None, torch.zeros(2, 4).bool()),
    "hint without a mask": lambda package: package.TransformerEncoderLayer(8, 2)(X, is_causal=True),
    "memory": lambda package: package.TransformerDecoderLayer(8, 2)(X, torch.zeros(5, 3, 8)),
    "memory's features": lambda package: package.TransformerDecoderLayer(8, 2)(X, torch.zeros(5, 2, 7)),
    "source's batch": lambda package: package.Transformer(8, 2)(X, torch.zeros(5, 3, 8)),
    "source's features": lambda package: package.Transformer(8, 2)(torch.zeros(5, 2, 7), X),
    "no layers": lambda package: package.TransformerEncoder(package.TransformerEncoderLayer(8, 2)),
}


@pytest.mark.parametrize("name", MISUSES)
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
def test_misuse(name: str) -> None:
    assert_same_refusal(lambda: MISUSES[name](pyrnn.nn), lambda: MISUSES[name](nn))
