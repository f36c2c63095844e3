"""The decoder with attention: its steps, its lengths, its words."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyrnn.ops import attention_decoder, attention_decoder_route
from tests.ops.decoders import CELLS, NAMES, SCORES, Decoder, gradients, make_decoder, results
from tests.ops.kinds import NOT_DENSE, TOO_LITTLE_MEMORY

# ------------------------------------------------------------------------------------------ one by one


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_steps_one_after_another_give_the_whole_sequence(cell: str, score: str) -> None:
    decoder = make_decoder(cell, score, T=5)
    whole, tensors = decoder.run(), dict(decoder.tensors)
    for t in range(5):
        tensors["input"] = decoder.tensors["input"][t : t + 1]
        step = Decoder(tensors, decoder.options).run()
        for name in ("output", "context", "weights"):
            torch.testing.assert_close(getattr(step, name)[0], getattr(whole, name)[t])
        tensors |= {"h_0": step.h_n, "context_0": step.context[0]}
        tensors |= {} if step.c_n is None else {"c_0": step.c_n}
        tensors |= {"alignment_0": step.alignment_n} if "alignment_0" in tensors else {}
    torch.testing.assert_close(step[3:], whole[3:])


# --------------------------------------------------------------------------------------------- lengths


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
def test_what_lies_behind_the_lengths_reaches_nothing(score: str, garbage: float) -> None:
    decoder = make_decoder("gru", score, T=4, B=3, S=5)
    lengths: dict[str, Any] = {"source_lengths": torch.tensor([0, 2, 5]), "lengths": torch.tensor([4, 0, 2])}
    expected = decoder.run(**lengths)
    spoilt = {name: t.detach().clone() for name, t in decoder.tensors.items()}
    for b in range(3):
        spoilt["keys"][lengths["source_lengths"][b] :, b] = garbage
        spoilt["values"][lengths["source_lengths"][b] :, b] = garbage
        spoilt["input"][lengths["lengths"][b] :, b] = garbage
        if "alignment_0" in spoilt:
            spoilt["alignment_0"][b, lengths["source_lengths"][b] :] = garbage
    other = Decoder({name: t.requires_grad_() for name, t in spoilt.items()}, decoder.options)
    found = other.run(**lengths)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    torch.testing.assert_close(gradients(other, found), gradients(decoder, expected), rtol=0, atol=0)


def test_a_source_without_positions_has_weights_and_context_of_zero() -> None:
    out = make_decoder("lstm", "location").run(source_lengths=torch.zeros(2, dtype=torch.int64))
    assert not out.weights.any()
    assert not out.context.any()
    assert not out.alignment_n.any()


@pytest.mark.parametrize("score", ["dot", "location"])
@pytest.mark.parametrize("cell", CELLS)
def test_lengths_end_a_sequence_as_a_shorter_call_does(cell: str, score: str) -> None:
    decoder = make_decoder(cell, score, T=4, B=3)
    lengths = torch.tensor([2, 4, 0])
    out = decoder.run(lengths=lengths)
    for b, length in enumerate(lengths.tolist()):
        shorter = Decoder(decoder.tensors | {"input": decoder.tensors["input"][:length]}, decoder.options)
        alone = shorter.run()
        for name in ("output", "context", "weights"):
            torch.testing.assert_close(getattr(out, name)[:length, b], getattr(alone, name)[:, b])
            assert not getattr(out, name)[length:, b].any()
        for ours, theirs in zip(results(out)[3:], results(alone)[3:], strict=True):
            torch.testing.assert_close(ours[b], theirs[b])


# ----------------------------------------------------------------------------------------------- words

BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "cell": (ValueError, "cell must be one of rnn, gru, lstm, got 'x'", {"cell": "x"}),
    "nonlinearity": (ValueError, "belongs to the cell 'rnn'", {"nonlinearity": "relu"}),
    "scale": (TypeError, "scale should be of type float, got: str", {"scale": "x"}),
    "infinite scale": (ValueError, "scale must be a finite number, got inf", {"scale": torch.inf}),
    "cumulative": (TypeError, "cumulative should be of type bool, got: int", {"cumulative": 2}),
    "source lengths": (
        ValueError,
        r"source_lengths must lie in \[0, S\] with S = 3, got values from -1 to 4",
        {"source_lengths": torch.tensor([-1, 4])},
    ),
    "lengths": (TypeError, "lengths must be int32 or int64", {"lengths": torch.tensor([1.0, 2.0])}),
    "c_0": (ValueError, "c_0 .* belongs to the cell 'lstm', and to no other; got None", {"c_0": None}),
    "alignment": (ValueError, "alignment_0 is what weight_location reads", {"alignment_0": torch.ones(2, 3)}),
    "location": (
        ValueError,
        "weight_location belongs to the additive",
        {"weight_location": torch.ones(2, 3)},
    ),
    "query": (ValueError, "expected A = H = 2, got A = 5", {"keys": torch.ones(3, 2, 5)}),
    "values": (ValueError, r"values must have shape \[S, B, V\]", {"values": torch.ones(3, 3, 2)}),
    "input": (ValueError, r"input must have shape \[T, B, 4\*H\] with H = 2", {"input": torch.ones(3, 2, 6)}),
    "integers": (TypeError, "input must be a floating", {"input": torch.ones(3, 2, 8, dtype=torch.int64)}),
    "dtype": (ValueError, "input and h_0 are not the same dtype", {"h_0": torch.ones(2, 2).double()}),
    "none": (TypeError, "keys must be a dense strided tensor, got list", {"keys": [1.0]}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_in_words(case: str) -> None:
    error, words, changes = BAD[case]
    decoder = make_decoder().to(torch.float32)
    arguments = {**dict.fromkeys(NAMES), **decoder.tensors, **decoder.options, **changes}
    with pytest.raises(error, match=words):
        attention_decoder(**arguments)


@pytest.mark.parametrize("name", ["h_0", "context_0", "keys", "values", "weight_hh"])
def test_what_must_be_there(name: str) -> None:
    with pytest.raises((TypeError, RuntimeError), match=name):
        make_decoder().without(name).run()


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("kind", TOO_LITTLE_MEMORY)
def test_tensors_with_too_little_memory_are_refused(kind: str, requires_grad: bool) -> None:
    decoder = make_decoder("lstm", "location")
    for name, tensor in decoder.tensors.items():
        bad = TOO_LITTLE_MEMORY[kind](tensor.detach()).requires_grad_(requires_grad)
        with pytest.raises(ValueError, match="memory"):
            Decoder(decoder.tensors | {name: bad}, decoder.options).run()


@pytest.mark.parametrize("kind", NOT_DENSE)
def test_tensors_of_other_layouts_are_refused(kind: str) -> None:
    decoder = make_decoder("lstm", "location").to(torch.float32)
    for name, tensor in decoder.tensors.items():
        if tensor.dim() == 2:
            bad = NOT_DENSE[kind](tensor.detach())
            with pytest.raises(
                (TypeError, ValueError), match=f"{name} must be a dense|and {name} are not the same"
            ):
                Decoder(decoder.tensors | {name: bad}, decoder.options).run()


def test_the_filter_must_have_a_middle() -> None:
    decoder = make_decoder("gru", "location", W=2)
    with pytest.raises(ValueError, match=r"weight_location must have shape \[A, W\] with W odd"):
        decoder.run()


def test_the_additive_score_has_no_scale() -> None:
    with pytest.raises(ValueError, match="scale belongs to the dot product"):
        make_decoder("gru", "additive").run(scale=2.0)


def test_route_names_who_computes() -> None:
    assert attention_decoder_route(torch.zeros(1, 1, 1, dtype=torch.float16)).path == "reference"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_results_have_the_dtype_of_the_input(cell: str, score: str, dtype: torch.dtype) -> None:
    decoder = make_decoder(cell, score).to(dtype)
    out = decoder.run()
    assert {t.dtype for t in results(out)} == {dtype}
    assert {t.dtype for t in gradients(decoder, out)} == {dtype}
