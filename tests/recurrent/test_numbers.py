"""Numbers out of the ordinary: padding full of garbage, NaN, very small, very large, very many steps."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyrnn import reference
from pyrnn.ops import recurrent
from pyrnn.reference import RecurrentOutput
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.recurrent.cases import same_bits, split

DTYPES = (torch.float32, torch.bfloat16)
T, B, H = 7, 9, 33
LENGTHS = torch.tensor([5, 0, 7, 7, 1, 3, 6, 7, 2])
PADDING = torch.arange(T)[:, None] >= LENGTHS  # [T, B]


def layer_of(cell: str, dtype: torch.dtype, P: int | None = None) -> Layer:
    return make_layer(cell, T=T, B=B, I=17, H=H, P=P, D=2, dtype=dtype, requires_grad=True)


def with_input(layer: Layer, input: Tensor) -> Layer:
    return layer.with_leaves((input, *layer.leaves[1:])).trained()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_padding_is_neither_read_nor_written(
    cell: str, dtype: torch.dtype, every: int, garbage: float
) -> None:
    P = 5 if cell == "lstm" else None
    clean = layer_of(cell, dtype, P)
    dirty = with_input(clean, clean.input.masked_fill(PADDING[:, :, None], garbage))

    def run(layer: Layer, in_padding: float) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        out = layer.run(recurrent, lengths=LENGTHS, return_cells=True, checkpoint_every=every)
        given = (out.output, out.cells) if cell == "lstm" else (out.output,)
        cotangents = [torch.ones_like(t).masked_fill(PADDING[:, :, None], in_padding) for t in given]
        return tuple(out), torch.autograd.grad(given, layer.leaves, cotangents)

    out, grads = run(dirty, garbage)
    clean_out, clean_grads = run(clean, 1.0)
    assert same_bits(out, clean_out)
    assert same_bits(grads, clean_grads)
    assert all(t.isfinite().all() for t in (*out, *grads))
    for sequence in (out[0], grads[0]):
        assert not sequence[PADDING].any()
        assert sequence[~PADDING].any(-1).all()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_sequence_forward_and_backward(cell: str, dtype: torch.dtype) -> None:
    clean = layer_of(cell, dtype)
    input = clean.input.detach().clone()
    input[3, 4] = torch.nan
    spoilt = with_input(clean, input)
    others = torch.arange(B) != 4
    results = []
    for layer in (clean, spoilt):
        out = layer.run(recurrent)
        grads = gradients(layer, out)[: 3 if cell == "lstm" else 2]  # of input and states
        results.append([t[:, others] for t in (*out[:2], *grads) if t is not None])
        if layer is spoilt:
            assert out.output[3:, 4, :H].isnan().all()
            assert out.output[:4, 4, H:].isnan().all()
            assert out.output[:3, 4, :H].isfinite().all()
            assert out.output[4:, 4, H:].isfinite().all()
    assert same_bits(tuple(results[1]), tuple(results[0]))
    assert all(t.isfinite().all() for t in results[1])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize("dtype", [*DTYPES, torch.float64], ids=str)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_an_infinite_input_saturates_and_leaves_gradients_finite(
    cell: str, dtype: torch.dtype, every: int
) -> None:
    """Units that fill up a vector have weights of 0, and 0 times infinity reached the real ones."""
    layer = layer_of(cell, dtype)
    input = layer.input.detach().clone()
    input[3, 4, 2], input[5, 7, 0] = torch.inf, -torch.inf
    layer = with_input(layer, input)
    out = layer.run(recurrent, checkpoint_every=every)
    exact = layer.to(torch.float64, requires_grad=True)
    right = exact.run(reference.recurrent)
    wanted = slice(0, 3 if cell == "lstm" else 2)  # of input and states; weights get 0 times infinity
    found, ideal = gradients(layer, out)[wanted], gradients(exact, right)[wanted]
    tolerance = 64 * torch.finfo(dtype).eps
    for ours, theirs in zip((out.output, *found), (right.output, *ideal), strict=True):
        assert ours is not None
        torch.testing.assert_close(ours.double(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("scale", [1e-4, 1e-20])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_small_numbers_keep_their_digits(cell: str, scale: float) -> None:
    """tanh(x) is close to x: each output is as accurate as its own size asks, not as 1 would."""
    layer = make_layer(cell, T=1, B=5, I=1, H=33, bias=False, states=False, dtype=torch.float32)
    layer = with_input(layer, layer.input * scale)
    out = layer.run(recurrent)
    exact = layer.to(torch.float64).run(reference.recurrent)
    eps = torch.finfo(torch.float32).eps
    torch.testing.assert_close(out.output.double(), exact.output, rtol=8 * eps, atol=0)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("scale", [1e2, 1e10, 3e38])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_large_numbers_saturate(cell: str, dtype: torch.dtype, scale: float) -> None:
    layer = make_layer(cell, T=3, B=5, I=1, H=33, dtype=dtype, bias=False)
    weights = tuple((w.sign(), *rest) for w, *rest in layer.weights)
    signs = torch.where(layer.input < 0, -scale, scale)
    layer = Layer(cell, signs.to(dtype), layer.h0, layer.c0, weights).trained()
    exact = layer.to(torch.float64, requires_grad=True)
    out, exact_out = layer.run(recurrent), exact.run(reference.recurrent)
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.output.double(), exact_out.output, rtol=tolerance, atol=tolerance)
    grads = gradients(layer, out)
    assert all(grad is not None and not grad.isnan().any() for grad in grads)


@pytest.mark.parametrize("every", [0, 300])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_seventy_thousand_steps_are_ten_times_seven_thousand(cell: str, every: int) -> None:
    layer = make_layer(cell, T=70000, B=2, I=1, H=2, D=2, requires_grad=True)
    with split(2):
        out = layer.run(recurrent, checkpoint_every=every)
        grads = gradients(layer, out)
    pieces = _in_pieces(layer, 10)
    assert same_bits(tuple(out), tuple(pieces))
    torch.testing.assert_close(grads, gradients(layer, pieces), rtol=1e-9, atol=1e-9)


def _in_pieces(layer: Layer, count: int) -> RecurrentOutput:
    """The layer over `count` parts of the sequence, one after the other, each direction for itself."""
    outputs, finals = [], []
    for d, weights in enumerate(layer.weights):
        h, c = (None if state is None else state[d : d + 1] for state in (layer.h0, layer.c0))
        parts = []
        for x in (layer.input.flip(0) if d else layer.input).chunk(count):
            part, h, c, _ = recurrent(layer.cell, x, h, c if layer.cell == "lstm" else None, (weights,))
            parts.append(part)
        output = torch.cat(parts)
        outputs.append(output.flip(0) if d else output)
        finals.append((h, c))
    h_n, c_n = (torch.cat(states) for states in zip(*finals, strict=True))
    return RecurrentOutput(torch.cat(outputs, -1), h_n, c_n, layer.input.new_zeros(0))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "every"), [(5, 1), (1200, 0)])
def test_a_segment_of_steps_behind_all_lengths(cell: str, T: int, every: int) -> None:
    """The backward pass has products over no token then."""
    layer = make_layer(cell, T=T, B=2, dtype=torch.float64, requires_grad=True)
    lengths = torch.tensor([3, 1])
    whole = layer.run(recurrent, lengths=lengths, checkpoint_every=every).output
    found = torch.autograd.grad(whole.sum(), [*layer.leaves])
    cut = layer.run(reference.recurrent, lengths=lengths).output
    for ours, exact in zip(found, torch.autograd.grad(cut.sum(), [*layer.leaves]), strict=True):
        torch.testing.assert_close(ours, exact)
