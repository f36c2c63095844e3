"""The numbers of the decoder's kernels: as accurate as torch's loop, the same on any number of threads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers import assert_as_accurate
from tests.ops.decoders import CELLS, SCORES, Decoder, gradients, make_decoder, results, torch_loop

# Around the widths of vectors, panels and row tiles; 4 rows read the weights in place, 5 pack them; more than
# 512 tokens.
SIZES: tuple[dict[str, Any], ...] = (
    {"T": 7, "B": 4, "S": 17, "H": 33, "A": 16, "V": 65},
    {"T": 11, "B": 9, "S": 9, "H": 48, "A": 31, "V": 17},
    {"T": 17, "B": 33, "S": 33, "H": 16, "A": 65, "V": 31},
    {"T": 1, "B": 5, "S": 65, "H": 65, "A": 33, "V": 16},
)


@contextmanager
def threads(count: int) -> Generator[None, None, None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def lengths_of(sizes: dict[str, int]) -> dict[str, Any]:
    """In no order, the least and the greatest possible among them."""
    found = {}
    for name, most in (("source_lengths", sizes["S"]), ("lengths", sizes["T"])):
        found[name] = torch.randint(0, most + 1, (sizes["B"],))
        found[name][:2] = torch.tensor([0, most])
    return found


def bits(decoder: Decoder, **options: Any) -> tuple[Tensor, ...]:
    out = decoder.run(**options)
    return (*results(out), *gradients(decoder, out))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_as_accurate_as_torch(isa: str, cell: str, score: str, dtype: torch.dtype) -> None:
    for n, sizes in enumerate(SIZES):
        options = lengths_of(sizes) if n % 2 else {}
        decoder = make_decoder(cell, score, W=5, bias=n != 1, **sizes).to(dtype)
        if cell == "rnn_relu":
            decoder = away_from_the_kink(decoder)
        exact = decoder.to(torch.float64)
        oracle = exact.by_reference(**options)
        theirs = torch_loop(decoder, **options)
        # Numbers judged together: the largest of a few errors is a matter of luck.
        assert_as_accurate(
            joined(bits(decoder, **options)),
            joined((*results(theirs), *gradients(decoder, theirs))),
            joined((*results(oracle), *gradients(exact, oracle))),
        )


def away_from_the_kink(decoder: Decoder) -> Decoder:
    """States that stay positive: at 0 rounding decides which of two derivatives there is."""
    moved = {name: decoder.tensors[name].detach() * 0.2 for name in ("weight_hh", "weight_context")}
    moved["input"] = decoder.tensors["input"].detach().abs() + 4
    return Decoder(decoder.tensors | {name: t.requires_grad_() for name, t in moved.items()}, decoder.options)


def joined(tensors: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Tensors of few numbers as one."""
    few = [t.flatten() for t in tensors if t.numel() < 2000]
    return (*(t for t in tensors if t.numel() >= 2000), *([torch.cat(few)] if few else []))


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("cell", CELLS)
def test_float64_is_exact(isa: str, cell: str, score: str) -> None:
    for n, sizes in enumerate(SIZES):
        options = lengths_of(sizes) if n % 2 else {}
        decoder = make_decoder(cell, score, W=5, **sizes)
        exact = decoder.by_reference(**options)
        expected = (*results(exact), *gradients(decoder, exact))
        torch.testing.assert_close(bits(decoder, **options), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("score", SCORES)
def test_the_number_of_threads_changes_no_bit(score: str, dtype: torch.dtype) -> None:
    for cell in ("gru", "lstm"):
        sizes: dict[str, Any]
        for sizes in ({"B": 3, "H": 130, "V": 100}, {"B": 21, "T": 30, "H": 70, "V": 40}):
            decoder = make_decoder(cell, score, S=9, A=35, **sizes).to(dtype)
            with threads(1):
                one = bits(decoder)
            for count in (2, 3, 2):
                with threads(count):
                    assert all(map(torch.equal, one, bits(decoder)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("B", [2, 7])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_steps_give_the_bits_of_the_whole(cell: str, B: int, dtype: torch.dtype) -> None:
    decoder = make_decoder(cell, "coverage", T=5, B=B, S=9, H=40, A=20, V=24).to(dtype)
    whole, tensors = decoder.run(), dict(decoder.tensors)
    for t in range(5):
        tensors["input"] = decoder.tensors["input"][t : t + 1]
        step = Decoder(tensors, decoder.options).run()
        for name in ("output", "context", "weights"):
            assert torch.equal(getattr(step, name)[0], getattr(whole, name)[t])
        tensors |= {"h_0": step.h_n, "context_0": step.context[0], "alignment_0": step.alignment_n}
        tensors |= {} if step.c_n is None else {"c_0": step.c_n}
    assert all(map(torch.equal, results(step)[3:], results(whole)[3:]))


def test_keys_and_values_of_any_layout() -> None:
    decoder = make_decoder("gru", "additive", B=6, S=9, A=20, V=24)
    expected = bits(decoder)
    for name in ("input", "keys", "values"):
        moved = decoder.tensors[name].detach().transpose(0, 1).contiguous().transpose(0, 1)
        decoder.tensors[name] = moved.requires_grad_()
    assert all(map(torch.equal, bits(decoder), expected))
    spread = torch.zeros(9, 6, 40, dtype=torch.float64)
    spread[..., ::2] = decoder.tensors["keys"].detach()
    decoder.tensors["keys"] = spread[..., ::2].requires_grad_()
    assert all(map(torch.equal, bits(decoder), expected))


@pytest.mark.parametrize("sizes", [{"T": 0}, {"B": 0}, {"S": 1}, {"H": 1, "A": 1, "V": 1}], ids=str)
@pytest.mark.parametrize("score", SCORES)
def test_the_smallest_sizes(score: str, sizes: dict[str, Any]) -> None:
    for cell in CELLS:
        decoder = make_decoder(cell, score, **sizes)
        out, exact = decoder.run(), decoder.by_reference()
        torch.testing.assert_close(out, exact)
        torch.testing.assert_close(gradients(decoder, out), gradients(decoder, exact))


@pytest.mark.parametrize("size", [1e-30, 1e4, 1e30])
@pytest.mark.parametrize("score", ["dot", "additive"])
def test_numbers_of_every_size(score: str, size: float) -> None:
    decoder = make_decoder("lstm", score, B=6, S=9, H=20, A=20, V=24).to(torch.float32)
    for name in ("keys", "h_0", "input"):
        decoder.tensors[name] = (decoder.tensors[name].detach() * size).requires_grad_()
    out, theirs = decoder.run(), decoder.by_reference()
    # A softmax of differences of 1e34 has the same winner.
    torch.testing.assert_close(out, theirs, rtol=1e-2, atol=1e-3)
    for ours, expected in zip(gradients(decoder, out), gradients(decoder, theirs), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-2, atol=1e-2 * float(expected.abs().max()) + 1e-6)


def test_a_number_that_is_none_stays_in_its_row() -> None:
    decoder = make_decoder("gru", "additive", B=6, S=9).to(torch.float32)
    expected = decoder.run()
    keys = decoder.tensors["keys"].detach().clone()
    keys[2, 3] = torch.nan
    out = Decoder(decoder.tensors | {"keys": keys}, decoder.options).run()
    others = [0, 1, 2, 4, 5]
    assert out.context[:, 3].isnan().all()
    assert torch.equal(out.context[:, others], expected.context[:, others])
    assert torch.equal(out.output[:, others], expected.output[:, others])
