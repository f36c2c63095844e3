"""What does not change a result: running again, the order of threads, engines, recomputation, old memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pyrnn.ops import recurrent
from pyrnn.ops.recurrent.cuda import recurrence
from tests.cuda.cases import ENGINES
from tests.helpers import CELLS, Layer, gradients, make_layer
from tests.recurrent.cases import same_bits

LENGTHS = torch.tensor([3, 0, 4, 1, 2, 4, 4, 1, 3])


def layer_of(cell: str, dtype: torch.dtype, device: str) -> Layer:
    P = 6 if cell == "lstm" else None
    return make_layer(cell, T=4, B=9, H=18, P=P, D=2, dtype=dtype).on(device)


def run(layer: Layer, *, checkpoint_every: int = 0) -> tuple[Tensor, ...]:
    """Results and gradients."""
    out = layer.run(recurrent, lengths=LENGTHS, checkpoint_every=checkpoint_every)
    return (*out, *(grad for grad in gradients(layer, out) if grad is not None))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_the_same_call_gives_the_same_bits(cell: str, dtype: torch.dtype, device: str) -> None:
    layer = layer_of(cell, dtype, device)
    assert same_bits(run(layer), run(layer))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_order_of_threads_changes_nothing(
    cell: str, device: str, schedules: Callable[[int], None]
) -> None:
    layer = layer_of(cell, torch.bfloat16, device)
    first = run(layer)
    for seed in range(8):
        schedules(seed)
        assert same_bits(run(layer), first), f"schedule {seed}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("cell", CELLS)
def test_engines_agree(cell: str, dtype: torch.dtype, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = layer_of(cell, dtype, device)
    results = []
    for engine in ENGINES:
        monkeypatch.setattr(recurrence, "forced_engine", engine)
        results.append(run(layer))
    for other in results[1:]:
        assert same_bits(other, results[0])


@pytest.mark.parametrize("every", [1, 3, 50])
@pytest.mark.parametrize("cell", CELLS)
def test_recomputed_gates_are_the_kept_ones(cell: str, every: int, device: str) -> None:
    layer = layer_of(cell, torch.float64, device)
    kept, again = run(layer), run(layer, checkpoint_every=every)
    assert same_bits(again[:4], kept[:4])
    torch.testing.assert_close(again, kept, rtol=1e-12, atol=1e-13)


@pytest.mark.filterwarnings(
    "ignore:Deterministic behavior was enabled"
)  # for cuBLAS, which is not meant here
@pytest.mark.parametrize("every", [0, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_memory_that_held_nan_does_not_leak(cell: str, every: int, device: str) -> None:
    """In its deterministic mode torch fills new tensors with NaN."""
    layer = layer_of(cell, torch.float32, device)
    clean = run(layer, checkpoint_every=every)
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        assert torch.empty(1).isnan()
        dirty = run(layer, checkpoint_every=every)
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(t.isfinite().all() for t in dirty)
    assert same_bits(dirty, clean)
