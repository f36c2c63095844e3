"""MultiheadAttention computes what torch's does, and what torch's cannot."""

from __future__ import annotations

import copy
import inspect
import io
import math
import pickle
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor, nn

import pyrnn.nn
from pyrnn import ops
from pyrnn.nn import MultiheadAttention
from tests.helpers import assert_as_accurate
from tests.nn.attention_pairs import ATTENTION, Call, calls, causal_mask, pair
from tests.nn.pairs import assert_same, gradients

OPTIONS: list[dict[str, Any]] = [
    {},
    {"bias": False},
    {"add_bias_kv": True, "dropout": 0.25},
    {"kdim": 5, "vdim": 3, "batch_first": True},
    {"kdim": 5, "bias": False, "add_zero_attn": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_same_parameters_and_attributes(options: dict[str, Any]) -> None:
    theirs, ours = pair(ATTENTION, 8, 2, **options)
    expected = list(theirs.named_parameters())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in expected]
    assert all(torch.equal(ours.get_parameter(name), weight) for name, weight in expected)
    assert repr(ours) == repr(theirs)
    public = {key: value for key, value in vars(theirs).items() if not key.startswith("__")}
    assert {key: vars(ours)[key] for key in public if key[0] != "_"} == {
        key: value for key, value in public.items() if key[0] != "_"
    }
    assert isinstance(ours, nn.MultiheadAttention)


def test_same_signatures() -> None:
    for method in ("__init__", "forward"):
        expected = inspect.signature(getattr(nn.MultiheadAttention, method)).parameters
        found = inspect.signature(getattr(MultiheadAttention, method)).parameters
        positional = {name: p for name, p in found.items() if p.kind is not p.KEYWORD_ONLY}
        assert list(positional) == list(expected)
        assert {n: p.default for n, p in positional.items()} == {n: p.default for n, p in expected.items()}


@pytest.mark.parametrize("options", OPTIONS)
def test_state_dicts_go_both_ways(options: dict[str, Any]) -> None:
    theirs, ours = pair(ATTENTION, 8, 2, **options)
    _, other = pair(ATTENTION, 8, 2, seed=1, **options)
    other.load_state_dict(theirs.state_dict())
    assert_same(list(other.parameters()), list(theirs.parameters()))
    theirs.load_state_dict(ours.state_dict(), strict=True)


def test_copies_and_pickles() -> None:
    layer = MultiheadAttention(8, 2, causal=True, window=(3, 0), rotary=pyrnn.nn.RotaryEmbedding(4))
    x = torch.randn(5, 2, 8)
    expected = layer(x, x, x)
    saved = io.BytesIO()
    torch.save(layer, saved)
    saved.seek(0)
    for other in (
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
        torch.load(saved, weights_only=False),
    ):
        assert_same(other(x, x, x), expected)
    assert repr(layer).startswith("MultiheadAttention(\n  causal=True, window=(3, 0)\n")


def both(call: Call, *, training: bool = True) -> tuple[Any, Any, Any, Any]:
    """torch's layer and ours, and what they give."""
    theirs, ours = (module.train(training) for module in call.pair())
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask and attn_mask")
        expected = theirs(*call.operands, **call.arguments)
    return theirs, ours, expected, ours(*call.operands, **call.arguments)


def given_weights(result: tuple[Tensor, Tensor | None]) -> list[Tensor]:
    return [tensor for tensor in result if tensor is not None]


@settings(max_examples=100)
@given(call=calls())
def test_any_call_gives_torch_s_results_and_gradients(call: Call) -> None:
    theirs, ours, expected, found = both(call)
    assert (found[1] is None) == (expected[1] is None)
    assert_same(given_weights(found), given_weights(expected))
    assert_same(
        gradients(ours, given_weights(found), *call.leaves()),
        gradients(theirs, given_weights(expected), *call.leaves()),
    )


@settings(max_examples=40)
@given(call=calls())
def test_evaluation_is_training_without_dropout(call: Call) -> None:
    with torch.no_grad():
        _, ours, expected, found = both(call, training=False)
        assert_same(given_weights(found), given_weights(expected))
        assert_same(given_weights(ours.train()(*call.operands, **call.arguments)), given_weights(found))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("need_weights", [False, True])
def test_as_accurate_as_torch(dtype: torch.dtype, need_weights: bool) -> None:
    exact, _ = pair(ATTENTION, 64, 4)
    theirs, ours = (copy.deepcopy(module).to(dtype) for module in pair(ATTENTION, 64, 4))
    x = torch.randn(33, 3, 64).to(dtype)
    padding = torch.arange(33) >= torch.tensor([[33], [20], [1]])
    results = []
    for layer in (ours, theirs, exact.load_state_dict(theirs.state_dict()) and exact):
        own = x.to(layer.out_proj.weight.dtype).requires_grad_()
        result = given_weights(layer(own, own, own, padding, need_weights))
        results.append([*result, *gradients(layer, result, own)])
    assert_as_accurate(*results)


def test_a_query_that_sees_no_key_gives_zeros() -> None:
    layer = MultiheadAttention(8, 2, bias=False)
    x = torch.randn(3, 2, 8, requires_grad=True)
    padding = torch.tensor([[True, True, True], [False, False, True]])
    output, weights = layer(x, x, x, padding)
    assert not output[:, 0].any()
    assert not weights[0].any()
    output.square().sum().backward()
    assert not x.grad[:, 0].any()  # type: ignore[index]
    assert x.grad.isfinite().all()  # type: ignore[union-attr]
    mask = torch.zeros(3, 3)
    mask[1] = -torch.inf
    for need_weights in (False, True):
        assert not layer(x, x, x, need_weights=need_weights, attn_mask=mask)[0][1].any()


def test_padding_may_hold_anything() -> None:
    layer = MultiheadAttention(8, 2)
    x = torch.randn(4, 1, 8)
    padding = torch.tensor([[False, False, True, False]])
    expected, _ = layer(x, x, x, padding)
    spoilt = x.clone()
    spoilt[2] = torch.nan
    found, _ = layer(x, spoilt, spoilt, padding)
    assert_same(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(0, 2, 8), (3, 0, 8), (0, 8)])
def test_empty_input(shape: tuple[int, ...]) -> None:
    _, ours = pair(ATTENTION, 8, 2)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    output, weights = ours(x, x, x)
    T, B = shape[0], (shape[1] if len(shape) == 3 else None)
    assert output.shape == shape
    assert weights.shape == ((T, T) if B is None else (B, T, T))
    output.sum().backward()


def test_dropout_falls_on_the_weights_that_are_returned() -> None:
    layer = MultiheadAttention(16, 4, dropout=0.5, bias=False)
    x = torch.randn(40, 2, 16)
    torch.manual_seed(3)
    output, weights = layer(x, x, x, average_attn_weights=False)
    torch.manual_seed(3)
    assert_same(layer(x, x, x, need_weights=False)[0], output)
    dropped = (weights == 0).double().mean().item()
    assert abs(dropped - 0.5) < 4 * math.sqrt(0.25 / weights.numel())
    kept = layer.eval()(x, x, x, average_attn_weights=False)[1]
    torch.testing.assert_close(weights[weights != 0], 2 * kept[weights != 0])
    values = (x @ layer.in_proj_weight[32:].T).unflatten(-1, (4, 4))
    heads = torch.einsum("bhts,sbhd->tbhd", weights, values)
    torch.testing.assert_close(output, heads.flatten(-2) @ layer.out_proj.weight.T)


@pytest.mark.parametrize("batch_first", [False, True])
def test_heads_are_merged_without_a_copy(batch_first: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs: list[Tensor] = []
    linear = ops.linear

    def recorded(input: Tensor, *args: Any) -> Tensor:
        inputs.append(input)
        return linear(input, *args)

    monkeypatch.setattr(ops, "linear", recorded)
    layer, x = MultiheadAttention(8, 2, batch_first=batch_first), torch.randn(5, 3, 8)
    layer(x, x, x)
    assert len(inputs) == 2  # one product for query, key and value
    assert inputs[1].is_contiguous()
    assert inputs[1]._base is not None  # a view of what the operator wrote


# ---- options that torch's layer lacks ------------------------------------------------------------


def extended(**options: Any) -> tuple[Any, Any]:
    """A layer without options, and one with them and the same weights."""
    torch.manual_seed(0)
    plain = MultiheadAttention(8, 2, dtype=torch.float64)
    layer = MultiheadAttention(8, 2, dtype=torch.float64, **options)
    layer.load_state_dict(plain.state_dict())
    return plain, layer


X = torch.randn(7, 2, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
DISTANCE = torch.arange(7)[:, None] - torch.arange(7)


@pytest.mark.parametrize("need_weights", [False, True])
def test_causal_needs_no_mask(need_weights: bool) -> None:
    plain, layer = extended(causal=True)
    expected = plain(X, X, X, need_weights=need_weights, attn_mask=causal_mask(7))
    assert_same(given_weights(layer(X, X, X, need_weights=need_weights)), given_weights(expected))
    assert_same(
        given_weights(layer(X, X, X, is_causal=True)), given_weights(plain(X, X, X, attn_mask=causal_mask(7)))
    )


@pytest.mark.parametrize("window", [(2, 1), (0, 0), (-1, 2), (3, -1)])
def test_window(window: tuple[int, int]) -> None:
    plain, layer = extended(window=window)
    left, right = (n if n >= 0 else 100 for n in window)
    expected = plain(X, X, X, attn_mask=(left < DISTANCE) | (right < -DISTANCE))
    assert_same(layer(X, X, X), expected)


def test_alibi() -> None:
    plain, layer = extended(alibi=True)
    bias = -pyrnn.nn.alibi_slopes(2).double()[:, None, None] * DISTANCE.abs()
    assert_same(layer(X, X, X), plain(X, X, X, attn_mask=bias.repeat(2, 1, 1)))


def test_rotary_depends_on_distance_alone() -> None:
    _, layer = extended(rotary=pyrnn.nn.RotaryEmbedding(4))
    _, weights = layer(X, X, X)
    shifted = torch.cat((torch.zeros(9, 2, 8, dtype=torch.float64), X))
    padding = torch.arange(16)[None] < 9
    _, later = layer(shifted, shifted, shifted, padding.expand(2, -1))
    assert_same(later[:, 9:, 9:], weights)
    plain, _ = extended()
    assert not torch.allclose(plain(X, X, X)[1], weights)
    first = layer(X.transpose(0, 1), X.transpose(0, 1), X.transpose(0, 1))
    layer.batch_first = True
    batched = layer(*[X.transpose(0, 1)] * 3)
    assert_same(batched[1], weights)
    assert first[0].shape == (2, 7, 8)


@pytest.mark.parametrize("option", [{"causal": True}, {"window": (1, 1)}, {"alibi": True}])
def test_options_that_exclude_each_other(option: dict[str, Any]) -> None:
    for extra in ("add_bias_kv", "add_zero_attn"):
        with pytest.raises(ValueError, match="cannot be combined"):
            MultiheadAttention(8, 2, **{extra: True}, **option)


def test_other_bad_options() -> None:
    with pytest.raises(ValueError, match="a head has only 4"):
        MultiheadAttention(8, 2, rotary=pyrnn.nn.RotaryEmbedding(6))
    with pytest.raises(ValueError, match=r"window must be \(left, right\)"):
        MultiheadAttention(8, 2, window=(1,))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_nested_tensors(layout: torch.layout) -> None:
    layer = MultiheadAttention(8, 2, batch_first=True)
    sequences = [torch.randn(length, 8) for length in (5, 2, 7)]
    nested = torch.nested.nested_tensor(sequences, layout=layout)
    output, weights = layer(nested, nested, nested)
    assert output.is_nested
    assert output.layout == layout
    for row, part, sequence in zip(output.unbind(), weights, sequences, strict=True):
        expected, expected_weights = layer(sequence, sequence, sequence)
        torch.testing.assert_close(row, expected)
        torch.testing.assert_close(part[: len(sequence), : len(sequence)], expected_weights)
        assert not part[len(sequence) :].any()
    with pytest.raises(AssertionError, match="nested tensors are taken for self-attention"):
        layer(nested, nested, nested, attn_mask=torch.zeros(7, 7))


def test_torch_s_encoder_layer_does_not_leave_options_out() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True).eval()
    layer.self_attn = MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(2, 5, 8)
    with torch.no_grad():
        layer(x)
        layer.self_attn = MultiheadAttention(8, 2, batch_first=True, causal=True).eval()
        with pytest.raises(RuntimeError, match=r"use pyrnn\.nn\.TransformerEncoderLayer"):
            layer(x)
