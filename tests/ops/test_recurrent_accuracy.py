"""The kernels' numbers against the float64 reference, beside torch's error at the same dtype."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrnn import reference
from pyrnn.ops import recurrent
from tests.helpers import CELLS, Layer, assert_as_accurate, gradients, make_layer, torch_recurrent

RESULTS = ("output", "h_n", "c_n", "cells")
GRADIENTS = ("input", "h0", "c0", *(f"weight {n}" for n in range(10)))


def check_against_torch(layer: Layer, dtype: torch.dtype, **options: Any) -> None:
    """Forward and backward by the 2x rule; `layer` is rounded to `dtype` first, for all three alike."""
    ours, theirs = layer.to(dtype, requires_grad=True), layer.to(dtype, requires_grad=True)
    exact = ours.to(torch.float64, requires_grad=True)
    torch_options = {name: value for name, value in options.items() if name != "checkpoint_every"}
    results = (
        ours.run(recurrent, **options),
        torch_recurrent(theirs, **torch_options),
        exact.run(reference.recurrent, **torch_options),
    )
    assert_as_accurate(*results, names=RESULTS)
    sequences = None
    if layer.cell == "rnn_relu":  # rounding across 0 changes the derivative by much, for whoever it befalls
        signs = [out.output > 0 for out in results]
        sequences = ((signs[0] == signs[2]) & (signs[1] == signs[2])).all(2).all(0)
        assert sequences.any()
    layers = (ours, theirs, exact)
    grads = [gradients(each, out, sequences=sequences) for each, out in zip(layers, results, strict=True)]
    assert_as_accurate(*grads, names=GRADIENTS)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("D", [1, 2])
@pytest.mark.parametrize("options", [{}, {"return_cells": True}, {"checkpoint_every": 2}], ids=str)
def test_float64_equals_the_reference(cell: str, D: int, options: dict[str, Any]) -> None:
    layer = make_layer(cell, T=5, D=D, H=17, requires_grad=True)
    ours = layer.run(recurrent, **options)
    exact = layer.run(reference.recurrent, return_cells=options.get("return_cells", False))
    torch.testing.assert_close(ours, exact, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, exact), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 9, 5, 33), (2, 17, 3, 16)], ids=str)
def test_as_accurate_as_torch(cell: str, shape: tuple[int, int, int, int], dtype: torch.dtype) -> None:
    T, B, I, H = shape  # noqa: E741
    check_against_torch(make_layer(cell, T=T, B=B, I=I, H=H, D=2), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_lengths_are_as_accurate_as_torch_packed(cell: str, dtype: torch.dtype) -> None:
    layer = make_layer(cell, T=6, B=5, H=19, D=2, batch_first=True)
    check_against_torch(layer, dtype, lengths=torch.tensor([2, 6, 1, 6, 3]), batch_first=True)


@pytest.mark.parametrize("P", [1, 9])
def test_projection_is_as_accurate_as_torch(P: int) -> None:
    check_against_torch(make_layer("lstm", T=5, B=4, H=18, P=P, D=2), torch.float32)


@pytest.mark.parametrize("every", [1, 3, 100])
@pytest.mark.parametrize("cell", CELLS)
def test_recomputing_is_as_accurate_as_torch(cell: str, every: int) -> None:
    check_against_torch(make_layer(cell, T=7, B=4, H=18), torch.float32, checkpoint_every=every)


def test_gradients_of_the_cell_states_equal_the_reference() -> None:
    layer = make_layer("lstm", D=2, requires_grad=True)
    lengths = torch.tensor([4, 0, 2])
    grads = []
    for operator in (recurrent, reference.recurrent):
        cells = layer.run(operator, lengths=lengths, return_cells=True).cells
        grads.append(torch.autograd.grad(cells.sin().sum(), layer.leaves, allow_unused=True))
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-10, atol=1e-11)


@settings(max_examples=25, derandomize=True)
@given(
    cell=st.sampled_from(CELLS),
    T=st.integers(1, 5),
    B=st.integers(1, 5),
    I=st.integers(1, 5),
    H=st.integers(1, 20),
    projected=st.booleans(),
    data=st.data(),
)
def test_any_options_equal_the_reference(
    cell: str,
    T: int,
    B: int,
    I: int,  # noqa: E741
    H: int,
    projected: bool,
    data: st.DataObject,
) -> None:
    P = data.draw(st.integers(1, H), label="P") if projected and cell == "lstm" else None
    D = data.draw(st.integers(1, 2), label="D")
    bias, states, batch_first, cells, masked, cut = (data.draw(st.booleans()) for _ in range(6))
    every = data.draw(st.integers(0, 4), label="checkpoint_every")
    options: dict[str, Any] = {"batch_first": batch_first, "return_cells": cells}
    if masked:
        options["lengths"] = torch.tensor(data.draw(st.lists(st.integers(0, T), min_size=B, max_size=B)))
    if cut:
        flags = data.draw(st.lists(st.booleans(), min_size=T * B, max_size=T * B), label="reset")
        options["reset"] = torch.tensor(flags).view(B, T) if batch_first else torch.tensor(flags).view(T, B)
    sizes = {"T": T, "B": B, "I": I, "H": H, "P": P, "D": D}
    layer = make_layer(cell, **sizes, bias=bias, states=states, batch_first=batch_first, requires_grad=True)
    ours = layer.run(recurrent, checkpoint_every=every, **options)
    exact = layer.run(reference.recurrent, **options)
    torch.testing.assert_close(ours, exact, rtol=1e-10, atol=1e-11)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, exact), rtol=1e-9, atol=1e-10)
