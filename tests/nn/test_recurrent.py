"""The layers compute what torch's compute, whatever their options."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from tests.nn.pairs import LAYERS, assert_same, gradients, pair, random_state

SIZES = (1, 2, 3, 5, 8, 17)


@st.composite
def layer_pairs(draw: st.DrawFn) -> tuple[Any, Any]:
    name = draw(st.sampled_from(LAYERS))
    hidden_size = draw(st.sampled_from(SIZES))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if options["num_layers"] > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.3, 1.0]))
    if name == "LSTM":
        options["proj_size"] = draw(st.integers(0, min(hidden_size - 1, 3)))
    if name == "RNN":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    theirs, ours = pair(name, draw(st.sampled_from(SIZES)), hidden_size, **options)
    training = draw(st.booleans())
    return theirs.train(training), ours.train(training)


def run(module: Any, *args: Any) -> Any:
    """Call with a fixed seed: dropout then drops the same units."""
    torch.manual_seed(3)
    return module(*args)


@settings(max_examples=40, deadline=None)
@given(layer_pairs(), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_batched_equals_torch(layers: tuple[Any, Any], T: int, B: int, with_state: bool) -> None:
    theirs, ours = layers
    shape = (B, T) if theirs.batch_first else (T, B)
    x = torch.randn(*shape, theirs.input_size, dtype=torch.float64, requires_grad=True)
    hx = random_state(theirs, B) if with_state else None
    expected, result = run(theirs, x, hx), run(ours, x, hx)
    assert_same(result, expected)
    assert_same(gradients(ours, result, x), gradients(theirs, expected, x))


@settings(max_examples=15, deadline=None)
@given(layer_pairs(), st.integers(1, 5), st.booleans())
def test_unbatched_equals_torch(layers: tuple[Any, Any], T: int, with_state: bool) -> None:
    theirs, ours = layers
    x = torch.randn(T, theirs.input_size, dtype=torch.float64)
    hx = random_state(theirs, None) if with_state else None
    assert_same(run(ours, x, hx), run(theirs, x, hx))


@settings(max_examples=30, deadline=None)
@given(layer_pairs(), st.lists(st.integers(1, 5), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_packed_equals_torch(
    layers: tuple[Any, Any], lengths: list[int], sort: bool, with_state: bool
) -> None:
    theirs, ours = layers
    lengths = sorted(lengths, reverse=True) if sort else lengths
    padded = torch.randn(
        max(lengths), len(lengths), theirs.input_size, dtype=torch.float64, requires_grad=True
    )
    x = pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=sort)
    hx = random_state(theirs, len(lengths)) if with_state else None
    expected, result = run(theirs, x, hx), run(ours, x, hx)
    assert isinstance(result[0], PackedSequence)
    for field in ("batch_sizes", "sorted_indices", "unsorted_indices"):
        assert getattr(result[0], field) is getattr(x, field)
    assert_same(result, expected)
    assert_same(gradients(ours, result, padded), gradients(theirs, expected, padded))


@pytest.mark.parametrize("name", LAYERS)
def test_gradients_reach_the_initial_state(name: str) -> None:
    theirs, ours = pair(name, 3, 4, 2, bidirectional=True)
    x, grads = torch.randn(5, 2, 3, dtype=torch.float64), []
    for module in (ours, theirs):
        hx = random_state(module, 2)
        states = [state.requires_grad_() for state in (hx if isinstance(hx, tuple) else (hx,))]
        grads.append(gradients(module, module(x, hx), *states))
    assert_same(*grads)


@pytest.mark.parametrize("name", LAYERS)
def test_input_of_any_strides(name: str) -> None:
    theirs, ours = pair(name, 3, 4)
    base = torch.randn(10, 6, 4, dtype=torch.float64)
    for x in (
        base.permute(2, 1, 0)[:, :, :3],
        base[::2, ::3, :3],
        base[:1, :, :3].expand(5, 6, 3),
        base[:, :, :1].expand(10, 6, 3),
    ):
        assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(name: str, dtype: torch.dtype) -> None:
    theirs, ours = pair(name, 5, 7, 2, bidirectional=True, dtype=dtype)
    x = torch.randn(4, 3, 5).to(dtype)
    tolerance = 50 * torch.finfo(dtype).eps
    assert_same(ours(x), theirs(x), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", LAYERS)
def test_empty_batch(name: str) -> None:
    theirs, ours = pair(name, 3, 4, 2)
    x = torch.randn(5, 0, 3, dtype=torch.float64)
    assert_same(ours(x), theirs(x))
    ours(x)[0].sum().backward()
    assert all(parameter.grad is not None and not parameter.grad.any() for parameter in ours.parameters())


@pytest.mark.parametrize("name", LAYERS)
def test_dropout_of_one_layer_warns_as_torch_does(name: str) -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last"):
        pair(name, 3, 4, dropout=0.5)


@pytest.mark.parametrize("name", LAYERS)
def test_partly_frozen_weights(name: str) -> None:
    theirs, ours = pair(name, 3, 4, 2)
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    for module in (theirs, ours):
        module.weight_hh_l0.requires_grad_(False)
        module.bias_ih_l1.requires_grad_(False)
        module(x)[0].sum().backward()
    for (label, parameter), (_, expected) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert (parameter.grad is None) == (expected.grad is None) == (not parameter.requires_grad), label
        if parameter.grad is not None:
            assert_same(parameter.grad, expected.grad)
