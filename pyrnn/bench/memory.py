"""The memory that tensors take while something runs, at its peak.

Torch's profiler tells every allocation and release of its allocator, and the peak of their running sum is
what a run needs beyond what was there before. That sees all tensors, also those that our kernels return; it
does not see what a kernel of either side takes for itself: packed weights and other scratch of ours,
workspaces of torch's BLAS and oneDNN. Nor does it see objects of Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from torch.profiler import ProfilerActivity, profile

# The profiler tells the start and the end of each of its runs on stderr unless it is asked for silence.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")


def peak_bytes(run: Callable[[], object]) -> int:
    """The peak of the bytes of tensors on the CPU during a call, beyond those that were there before.

    What was there before and is released counts as less than nothing from then on. The call should have been
    made before, or tables that are made once count.

    Example:
        >>> import torch
        >>> peak_bytes(lambda: torch.zeros(1000, dtype=torch.uint8))
        1000
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    results: Any = profiler.profiler
    events = [event for event in results.kineto_results.events() if event.name() == "[memory]"]
    return _peak(event.nbytes() for event in sorted(events, key=lambda event: event.start_ns()))


def _peak(changes: Iterable[int]) -> int:
    """The largest of the sums up to each change, at least 0."""
    peak = total = 0
    for change in changes:
        total += change
        peak = max(peak, total)
    return peak
