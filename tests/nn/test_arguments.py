"""Arguments of layers that have another type or lie elsewhere are refused in words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

import pyrnn
from pyrnn.nn import (
    KeyValueCache,
    LearnedPositionalEncoding,
    MultiheadAttention,
    RotaryEmbedding,
    SinusoidalPositionalEncoding,
    Transformer,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
    alibi_slopes,
    sinusoidal_positions,
)
from tests.nn.pairs import CELLS, LAYERS
from tests.ops.kinds import NOT_DENSE, NOT_TENSORS

X = torch.randn(5, 2, 4)
LENGTHS = torch.tensor([5, 2])

# ---- recurrent layers ----------------------------------------------------------------------------

LENGTHS_OF_NO_USE: list[tuple[Any, type[Exception], str]] = [
    (3, TypeError, "expected lengths to be integers, a tensor or a list of them, got 3"),
    ([None, 2], TypeError, r"a tensor or a list of them, got \[None, 2\]"),
    (["5", "2"], TypeError, "a tensor or a list of them"),
    ([[5], 2], TypeError, "a tensor or a list of them"),
    ([2**70, 2], TypeError, "a tensor or a list of them"),
    ([True, False], TypeError, "integers, got torch.bool"),
    (np.array([5.0, 2.0]), TypeError, "integers, got torch.float64"),
    ([sys.maxsize, 2], ValueError, r"\[0, T\] with T = 5, got values from 2 to 9223372036854775807"),
    ([-sys.maxsize, 2], ValueError, "got values from -9223372036854775807 to 2"),
    (
        LENGTHS.to("meta"),
        ValueError,
        "lengths must be on the CPU or, as input is, on cpu, got lengths on meta",
    ),
    (LENGTHS.to_sparse(), TypeError, "lengths must be a dense strided tensor"),
    (torch.tensor(5), ValueError, r"shape \(2,\), got \(\)"),
]


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize(("lengths", "error", "words"), LENGTHS_OF_NO_USE)
def test_lengths_of_layers(name: str, lengths: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        getattr(pyrnn, name)(4, 4)(X, lengths=lengths)


@pytest.mark.parametrize("wrap", [list, tuple, np.array, torch.tensor, lambda n: torch.tensor(n).byte()])
def test_lengths_in_any_form(wrap: Callable[[list[int]], Any]) -> None:
    layer = pyrnn.GRU(4, 4)
    torch.testing.assert_close(layer(X, lengths=wrap([5, 2])), layer(X, lengths=LENGTHS), rtol=0, atol=0)


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
@pytest.mark.parametrize("kind", [*NOT_DENSE, *NOT_TENSORS])
def test_inputs_of_recurrent_layers(name: str, kind: str) -> None:
    data = X if name in LAYERS else X[0]
    if kind in NOT_DENSE:
        data = data.flatten(1) if kind == "CSR" else data
        wrong: Any = NOT_DENSE[kind](data)
    else:
        wrong = NOT_TENSORS[kind]
    words = "must be a dense strided tensor|expected input to be a Tensor"
    with pytest.raises(TypeError, match=words):
        getattr(pyrnn, name)(4, 4)(wrong)


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_states_of_recurrent_layers(name: str) -> None:
    layer, data = getattr(pyrnn, name)(4, 4), X if name in LAYERS else X[0]
    state = torch.zeros(1, 2, 4) if name in LAYERS else torch.zeros(2, 4)
    for kind in ("sparse", "nested"):
        wrong = NOT_DENSE[kind](state)
        with pytest.raises(TypeError, match=r"hx(\[0\])? must be a dense strided tensor"):
            layer(data, (wrong, state) if name.startswith("LSTM") else wrong)


@pytest.mark.parametrize("every", [np.int64(2), torch.tensor(2), 2**62, sys.maxsize, 10**30])
def test_spans_of_any_integer(every: Any) -> None:
    layer = pyrnn.LSTM(4, 4, checkpoint_every=every)
    plain = pyrnn.LSTM(4, 4)
    plain.load_state_dict(layer.state_dict())
    for each in (layer, plain):
        each(X)[0].sum().backward()
    for ours, theirs in zip(layer.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    layer.checkpoint_every = 1.5  # type: ignore[assignment]
    with pytest.raises(TypeError, match="checkpoint_every should be of type int, got: float"):
        layer(X)


# ---- attention and Transformers ------------------------------------------------------------------

OPTIONS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"window": 3}, TypeError, "window should be of type"),
    ({"window": (1.5, 2)}, TypeError, r"window\[0\] should be of type int, got: float"),
    ({"window": (1, 2, 3)}, ValueError, r"window must be \(left, right\)"),
    ({"causal": "yes"}, TypeError, "causal should be of type bool, got: str"),
    ({"alibi": 1}, TypeError, "alibi should be of type bool, got: int"),
    ({"rotary": 4}, TypeError, "rotary should be of type RotaryEmbedding, got: int"),
]


@pytest.mark.parametrize(("options", "error", "words"), OPTIONS)
def test_options_of_attention_layers(options: dict[str, Any], error: type[Exception], words: str) -> None:
    for layer in (MultiheadAttention, TransformerEncoderLayer, TransformerDecoderLayer):
        with pytest.raises(error, match=words):
            layer(4, 2, **options)


@pytest.mark.parametrize("huge", [2**31, 2**62, sys.maxsize, 10**30])
def test_a_huge_window_of_a_layer_is_none(huge: int) -> None:
    layer = MultiheadAttention(4, 2, window=(huge, huge))
    plain = MultiheadAttention(4, 2)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(X, X, X), plain(X, X, X), rtol=0, atol=0)
    layer.window = (huge, 0)
    plain.window = (-1, 0)
    cache = layer.new_cache()
    assert cache.keep is not None
    torch.testing.assert_close(layer(X, X, X, cache=cache)[0], plain(X, X, X)[0], rtol=0, atol=0)


MODELS: dict[str, tuple[Callable[[], Any], int]] = {
    "MultiheadAttention": (lambda: MultiheadAttention(4, 2), 3),
    "TransformerEncoderLayer": (lambda: TransformerEncoderLayer(4, 2, 8), 1),
    "TransformerEncoder": (lambda: TransformerEncoder(TransformerEncoderLayer(4, 2, 8), 2), 1),
    "TransformerDecoderLayer": (lambda: TransformerDecoderLayer(4, 2, 8), 2),
    "Transformer": (lambda: Transformer(4, 2, 1, 1, 8), 2),
    "SinusoidalPositionalEncoding": (lambda: SinusoidalPositionalEncoding(4), 1),
    "LearnedPositionalEncoding": (lambda: LearnedPositionalEncoding(9, 4), 1),
    "RotaryEmbedding": (lambda: RotaryEmbedding(4), 1),
}


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("kind", [*NOT_TENSORS, "None", "sparse"])
def test_operands_of_layers(name: str, kind: str) -> None:
    make, count = MODELS[name]
    wrong = X.to_sparse() if kind == "sparse" else NOT_TENSORS.get(kind)
    layer = make()
    for n in range(count):
        operands: list[Any] = [X] * count
        operands[n] = wrong
        with pytest.raises(TypeError, match="must be a dense strided tensor, got"):
            layer(*operands)


def test_masks_of_layers() -> None:
    layer = MultiheadAttention(4, 2)
    for name, mask in (("attn_mask", torch.zeros(5, 5)), ("key_padding_mask", torch.zeros(2, 5))):
        for wrong in (mask.tolist(), mask.numpy(), mask.to_sparse()):
            with pytest.raises(TypeError, match=f"{name} must be a dense strided tensor"):
                layer(X, X, X, **{name: wrong})
        with pytest.raises((ValueError, RuntimeError), match="device"):
            layer(X, X, X, **{name: mask.to("meta")})
        with pytest.raises((ValueError, RuntimeError), match="device"):
            layer(X, X, X, **{name: mask.bool().to("meta")})
    with pytest.raises(TypeError, match="is_causal should be of type bool, got: str"):
        layer(X, X, X, attn_mask=torch.zeros(5, 5), is_causal="yes")
    encoder = TransformerEncoder(TransformerEncoderLayer(4, 2, 8), 1)
    with pytest.raises(TypeError, match="mask must be a dense strided tensor, got list"):
        encoder(X, [1])
    with pytest.raises(ValueError, match="not at the same device"):
        encoder(X, torch.zeros(5, 5, device="meta"))
    with pytest.raises(AssertionError, match=r"only bool and floating types of attn_mask .* got torch.int64"):
        encoder(X, torch.zeros(5, 5).long())
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert encoder(mode.from_tensor(X), mode.from_tensor(torch.zeros(5, 5))).shape == X.shape


def test_caches() -> None:
    for wrong in (1.5, True, "3"):
        with pytest.raises(TypeError, match="keep should be of type int"):
            KeyValueCache(keep=wrong)  # type: ignore[arg-type]
    cache = KeyValueCache(keep=10**30)
    heads = torch.zeros(1, 2, 3, 4)
    for keys, values in ((heads[0], heads[0]), (heads, heads[:, :1]), (heads, heads[:, :, :2])):
        with pytest.raises(ValueError, match=r"expected keys \[B, H, T, D\] and values \[B, H, T, V\]"):
            cache.append(keys, values)
    with pytest.raises(TypeError, match="keys must be a dense strided tensor, got list"):
        cache.append([], heads)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="indices must be a dense strided tensor, got list"):
        cache.reorder([0])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="length should be of type int, got: float"):
        cache.truncate(0.0)  # type: ignore[arg-type]
    for layer in (TransformerEncoder(TransformerEncoderLayer(4, 2, 8), 1), TransformerDecoderLayer(4, 2, 8)):
        operands = [X] * (2 if isinstance(layer, TransformerDecoderLayer) else 1)
        with pytest.raises(TypeError, match=r"what (layer\.)?new_cache\(\) makes, got int"):
            layer(*operands, cache=3)


# ---- positions -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer", [SinusoidalPositionalEncoding(4), LearnedPositionalEncoding(9, 4)], ids=repr
)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_embeddings_of_another_kind(layer: Callable[..., Tensor], dtype: torch.dtype) -> None:
    with pytest.raises(TypeError, match=f"embeddings must be floating point, got {dtype}"):
        layer(X.to(dtype))


@pytest.mark.parametrize("layer", [SinusoidalPositionalEncoding(4), RotaryEmbedding(4)], ids=repr)
def test_starts(layer: Callable[..., Tensor]) -> None:
    for wrong in (1.5, True, None, "a"):
        with pytest.raises(TypeError, match="start should be of type int"):
            layer(X, wrong)
    for huge in (2**53 + 1, sys.maxsize, 10**30, -(10**30)):
        with pytest.raises(ValueError, match=r"start must lie in \[-2\*\*53, 2\*\*53\]"):
            layer(X, huge)
    with pytest.raises(ValueError, match="start >= 0"):
        layer(X, -1)


@pytest.mark.parametrize("start", [2**20 - 2, 2**33, 2**53])
def test_far_starts_make_no_table_of_all_before_them(start: int) -> None:
    encoding, rotary = SinusoidalPositionalEncoding(4), RotaryEmbedding(4)
    far = encoding(torch.zeros(5, 1, 4), start)[:, 0]
    torch.testing.assert_close(far, sinusoidal_positions(5, 4, start=start))
    near = rotary(X, start, sequence_dim=0)
    torch.testing.assert_close(near.norm(dim=-1), X.norm(dim=-1))


@pytest.mark.parametrize("wrong", [1.5, True, "2", None])
def test_sizes_of_positions(wrong: Any) -> None:
    for make in (
        alibi_slopes,
        RotaryEmbedding,
        SinusoidalPositionalEncoding,
        lambda n: LearnedPositionalEncoding(n, 4),
        lambda n: sinusoidal_positions(n, 4),
    ):
        with pytest.raises(TypeError, match="should be of type int"):
            make(wrong)
    with pytest.raises(ValueError, match="at most 65536, got num_heads=1099511627776"):
        alibi_slopes(2**40)
    with pytest.raises(
        ValueError, match=r"num_positions must lie in \[0, 2\*\*53\], got -9223372036854775809"
    ):
        sinusoidal_positions(-(2**63) - 1, 4)
    with pytest.raises(ValueError, match=r"embed_dim must lie in \[1, 2\*\*53\], got 0"):
        sinusoidal_positions(3, 0)
    with pytest.raises(TypeError, match="input must be floating point, got"):
        RotaryEmbedding(4)(X.long())
