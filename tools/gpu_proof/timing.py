"""Time on the device: between two of its own events, for several runs in a row."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from pyrnn.bench.harness import Candidate

#: Seconds between two events. Launches run ahead of the device then, as they do in training: a single short
#: call would show the time that the processor needs to ask for it.
BURST = 4e-3
MAX_REPEATS = 20
MAX_INPUTS = 8


@dataclass(frozen=True)
class DeviceCandidate(Candidate):
    """One side of a comparison on a GPU: the mean of `repeats` runs between two events."""

    repeats: int = 1

    def timed(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds that one run takes by the device's own clock; `clock` is the processor's."""
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(self.repeats):
            self.prepare()
            self.run()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / self.repeats


def repeats_for(seconds: float) -> int:
    """Runs that fill a burst, when one takes `seconds`."""
    return max(1, min(MAX_REPEATS, int(BURST / max(seconds, 1e-7))))


def inputs_for(bytes_each: int, cache: int) -> int:
    """Inputs to take in turn, so that they do not stay in a second-level cache of `cache` bytes."""
    return max(2, min(MAX_INPUTS, -(-2 * cache // max(bytes_each, 1))))


@contextmanager
def arithmetic(name: str) -> Generator[None, None, None]:
    """Forbid TF32 ("exact"), or leave torch's settings as they are ("default")."""
    settings: tuple[Any, Any] = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [setting.allow_tf32 for setting in settings]
    try:
        if name == "exact":
            for setting in settings:
                setting.allow_tf32 = False
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value
