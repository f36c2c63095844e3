"""How much of the machine other processes took while something was measured.

Alternation does not make a busy machine fair: two libraries need not lose the same to a neighbour. On two
cores the ratio of one row has read 1.8 at a load of 2 to 3, and 120 a few minutes later at a load near 5.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

#: Above this share of the cores a row is kept as a record but not published.
TOLERATED = 0.05

_STAT = Path("/proc/stat")


class Watch:
    """Started when made; `background_load` tells what processes other than this one have used since."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._everyone, self._own = _everyone(), _own()

    def background_load(self) -> float | None:
        """Share of all cores taken by other processes or the host, 0 to 1; None where nothing tells."""
        now = _everyone()
        if now is None or self._everyone is None:
            return None
        seconds = (time.perf_counter() - self._start) * (os.cpu_count() or 1)
        used = (now - self._everyone) - (_own() - self._own)
        return min(1.0, max(0.0, used / seconds))


def _everyone() -> float | None:
    """Seconds of work by all cores since the start, and those that a virtual machine's host took away."""
    if not _STAT.exists():
        return None
    user, nice, system, _, _, irq, softirq, steal = map(int, _STAT.read_text().split("\n")[0].split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own() -> float:
    return time.process_time()
