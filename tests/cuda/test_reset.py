"""Resets inside a sequence on CUDA: no state passes one, nor a gradient, nor a NaN."""

from __future__ import annotations

import pytest
import torch

from pyrnn.ops import recurrent
from pyrnn.ops.recurrent import cuda
from pyrnn.ops.recurrent.cuda import recurrence
from tests.cuda.cases import ENGINES
from tests.helpers import CELLS, make_layer
from tests.recurrent.cases import check_layer, same_bits

T, B = 7, 9
LENGTHS = torch.tensor([5, 0, 7, 7, 1, 3, 6, 7, 2])
RESET = (torch.arange(T * B) % 3 == 0).view(T, B)


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("lengths", [None, LENGTHS], ids=["whole", "lengths"])
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("cell", "P"), [*((cell, None) for cell in CELLS), ("lstm", 5)])
def test_equals_the_reference(
    cell: str,
    P: int | None,
    engine: str,
    lengths: torch.Tensor | None,
    every: int,
    device: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recurrence, "forced_engine", engine)
    monkeypatch.setattr(cuda, "SEGMENT_BYTES", 1)
    monkeypatch.setattr(cuda, "SEGMENT_STEPS", 3)
    layer = make_layer(cell, T=T, B=B, H=17, P=P, D=2)
    check_layer(layer, device=device, reset=RESET, lengths=lengths, checkpoint_every=every)


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("cell", "P"), [*((cell, None) for cell in CELLS), ("lstm", 5)])
def test_no_number_leaves_its_episode(
    cell: str, P: int | None, dtype: torch.dtype, every: int, device: str
) -> None:
    layer = make_layer(cell, T=T, B=B, H=17, P=P, D=2, dtype=dtype).on(device)
    spoilt, reset = torch.zeros(2, T, B, dtype=torch.bool, device=device)
    spoilt[2:5, 4] = reset[2, 4] = reset[5, 4] = True
    input = layer.input.detach().masked_fill(spoilt[:, :, None], torch.nan)
    dirty = layer.with_leaves((input, *layer.leaves[1:])).trained()
    found = []
    for each, garbage in ((layer, 1.0), (dirty, torch.nan)):
        out = each.run(recurrent, reset=reset, checkpoint_every=every)
        g_output = torch.ones_like(out.output).masked_fill(spoilt[:, :, None], garbage)
        states = [state for state in (each.h0, each.c0) if state is not None]
        d_input, *d_states = torch.autograd.grad(out.output, [each.input, *states], g_output)
        found.append((out.output[~spoilt], out.h_n, d_input[~spoilt], *d_states))
    assert same_bits(*found)
    assert all(t.isfinite().all() for t in found[1])


@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_no_reset_changes_no_bit(cell: str, every: int, device: str) -> None:
    layer = make_layer(cell, T=T, B=B, H=17, D=2, dtype=torch.float32).on(device)
    none = torch.zeros(T, B, dtype=torch.bool, device=device)
    found = []
    for reset in (None, none):
        out = layer.run(recurrent, reset=reset, lengths=LENGTHS, checkpoint_every=every)
        found.append((*out, *torch.autograd.grad(out.output.sum() + out.h_n.sum(), layer.leaves)))
    assert same_bits(*found)
