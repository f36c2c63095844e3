"""Every CUDA kernel at sizes beside every tile, slice and block, in every layout, on every engine."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from pyrnn import reference
from pyrnn.ops import recurrent
from pyrnn.ops.recurrent import cuda
from pyrnn.ops.recurrent.cuda import recurrence
from tests.cuda.cases import KERNELS, Case, cases, check
from tests.helpers import CELLS, gradients, make_layer
from tests.recurrent.cases import check_layer

LENGTHS = torch.tensor([4, 0, 5, 1, 2])


@pytest.mark.parametrize("case", [case for kernel in KERNELS for case in cases(*kernel)], ids=str)
def test_as_accurate_as_torch(case: Case, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recurrence, "forced_engine", case.engine)
    check(case, device)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("options", [{}, {"lengths": LENGTHS}], ids=str)
def test_short_segments_of_the_input_product(
    cell: str, options: dict[str, Any], device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(cuda, "SEGMENT_STEPS", 2)
    layer = make_layer(cell, T=5, B=5, H=17, P=6 if cell == "lstm" else None, D=2)
    check_layer(layer, device=device, **options)


@pytest.mark.parametrize("every", [0, 2])
def test_gradients_of_the_cell_states(device: str, every: int) -> None:
    exact = make_layer("lstm", T=5, B=5, D=2, requires_grad=True)
    ours = exact.on(device)
    lengths = LENGTHS
    cells = ours.run(recurrent, lengths=lengths, return_cells=True, checkpoint_every=every).cells
    right = exact.run(reference.recurrent, lengths=lengths, return_cells=True).cells
    torch.testing.assert_close(cells.cpu(), right, rtol=1e-12, atol=1e-13)
    grads = torch.autograd.grad(cells.sin().sum(), ours.leaves)
    right_grads = torch.autograd.grad(right.sin().sum(), exact.leaves)
    torch.testing.assert_close([grad.cpu() for grad in grads], [*right_grads], rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_all_sequences_empty(cell: str, device: str) -> None:
    layer = make_layer(cell, T=3, B=2, P=2 if cell == "lstm" else None, D=2, requires_grad=True)
    ours = layer.on(device)
    out = ours.run(recurrent, lengths=torch.zeros(2, dtype=torch.int64))
    assert ours.h0 is not None
    assert torch.equal(out.h_n, ours.h0)
    assert not out.output.any()
    d_input, d_h0, *others = gradients(ours, out)
    assert d_h0 is not None
    assert d_h0.all()
    if cell == "lstm":
        d_c0 = others.pop(0)
        assert d_c0 is not None
        assert d_c0.all()
    assert not any(grad.any() for grad in (d_input, *others) if grad is not None)
