"""Learning-rate schedules: pure functions of the step, so a resumed run needs nothing but its step count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Decay = Literal["cosine", "linear", "constant"]


@dataclass(frozen=True)
class Schedule:
    """Linear warm-up from near zero to `peak`, then decay towards zero at `total_steps`.

    With w warm-up steps of n, step s (from 0) has peak * (s + 1) / w while s < w; afterwards, with
    p = (s - w) / (n - w), it has peak * (1 + cos(pi p)) / 2 (cosine), peak * (1 - p) (linear) or peak.
    Source of the cosine: Loshchilov and Hutter, "SGDR", 2017.

    Example:
        >>> schedule = Schedule(peak=1.0, warmup_steps=2, total_steps=6, decay="linear")
        >>> [schedule(step) for step in range(6)]
        [0.5, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    peak: float
    warmup_steps: int
    total_steps: int
    decay: Decay = "cosine"

    def __call__(self, step: int) -> float:
        """The rate of step `step`, counted from 0."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        done = min((step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1), 1.0)
        if self.decay == "cosine":
            return self.peak * (1 + math.cos(math.pi * done)) / 2
        return self.peak * (1 - done) if self.decay == "linear" else self.peak
