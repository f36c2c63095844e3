"""The decoder with attention under tracers, compilers, autocast, and on tensors without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck
from torch.utils.flop_counter import FlopCounterMode

from pyrnn.ops import attention_decoder, attention_decoder_route
from pyrnn.ops.attention_decoder.call import Call
from pyrnn.ops.attention_decoder.explain import explain
from tests.ops.decoders import LENGTHS, NAMES, Decoder, gradients, make_decoder, results

KINDS = [("rnn_tanh", "dot"), ("gru", "location"), ("lstm", "coverage"), ("lstm", "dot of a product")]


def operator_args(decoder: Decoder, lengths: dict[str, Tensor | None]) -> tuple[Any, ...]:
    """The flat arguments of `pyrnn::attention_decoder`."""
    options = decoder.options
    cell = f"rnn_{options['nonlinearity']}" if options["cell"] == "rnn" else options["cell"]
    tensors = (decoder.tensors.get(name) for name in NAMES)
    both = (lengths.get("source_lengths"), lengths.get("lengths"))
    return (*tensors, *both, cell, options.get("scale", 1.0), options["cumulative"])


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize(("cell", "score"), KINDS)
def test_opcheck(cell: str, score: str, trains: bool) -> None:
    decoder = make_decoder(cell, score).to(torch.float32)
    if not trains:
        decoder = decoder.with_leaves(tuple(t.detach() for t in decoder.leaves))
    for lengths in ({}, LENGTHS):
        opcheck(torch.ops.pyrnn.attention_decoder.default, operator_args(decoder, lengths))


@pytest.mark.parametrize(("cell", "score"), KINDS)
def test_opcheck_of_the_private_operators(cell: str, score: str) -> None:
    decoder = make_decoder(cell, score).to(torch.float32)
    decoder = decoder.with_leaves(tuple(t.detach() for t in decoder.leaves))
    args = operator_args(decoder, LENGTHS)
    # No comparison of values with a traced call: nobody writes the padding of what is kept.
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    opcheck(torch.ops.pyrnn._attention_decoder_fwd.default, args, test_utils=checks)
    out = torch.ops.pyrnn._attention_decoder_fwd(*args)
    grads = (torch.ones_like(out[0]), None, out[2], out[3], None, None)
    needs = [True, False, *[True] * 11]
    backward_args = (*grads, *args[:15], *out[:3], *out[6:], *args[15:], needs)
    opcheck(torch.ops.pyrnn._attention_decoder_bwd.default, backward_args)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize(("cell", "score"), KINDS)
def test_compiled_training_is_one_graph(cell: str, score: str, dynamic: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(attention_decoder, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for T, B in ((4, 3), (5, 2)):
        decoder = make_decoder(cell, score, T=T, B=B)
        ours, eager = decoder.run(operator=compiled), decoder.run()
        torch.testing.assert_close(ours, eager)
        torch.testing.assert_close(gradients(decoder, ours), gradients(decoder, eager))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_and_returns_gradients_of_the_parameters_dtype(dtype: torch.dtype) -> None:
    decoder = make_decoder("lstm", "location").to(torch.float32)
    with torch.autocast("cpu", dtype=dtype):
        out = decoder.run()
    assert {t.dtype for t in results(out)} == {dtype}
    torch.testing.assert_close(out, decoder.to(dtype).run())
    assert {grad.dtype for grad in gradients(decoder, out)} == {torch.float32}


def test_fake_and_meta_tensors_have_the_shapes() -> None:
    decoder = make_decoder("lstm", "coverage")
    real = decoder.run()
    meta = decoder.with_leaves(tuple(t.detach().to("meta").requires_grad_() for t in decoder.leaves))
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = decoder.with_leaves(tuple(mode.from_tensor(t.detach()) for t in decoder.leaves)).run()
    for found in (meta.run(), fake):
        assert [(t.shape, t.stride(), t.dtype) for t in results(found)] == [
            (t.shape, t.stride(), t.dtype) for t in results(real)
        ]


def test_products_are_counted() -> None:
    decoder = make_decoder("gru", "dot of a product", T=4, B=3, S=5, H=2, A=3, V=6)
    forward = 2 * 4 * 3 * (6 * 2 + 6 * 6 + 3 * 2 + 5 * (3 + 6))
    with FlopCounterMode(display=False) as counter:
        decoder.run().context.sum().backward()
    assert counter.get_total_flops() == 3 * forward


def test_route_and_explanation_say_who_computes() -> None:
    assert attention_decoder_route(torch.zeros(1, 1, 1)).path == "native"
    decoder = make_decoder("gru", "location").to(torch.float32)
    told = explain(Call(*operator_args(decoder, {})), trains=True)
    assert told.kernel == "attention decoder, gru, float32, additive score, location filter of width 3"
    assert told.threads == 1
    assert "every gate and query" in told.memory
    half = explain(Call(*operator_args(decoder.to(torch.float16), {})), trains=False)
    assert half.path == "reference"
    assert "not in torch.float16" in half.reason
