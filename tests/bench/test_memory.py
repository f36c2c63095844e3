"""The peak of tensors' memory: what is alive at once counts, whoever made it."""

from __future__ import annotations

import torch

import pyrnn
from pyrnn.bench.memory import peak_bytes


def _bytes(count: int) -> torch.Tensor:
    return torch.empty(count, dtype=torch.uint8)


def test_a_known_sequence() -> None:
    def run() -> None:
        a, b = _bytes(1000), _bytes(3000)
        del a
        c = _bytes(2000)
        del b
        a = _bytes(1500)
        del a, c

    assert peak_bytes(run) == 5000


def test_what_was_there_before_does_not_count() -> None:
    before = [_bytes(10_000)]

    def run() -> None:
        added = _bytes(700)
        before.clear()
        del added

    assert peak_bytes(run) == 700


def test_no_tensors() -> None:
    assert peak_bytes(lambda: None) == 0


def test_results_of_our_kernels_count() -> None:
    layer, x = pyrnn.GRU(8, 16), torch.randn(50, 4, 8)
    with torch.no_grad():
        layer(x)
        peak = peak_bytes(lambda: layer(x))
    outputs = 4 * 16 * (50 * 4 + 4)
    assert outputs <= peak < 2 * outputs
