"""The emulator sees every fault that is put into a small kernel, and none where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulator.building import Builder, run

SOURCE = Path(__file__).with_name("recurrence.cu")

#: Name, number in recurrence.cu, and for each mode that must see it what it says.
FAULTS = [
    ("missing_syncthreads", 1, {"plain": "wrong"}),
    ("wrong_lane", 2, {"plain": "wrong"}),
    ("tail_off_by_one", 3, {"sanitized": "heap-buffer-overflow"}),
    ("missing_grid_barrier", 4, {"plain": "wrong", "race": "data race on memory"}),
    ("missing_release", 5, {"race": "data race on memory"}),
    ("single_buffer", 6, {"plain": "wrong", "race": "data race on memory"}),
    ("wrong_arrival_count", 7, {"plain": "livelock"}),
    ("missing_copy_wait", 8, {"plain": "wrong"}),
    ("tile_too_small", 9, {"plain": "past the end of an allocated tile"}),
]


@pytest.mark.parametrize("mode", ["plain", "sanitized", "race"])
def test_a_right_kernel_is_right_under_every_schedule(builder: Callable[[str], Builder], mode: str) -> None:
    result = run(builder(mode).program(SOURCE))
    assert (result.returncode, result.stdout) == (0, "right\n"), result.stdout + result.stderr


@pytest.mark.parametrize(
    ("fault", "mode", "words"),
    [
        pytest.param(number, mode, words, id=f"{name}-{mode}")
        for name, number, seen in FAULTS
        for mode, words in seen.items()
    ],
)
def test_a_fault_is_seen(builder: Callable[[str], Builder], fault: int, mode: str, words: str) -> None:
    result = run(builder(mode).program(SOURCE), str(fault))
    assert result.returncode != 0, result.stdout
    assert words in result.stdout + result.stderr
