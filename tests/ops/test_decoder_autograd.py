"""Derivatives of the decoder with attention."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap

from pyrnn.ops import attention_decoder
from pyrnn.ops.attention_decoder import cpu
from tests.ops.decoders import CELLS, LENGTHS, NAMES, SCORES, Decoder, gradients, make_decoder, results

# torch's forward mode compiles a table with torch.jit.script, which torch itself calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")


def function_of_leaves(decoder: Decoder, **options: Any) -> Callable[..., tuple[Tensor, ...]]:
    return lambda *leaves: results(decoder.with_leaves(leaves).run(**options))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", [cell for cell in CELLS if cell != "rnn_relu"])
def test_gradcheck(cell: str, score: str) -> None:
    decoder = make_decoder(cell, score)
    assert torch.autograd.gradcheck(function_of_leaves(decoder, **LENGTHS), decoder.leaves)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_gradgradcheck(cell: str, score: str) -> None:
    decoder = make_decoder(cell, score, T=2, H=1, A=2, V=1)
    assert torch.autograd.gradgradcheck(function_of_leaves(decoder, **LENGTHS), decoder.leaves)


def test_only_the_gradients_that_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, ...]] = []
    backward = cpu.backward

    def watched(*args: Any, **kwargs: Any) -> Any:
        seen.append(tuple(kwargs["needs"]))
        return backward(*args, **kwargs)

    monkeypatch.setattr(cpu, "backward", watched)
    decoder = make_decoder("gru", "location", T=4, B=6)
    whole = dict(zip(decoder.tensors, gradients(decoder, decoder.run()), strict=True))
    for name in decoder.tensors:
        alone = Decoder(
            {n: t.detach().requires_grad_(n == name) for n, t in decoder.tensors.items()}, decoder.options
        )
        out = alone.run()
        generator = torch.Generator().manual_seed(1)
        cotangents = [torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in results(out)]
        (found,) = torch.autograd.grad(results(out), [alone.tensors[name]], cotangents)
        assert torch.equal(found, whole[name]), name
        assert seen[-1] == tuple(n == name for n in NAMES)


@pytest.mark.parametrize("result", ["output", "context", "weights", "h_n", "c_n", "alignment_n"])
def test_each_result_alone_has_its_gradients(result: str) -> None:
    decoder = make_decoder("lstm", "coverage", T=4, B=6)
    ours = torch.autograd.grad(
        getattr(decoder.run(**SIX), result).square().sum(), decoder.leaves, materialize_grads=True
    )
    theirs = torch.autograd.grad(
        getattr(decoder.by_reference(**SIX), result).square().sum(), decoder.leaves, materialize_grads=True
    )
    torch.testing.assert_close(ours, theirs)


SIX: dict[str, Any] = {
    "source_lengths": torch.tensor([3, 0, 1, 2, 3, 3]),
    "lengths": torch.tensor([1, 4, 2, 0, 4, 3]),
}


def test_no_context_is_fed_back() -> None:
    decoder = make_decoder("lstm", "additive", B=6, feeds=False, bias=False)
    ours, theirs = decoder.run(), decoder.by_reference()
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(decoder, ours), gradients(decoder, theirs))


def test_the_same_tensor_as_keys_and_values() -> None:
    decoder = make_decoder("gru", B=6)
    source = decoder.tensors["keys"]
    for run in (decoder.run, decoder.by_reference):
        decoder.tensors["values"] = source
        (found,) = torch.autograd.grad(run().context.sum(), source)
        decoder.tensors["values"] = source.detach().clone().requires_grad_()
        parts = torch.autograd.grad(run().context.sum(), (source, decoder.tensors["values"]))
        torch.testing.assert_close(found, sum(parts))


# ------------------------------------------------------------------------------------------ transforms


def of_input(decoder: Decoder) -> Callable[[Tensor], Tensor]:
    def run(x: Tensor) -> Tensor:
        return torch.cat(
            [t.flatten() for t in results(Decoder(decoder.tensors | {"input": x}, decoder.options).run())]
        )

    return run


def test_per_sample_gradients_and_vmap() -> None:
    decoder = make_decoder("gru", "location")
    run, x = of_input(decoder), decoder.tensors["input"].detach()
    samples = torch.stack([x, 2 * x, -x])
    torch.testing.assert_close(vmap(run)(samples), torch.stack([run(each) for each in samples]))
    found = vmap(grad(lambda x: run(x).square().sum()))(samples)
    for each, ours in zip(samples, found, strict=True):
        each.requires_grad_()
        torch.testing.assert_close(ours, torch.autograd.grad(run(each).square().sum(), each)[0])


def test_forward_mode() -> None:
    decoder = make_decoder("lstm", "additive")
    run, x = of_input(decoder), decoder.tensors["input"].detach()
    direction = torch.randn_like(x)
    ours = jvp(run, (x,), (direction,))[1]
    _, theirs = torch.autograd.functional.jvp(run, x, direction)
    torch.testing.assert_close(ours, theirs)


def test_lengths_have_no_derivative() -> None:
    decoder = make_decoder()
    with pytest.raises(TypeError, match="lengths must be int32 or int64"):
        attention_decoder(
            *(decoder.tensors.get(name) for name in NAMES),  # type: ignore[arg-type]
            **decoder.options,
            lengths=torch.ones(2, requires_grad=True),
        )
