"""How far the heuristic's split of the work is from the best one: every split forced in turn, both passes.

The constants of csrc/recurrent/cpu/split.cpp are fitted to this table. Forward is a pass without gradients.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator

import torch

import pyrnn.nn
from pyrnn import _native
from pyrnn.bench.arguments import whole
from pyrnn.bench.comparison import DTYPES
from pyrnn.bench.recurrent import GATES
from pyrnn.ops.recurrent import cpu

SIZES = tuple((B, H) for H in (128, 256, 512, 1024) for B in (1, 4, 8, 16, 24, 32, 64))
OPERATIONS = 2e9  # of one forward pass, about: fixes T


def measure(
    cell: str, dtype: torch.dtype, sizes: tuple[int, int], rounds: int
) -> dict[str, dict[int, float]]:
    """Median seconds of each pass by threads on a part of the batch, in alternation; 0: the heuristic."""
    B, H = sizes
    T = int(min(64, max(8, OPERATIONS / (4 * GATES[cell] * B * H * H))))
    layer = getattr(pyrnn.nn, cell.upper())(H, H, dtype=dtype)
    input = torch.randn(T, B, H, dtype=dtype, requires_grad=True)
    gradient = torch.randn(T, B, H, dtype=dtype)
    threads = _native.num_threads()
    group_sizes = [0, *(m for m in range(1, threads + 1) if threads % m == 0)]
    seconds: dict[str, dict[int, list[float]]] = {
        p: {m: [] for m in group_sizes} for p in ("forward", "backward")
    }
    for _ in range(rounds):
        for group_size in group_sizes:
            cpu.forced_group_size = group_size
            with torch.no_grad():
                seconds["forward"][group_size].append(_timed(lambda: layer(input)))
            output = layer(input)[0]
            seconds["backward"][group_size].append(_timed(lambda y=output: y.backward(gradient)))
    cpu.forced_group_size = 0
    return {p: {m: statistics.median(s) for m, s in passes.items()} for p, passes in seconds.items()}


def rows(cells: list[str], dtype: str, rounds: int) -> Iterator[str]:
    """The table, a line at a time."""
    yield f"{'cell':5} {'B':>3} {'H':>5}  {'pass':9} ms by threads on a part of the batch (0: chosen)"
    losses = []
    for cell in cells:
        for B, H in SIZES:
            for name, times in measure(cell, DTYPES[dtype], (B, H), rounds).items():
                losses.append(times[0] / min(times.values()) - 1)
                shown = "  ".join(f"{m}: {1e3 * t:8.3f}" for m, t in times.items())
                yield f"{cell:5} {B:3} {H:5}  {name:9} {shown}  chosen costs {100 * losses[-1]:+.0f} %"
    mean, largest = 100 * statistics.fmean(losses), 100 * max(losses)
    yield f"mean cost of the choice: {mean:.1f} %, largest {largest:.0f} %"


def main(argv: list[str] | None = None) -> None:
    """Print the table; nothing is recorded."""
    parser = argparse.ArgumentParser(prog="bench split", description=__doc__)
    parser.add_argument("--cell", nargs="+", choices=tuple(GATES), default=["lstm", "gru"])
    parser.add_argument("--dtype", choices=tuple(DTYPES), default="float32")
    parser.add_argument("--rounds", type=whole(1), default=9, help="of each split (default 9)")
    options = parser.parse_args(argv)
    for row in rows(options.cell, options.dtype, options.rounds):
        print(row, flush=True)


def _timed(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
