"""What does not change a result: running again, threads, recomputation, what memory held before."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pyrnn.ops import recurrent
from pyrnn.reference import RecurrentOutput
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.recurrent.cases import same_bits, split

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
LENGTHS = torch.tensor([5, 0, 7, 7, 1, 3, 6, 7, 2])


def layer_of(cell: str, dtype: torch.dtype, *, D: int = 2) -> Layer:
    P = 18 if cell == "lstm" else None
    return make_layer(cell, T=7, B=9, I=19, H=67, P=P, D=D, dtype=dtype, requires_grad=True)


def run(layer: Layer, *, checkpoint_every: int = 0) -> tuple[RecurrentOutput, tuple[Tensor | None, ...]]:
    out = layer.run(recurrent, lengths=LENGTHS, checkpoint_every=checkpoint_every)
    return out, gradients(layer, out)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_call_gives_the_same_bits(cell: str, dtype: torch.dtype) -> None:
    layer = layer_of(cell, dtype)
    for threads, group_size in ((1, 0), (2, 1), (2, 2)):
        with split(threads, group_size):
            (first, first_grads), (second, second_grads) = run(layer), run(layer)
        assert same_bits(first, second)
        assert same_bits(first_grads, second_grads)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_threads_do_not_change_the_output(cell: str, dtype: torch.dtype) -> None:
    layer = layer_of(cell, dtype, D=1)
    with split(1):
        alone, _ = run(layer)
    for threads, group_size in ((2, 1), (2, 2), (3, 3)):
        with split(threads, group_size):
            assert same_bits(run(layer)[0], alone), (threads, group_size)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("every", [1, 3, 7, 50])
def test_recomputed_gates_are_the_kept_ones(cell: str, every: int) -> None:
    layer = layer_of(cell, torch.float64)
    kept, kept_grads = run(layer)
    for group_size in (1, 2):
        with split(2, group_size):
            out, grads = run(layer, checkpoint_every=every)
        assert same_bits(out, kept)
        torch.testing.assert_close(grads, kept_grads, rtol=1e-12, atol=1e-13)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_numbers_of_an_earlier_call_do_not_leak(cell: str, dtype: torch.dtype) -> None:
    """Scratch memory is used again: no result may read what the last call left in it."""
    layer = layer_of(cell, dtype)
    larger = make_layer(cell, T=9, B=17, I=40, H=80, D=2, dtype=dtype)
    spoilt = larger.with_leaves(torch.full_like(t, torch.nan) for t in larger.leaves).trained()
    for every in (0, 2):
        with split(1):
            out, grads = run(layer, checkpoint_every=every)
            gradients(spoilt, spoilt.run(recurrent, checkpoint_every=every))
            again, grads_again = run(layer, checkpoint_every=every)
        assert all(t.isfinite().all() for t in (*again, *grads_again) if t is not None)
        assert same_bits(again, out)
        assert same_bits(grads_again, grads)
