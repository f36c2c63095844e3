"""Numbers out of the ordinary on CUDA: padding full of garbage, NaN, very large ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyrnn import reference
from pyrnn.ops import recurrent
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.recurrent.cases import same_bits

T, B, H = 4, 5, 17
LENGTHS = torch.tensor([2, 0, 4, 1, 3])
PADDING = torch.arange(T)[:, None] >= LENGTHS  # [T, B]


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize(("cell", "P"), [*((cell, None) for cell in CELLS), ("lstm", 6)])
def test_padding_is_not_read(cell: str, P: int | None, every: int, garbage: float, device: str) -> None:
    clean = make_layer(cell, T=T, B=B, H=H, P=P, D=2, dtype=torch.float32).on(device)
    padding = PADDING[:, :, None].to(device)
    h0 = clean.h0
    assert h0 is not None
    empty = (LENGTHS == 0)[:, None].to(device)
    spoilt = (clean.input.masked_fill(padding, garbage), h0.masked_fill(empty, garbage), *clean.leaves[2:])
    dirty = clean.with_leaves(spoilt).trained()

    def run(layer: Layer, in_padding: float) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        out = layer.run(recurrent, lengths=LENGTHS, return_cells=True, checkpoint_every=every)
        given = (out.output, out.cells) if cell == "lstm" else (out.output,)
        cotangents = [torch.ones_like(t).masked_fill(padding, in_padding) for t in given]
        return (out.output, out.cells), torch.autograd.grad(given, layer.leaves, cotangents)

    (out, grads), (clean_out, clean_grads) = run(dirty, garbage), run(clean, 1.0)
    assert same_bits(out, clean_out)
    assert same_bits(grads, clean_grads)
    assert all(t.isfinite().all() for t in (*out, *grads))
    assert not out[0].cpu()[PADDING].any()
    assert not grads[0].cpu()[PADDING].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_nan_stays_in_its_sequence(cell: str, dtype: torch.dtype, device: str) -> None:
    clean = make_layer(cell, T=T, B=B, H=H, D=2, dtype=dtype).on(device)
    input = clean.input.detach().clone()
    input[2, 3] = torch.nan
    spoilt = clean.with_leaves((input, *clean.leaves[1:])).trained()
    others = torch.arange(B, device=device) != 3
    results = []
    for layer in (clean, spoilt):
        out = layer.run(recurrent)
        grads = gradients(layer, out)[: 3 if cell == "lstm" else 2]  # of input and states
        results.append(tuple(t[:, others] for t in (*out[:2], *grads) if t is not None))
    assert out.output[2:, 3, :H].isnan().all()
    assert out.output[:2, 3, :H].isfinite().all()
    assert same_bits(results[1], results[0])
    assert all(t.isfinite().all() for t in results[1])


@pytest.mark.parametrize("every", [0, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_an_infinite_input_leaves_gradients_finite(
    cell: str, dtype: torch.dtype, every: int, device: str
) -> None:
    """Units that fill up a tile have weights of 0, and 0 times infinity is no number."""
    layer = make_layer(cell, T=T, B=B, H=H, D=2, dtype=dtype)
    input = layer.input.detach().clone()
    input[1, 3, 2], input[2, 0, 0] = torch.inf, -torch.inf
    layer = layer.with_leaves((input, *layer.leaves[1:]))
    exact = layer.to(torch.float64, requires_grad=True)
    right = exact.run(reference.recurrent)
    ours = layer.on(device).trained()
    out = ours.run(recurrent, checkpoint_every=every)
    wanted = slice(0, 3 if cell == "lstm" else 2)  # of input and states; weights get 0 times infinity
    found, ideal = gradients(ours, out)[wanted], gradients(exact, right)[wanted]
    tolerance = 64 * torch.finfo(dtype).eps
    for mine, theirs in zip((out.output, *found), (right.output, *ideal), strict=True):
        assert mine is not None
        torch.testing.assert_close(mine.double().cpu(), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_large_numbers_saturate(cell: str, dtype: torch.dtype, device: str) -> None:
    layer = make_layer(cell, T=3, B=3, I=1, H=H, dtype=dtype, bias=False)
    weights = tuple((w.sign(), *rest) for w, *rest in layer.weights)
    signs = torch.where(layer.input < 0, -1e30, 1e30)
    layer = Layer(cell, signs.to(dtype), layer.h0, layer.c0, weights)
    exact = layer.to(torch.float64).run(reference.recurrent)
    ours = layer.on(device)
    out = ours.run(recurrent)
    tolerance = 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(out.output.double().cpu(), exact.output, rtol=tolerance, atol=tolerance)
    assert all(grad is not None and not grad.isnan().any() for grad in gradients(ours, out))


@pytest.mark.parametrize("scale", [1e-4, 1e-20])
@pytest.mark.parametrize("cell", ["rnn_tanh", "gru", "lstm"])
def test_small_numbers_keep_their_digits(cell: str, scale: float, device: str) -> None:
    """tanh(x) is close to x: each output is as accurate as its own size asks, not as 1 would."""
    layer = make_layer(cell, T=1, B=3, I=1, H=H, bias=False, states=False, dtype=torch.float32)
    layer = layer.with_leaves((layer.input * scale, *layer.leaves[1:]))
    exact = layer.to(torch.float64).run(reference.recurrent)
    out = layer.on(device).run(recurrent)
    eps = torch.finfo(torch.float32).eps
    torch.testing.assert_close(out.output.double().cpu(), exact.output, rtol=8 * eps, atol=0)
