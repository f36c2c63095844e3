"""Resets inside a sequence: what follows one is a sequence of its own, whatever came before."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from pyrnn.ops import recurrent
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.recurrent.cases import check_layer, same_bits, split

DTYPES = (torch.float32, torch.bfloat16, torch.float64)
T, B = 9, 11
LENGTHS = torch.tensor([5, 0, 9, 7, 1, 3, 9, 9, 2, 8, 4])


def layer_of(cell: str, dtype: torch.dtype, **sizes: Any) -> Layer:
    sizes = {"T": T, "B": B, "I": 17, "H": 35, "P": 19 if cell == "lstm" else None, "D": 2, **sizes}
    return make_layer(cell, **sizes, dtype=dtype, requires_grad=True)


def some_resets(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.35


class Piece(NamedTuple):
    """Steps [start, stop) of one row, between two resets."""

    row: int
    start: int
    stop: int


def pieces_of(reset: Tensor, lengths: Tensor) -> list[Piece]:
    found = []
    for row, length in enumerate(lengths.tolist()):
        starts = [t for t in range(length) if t == 0 or reset[t, row]]
        found += [Piece(row, *ends) for ends in pairwise([*starts, length])]
    return found


def run_apart(layer: Layer, reset: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
    """Output, h_n, c_n and cells of the layer [T, B, I] by a call for each piece."""
    D, steps, is_lstm = len(layer.weights), layer.input.shape[0], layer.cell == "lstm"
    first_states = [state for state in (layer.h0, layer.c0) if state is not None]
    rows: list[list[list[Tensor]]] = [[[], []] for _ in range(len(lengths))]  # output and cells, by piece
    finals = [[list(state[:, row]) for state in first_states] for row in range(len(lengths))]
    for row, start, stop in pieces_of(reset, lengths):
        # The initial state enters forward at step 0, unless that is a reset; backward at the last step.
        enters = (start == 0 and not reset[0, row], stop == lengths[row])[:D]
        states = [
            torch.stack(
                [s[d, row] if enter else torch.zeros_like(s[d, row]) for d, enter in enumerate(enters)]
            )
            for s in first_states
        ]
        h0, *c0 = (state.unsqueeze(1) for state in states)
        x = layer.input[start:stop, row : row + 1]
        out = recurrent(layer.cell, x, h0, c0[0] if c0 else None, layer.weights, return_cells=is_lstm)
        rows[row][0].append(out.output[:, 0])
        rows[row][1].append(out.cells[:, 0] if is_lstm else out.output[:, 0])
        for final, state in zip(finals[row], (out.h_n, out.c_n), strict=False):
            if stop == lengths[row]:
                final[0] = state[0, 0]
            if D == 2 and start == 0:
                final[1] = state[1, 0]

    def padded(kind: int) -> Tensor:
        width = next(parts[kind][0].shape[1] for parts in rows if parts[kind])
        columns = [torch.cat([*parts[kind], layer.input.new_zeros(0, width)]) for parts in rows]
        pads = [torch.nn.functional.pad(column, (0, 0, 0, steps - len(column))) for column in columns]
        return torch.stack(pads, 1)

    h_n, *c_n = (
        torch.stack([torch.stack(final[n]) for final in finals], 1) for n in range(len(first_states))
    )
    return padded(0), h_n, *c_n, *([padded(1)] if is_lstm else [])


def gradients_of(layer: Layer, results: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    weighted = sum((t * torch.linspace(-1, 1, t.numel()).view_as(t).to(t)).sum() for t in results)
    assert isinstance(weighted, Tensor)
    return torch.autograd.grad(weighted, layer.leaves, materialize_grads=True)


def given_results(layer: Layer, **options: Any) -> tuple[Tensor, ...]:
    """Those that apply to the cell."""
    out = layer.run(recurrent, return_cells=layer.cell == "lstm", **options)
    return tuple(t for t in out if t.dim() > 1)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_results_are_those_of_a_call_for_each_piece(cell: str, dtype: torch.dtype) -> None:
    layer, reset = layer_of(cell, dtype), some_resets(T, B)
    whole = given_results(layer, reset=reset, lengths=LENGTHS)
    apart = run_apart(layer, reset, LENGTHS)
    # Calls of few tokens add in another order: not to the bit.
    tolerance = 16 * torch.finfo(dtype).eps
    torch.testing.assert_close(whole, apart, rtol=tolerance, atol=tolerance)
    if dtype is torch.float64:
        ours, theirs = gradients_of(layer, whole), gradients_of(layer, apart)
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("every", [0, 1, 4, 100])
@pytest.mark.parametrize(("threads", "group_size"), [(1, 0), (2, 1), (2, 2)])
@pytest.mark.parametrize("cell", CELLS)
def test_as_accurate_as_the_reference(cell: str, threads: int, group_size: int, every: int) -> None:
    layer, reset = make_layer(cell, T=T, B=B, I=5, H=33, D=2), some_resets(T, B, seed=1)
    with split(threads, group_size):
        for dtype in (torch.float64, torch.float32):
            check_layer(layer.to(dtype), checkpoint_every=every, reset=reset, lengths=LENGTHS)


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_packed_rows(cell: str, every: int) -> None:
    sizes = torch.tensor([4, 4, 3, 2, 2, 1])
    layer = make_layer(cell, T=16, B=4, I=3, H=18, D=2)
    packed = layer.with_leaves((layer.input[:, 0], *layer.leaves[1:]))
    reset = some_resets(16, seed=2)
    check_layer(packed, checkpoint_every=every, batch_sizes=sizes, reset=reset, return_cells=cell == "lstm")


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("P", [None, 19])
@pytest.mark.parametrize("every", [0, 4])
@pytest.mark.parametrize("garbage", [torch.nan, torch.inf])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_no_number_leaves_its_episode(
    cell: str, dtype: torch.dtype, garbage: float, every: int, P: int | None
) -> None:
    """Neither a state passes a reset nor a gradient: steps 3 to 5 of one row are spoilt, nothing else is."""
    clean = layer_of(cell, dtype, P=P if cell == "lstm" else None)
    spoilt = torch.zeros(T, B, dtype=torch.bool)
    spoilt[3:6, 4] = True
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[3, 4] = reset[6, 4] = True
    input = clean.input.detach().masked_fill(spoilt[:, :, None], garbage)
    dirty = clean.with_leaves((input, *clean.leaves[1:])).trained()
    found = []
    for layer in (clean, dirty):
        results = given_results(layer, reset=reset, checkpoint_every=every)
        of_others = [t.detach()[~spoilt] if t.shape[0] == T else t.detach() for t in results]
        cotangents = [torch.ones_like(t) for t in results]
        if layer is dirty:
            cotangents[0][spoilt] = garbage
        states = [t for t in (layer.h0, layer.c0) if t is not None]
        d_input, *d_states = torch.autograd.grad(results, [layer.input, *states], cotangents)
        found.append((*of_others, d_input[~spoilt], *d_states))
    assert same_bits(*found)
    assert all(t.isfinite().all() for t in found[1])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_an_initial_state_that_is_reset_does_not_matter(cell: str, dtype: torch.dtype) -> None:
    """Forward alone: backward the first state enters at the last step."""
    layer, states = layer_of(cell, dtype, D=1), 2 if cell == "lstm" else 1
    leaves = [*layer.leaves]
    leaves[1 : 1 + states] = [torch.full_like(state, torch.nan) for state in leaves[1 : 1 + states]]
    spoilt = layer.with_leaves(leaves).trained()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[0] = True
    results = []
    for each in (layer, spoilt):
        out = each.run(recurrent, reset=reset)
        grads = gradients(each, out)
        assert all(grad is not None and not grad.any() for grad in grads[1 : 1 + states])
        results.append((*out, *grads))
    assert same_bits(*results)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("every", [0, 4])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_no_reset_changes_no_bit(cell: str, dtype: torch.dtype, every: int) -> None:
    layer, behind = layer_of(cell, dtype), torch.arange(T)[:, None] >= LENGTHS
    options = {"lengths": LENGTHS, "checkpoint_every": every}
    found = []
    for reset in (None, torch.zeros(T, B, dtype=torch.bool), behind):
        results = given_results(layer, **options, reset=reset)
        found.append((*results, *gradients_of(layer, results)))
    assert same_bits(found[0], found[1])
    assert same_bits(found[0], found[2])


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("cell", CELLS)
def test_every_step_reset_is_a_batch_of_single_steps(cell: str) -> None:
    layer = layer_of(cell, torch.float32, D=1)
    ours = layer.run(recurrent, reset=torch.ones(T, B, dtype=torch.bool)).output
    steps = recurrent(cell, layer.input.reshape(1, T * B, -1), None, None, layer.weights).output
    assert torch.equal(ours, steps.view_as(ours))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    cell=st.sampled_from(CELLS),
    steps=st.integers(1, 12),
    batch=st.integers(1, 6),
    D=st.integers(1, 2),
    every=st.integers(0, 5),
    data=st.data(),
)
def test_any_mask_equals_a_call_for_each_piece(
    cell: str, steps: int, batch: int, D: int, every: int, data: st.DataObject
) -> None:
    flags = data.draw(st.lists(st.booleans(), min_size=steps * batch, max_size=steps * batch), label="reset")
    lengths = torch.tensor(data.draw(st.lists(st.integers(0, steps), min_size=batch, max_size=batch)))
    lengths[0] = steps
    reset = torch.tensor(flags).view(steps, batch)
    layer = layer_of(cell, torch.float64, T=steps, B=batch, I=3, H=7, P=5 if cell == "lstm" else None, D=D)
    whole = given_results(layer, reset=reset, lengths=lengths, checkpoint_every=every)
    apart = run_apart(layer, reset, lengths)
    torch.testing.assert_close(whole, apart, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(gradients_of(layer, whole), gradients_of(layer, apart), rtol=1e-9, atol=1e-9)


def test_bytes_of_any_value_count_as_true() -> None:
    """A bool tensor may show the memory of another, whose bytes are not 0 and 1 alone."""
    layer, reset = layer_of("gru", torch.float32), some_resets(T, B)
    odd = (reset.to(torch.uint8) * 254).view(torch.bool)
    assert same_bits(given_results(layer, reset=odd), given_results(layer, reset=reset))


@pytest.mark.parametrize("batch_first", [False, True])
def test_a_mask_of_any_strides(batch_first: bool) -> None:
    layer = make_layer("lstm", T=T, B=B, D=2, batch_first=batch_first)
    reset = some_resets(*layer.input.shape[:2])
    apart = torch.stack([reset, ~reset], -1)[..., 0]
    for strided in (reset.T.contiguous().T, apart):
        assert not strided.is_contiguous()
        options = {"batch_first": batch_first}
        assert same_bits(
            given_results(layer, reset=strided, **options), given_results(layer, reset=reset, **options)
        )
