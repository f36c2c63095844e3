"""Small calls of the decoder, one of C++ each: the bits of the operator, and what they leave to it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.nn import AttentionDecoder, frozen_weights
from pyrnn.ops.attention_decoder.eager import small_call
from tests.helpers import assert_as_accurate
from tests.ops.decoders import CELLS, SCORES, Decoder, make_decoder, results
from tests.ops.kinds import TOO_LITTLE_MEMORY

operator_module = import_module("pyrnn.ops.attention_decoder")  # the package has a function of this name
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
pytestmark = pytest.mark.skipif(not HAS_EXCHANGE_TABLE, reason="this torch has no exchange table")


def small(decoder: Decoder, **options: Any) -> list[bool]:
    """Whether each call that this makes is a small one."""
    answers: list[bool] = []

    def note(*args: Any, **named: Any) -> Any:
        found = small_call(*args, **named)
        answers.append(not isinstance(found, str))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator_module, "small_call", note)
        decoder.run(**options)
    return answers


def by_operator(run: Callable[[], Any]) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operator_module, "small_call", lambda *_, **__: "left out")
        return run()


def constant(decoder: Decoder, dtype: torch.dtype = torch.float64) -> Decoder:
    """The same without gradients."""
    return Decoder({n: t.detach().to(dtype) for n, t in decoder.tensors.items()}, decoder.options)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_bits_are_those_of_the_operator(data: st.DataObject) -> None:
    draw = lambda *options: data.draw(st.sampled_from(options))  # noqa: E731
    torch.manual_seed(0)
    sizes = {"T": draw(1, 2, 4), "B": draw(1, 2, 5, 9), "S": draw(1, 3, 17), "H": draw(1, 5, 16, 33)}
    sizes |= {"A": draw(1, 4, 19), "V": draw(1, 7, 32), "W": draw(1, 3, 5)}
    decoder = make_decoder(
        draw(*CELLS), draw(*SCORES), **sizes, feeds=draw(True, False), bias=draw(True, False)
    )
    decoder = constant(decoder, draw(*DTYPES))
    if draw(True, False):  # keys of a memory that has the batch first
        decoder.tensors["keys"] = decoder.tensors["keys"].transpose(0, 1).contiguous().transpose(0, 1)
    lengths = draw(None, torch.randint(0, sizes["S"] + 1, (sizes["B"],)))
    assert small(decoder, source_lengths=lengths) == [True]
    found, exact = (
        decoder.run(source_lengths=lengths),
        by_operator(lambda: decoder.run(source_lengths=lengths)),
    )
    for ours, theirs in zip(results(found), results(exact), strict=True):
        assert torch.equal(ours, theirs)
    assert (found.c_n is None) == (exact.c_n is None)


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32], ids=str)
def test_other_lengths_are_the_operators(dtype: torch.dtype) -> None:
    decoder, lengths = constant(make_decoder()), torch.tensor([1, 3], dtype=dtype)
    if dtype is torch.float32:
        with pytest.raises(TypeError, match="int32 or int64"):
            decoder.run(source_lengths=lengths)
    else:
        assert small(decoder, source_lengths=lengths) == [False]


@pytest.mark.parametrize(
    "options",
    [
        {"source_lengths": torch.tensor([1, 4])},
        {"source_lengths": torch.tensor([-1, 3])},
        {"source_lengths": torch.tensor([1])},
        {"lengths": torch.tensor([4, 1])},
    ],
    ids=str,
)
def test_wrong_lengths_have_the_operators_words(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="length"):
        constant(make_decoder()).run(**options)


@pytest.mark.parametrize("name", make_decoder("lstm", "location").tensors)
def test_wrong_tensors_have_the_operators_words(name: str) -> None:
    decoder = constant(make_decoder("lstm", "location"))
    right = decoder.tensors[name]
    for wrong in (torch.cat([right, right], -1), right.unsqueeze(0), right.float(), right.new_zeros(0)):
        decoder.tensors[name] = wrong
        with pytest.raises(ValueError, match=r"must|expected|belongs"):
            decoder.run()
    decoder.tensors[name] = right
    if name not in ("bias_hh", "weight_context", "alignment_0"):
        with pytest.raises((ValueError, TypeError)):
            decoder.without(name).run()


def test_what_is_left_to_the_operator() -> None:
    decoder = make_decoder()
    assert small(decoder) == [False]  # gradients are recorded
    assert small(constant(decoder), lengths=torch.tensor([1, 3])) == [False]
    with torch.no_grad():
        assert small(decoder) == [True]
    large = constant(make_decoder(T=1, B=1 << 11, S=1 << 12))
    assert small(large) == [False]
    with torch.autograd.forward_ad.dual_level():
        assert small(constant(decoder)) == [False]


@pytest.mark.parametrize("kind", TOO_LITTLE_MEMORY)
def test_memory_that_was_taken_away(kind: str) -> None:
    decoder = constant(make_decoder(), torch.float32)
    for name in decoder.tensors:
        spoilt = constant(decoder, torch.float32)
        spoilt.tensors[name] = TOO_LITTLE_MEMORY[kind](spoilt.tensors[name].clone())
        with pytest.raises(ValueError, match="storage"):
            spoilt.run()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
@pytest.mark.parametrize("options", [{}, {"input_feeding": False}, {"attention": "dot"}], ids=str)
def test_frozen_weights_give_steps_the_numbers_of_the_whole(
    cell: str, dtype: torch.dtype, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    layer: Any = AttentionDecoder(5, 19, 19, cell=cell, dtype=dtype, **options)
    exact: Any = AttentionDecoder(5, 19, 19, cell=cell, dtype=torch.float64, **options)
    exact.load_state_dict(layer.state_dict())
    for B in (1, 3, 9):
        source, target = torch.randn(6, B, 19).to(dtype), torch.randn(8, B, 5).to(dtype)
        with torch.no_grad():
            memory = layer.prepare(source)
            plain = layer(target, memory)[0]
            with frozen_weights(layer):
                state, steps = None, []
                for piece in target.split([1, 1, 4, 2]):
                    output, _, _, state = layer(piece, memory, state)
                    steps.append(output)
                whole = layer(target, memory)[0]
            oracle = exact(target.double(), exact.prepare(source.double()))[0]
        if dtype is torch.float64:  # the oracle's own dtype
            torch.testing.assert_close([whole, torch.cat(steps)], [oracle, oracle])
        else:
            assert_as_accurate([whole, torch.cat(steps)], [plain, plain], [oracle, oracle])


@pytest.mark.parametrize("options", [{}, {"attention": "dot", "cell": "rnn"}], ids=str)
def test_calls_that_record_gradients_see_a_weight_that_was_changed(options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer: Any = AttentionDecoder(5, 6, 6, **{"cell": "gru", **options})
    source, target = torch.randn(6, 2, 6), torch.randn(8, 2, 5)
    with frozen_weights(layer, check=False):
        with torch.no_grad():
            layer.weight_hh.mul_(5)
        inside = layer(target, layer.prepare(source))[0]
    outside = layer(target, layer.prepare(source))[0]
    torch.testing.assert_close(inside, outside)
