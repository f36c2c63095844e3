"""How fast a step could be at best on the device of the run: from barrier and bytes, both measured there.

All units of a step wait for all units of the step before. So a step takes no less than one barrier of the
blocks, and no less than its bytes take to come from the second-level cache and from memory. The large
products beside the recurrence are left out: the limit is that of the recurrence alone.

The cluster engine has no limit here: its blocks meet at the barrier of their cluster and read each other's
shared memory, and neither of these is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyrnn._native import CudaPlan
from pyrnn._native_args import CELLS
from pyrnn.bench.record import Row
from pyrnn.bench.recurrent import OPERATOR_CELLS
from tools.gpu_proof.cases import GpuCase


@dataclass(frozen=True)
class Rooflines:
    """What the rooflines stage found."""

    barriers: dict[int, float]  # seconds of a barrier, by the number of blocks
    l2: float  # bytes a second, read
    memory: float  # bytes a second, read and written

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Rooflines | None:
        """None where one of them was not measured."""
        barriers = {row["blocks"]: row["seconds"] for row in rows if row["what"] == "barrier"}
        rates = {row["what"]: row["bytes_per_second"] for row in rows if "bytes_per_second" in row}
        if not barriers or not {"l2 read", "memory"} <= set(rates):
            return None
        return cls(barriers, rates["l2 read"], rates["memory"])

    def barrier(self, blocks: int) -> float:
        """Of the smallest measured grid that has at least as many blocks, else of the largest."""
        larger = [measured for measured in self.barriers if measured >= blocks]
        return self.barriers[min(larger) if larger else max(self.barriers)]


@dataclass(frozen=True)
class Bytes:
    """Bytes of one step of one layer, both directions."""

    l2: int
    memory: int


def bytes_of(case: GpuCase, plan: CudaPlan, *, backward: bool) -> Bytes:
    """What a step must move with the work laid out as `plan` says."""
    size = case.torch_dtype.itemsize
    sums = max(4, size)
    cell, cells = CELLS[OPERATOR_CELLS[case.cell]], case.directions * case.B * case.H
    gates = cell.gates
    terms = case.H * (gates if backward else 1)
    # Each block reads the exchanged values of its slice whole.
    l2 = plan.blocks * plan.rows_per_slice * terms * size
    if not plan.resident:
        l2 += case.directions * plan.slices * gates * case.H**2 * size
    kept = cell.saved * sums if case.mode == "train" else 0
    own = (size + cell.slots * size) if backward else (gates * sums + size)
    return Bytes(l2, cells * (kept + own))


def step_limit(case: GpuCase, plan: CudaPlan, rooflines: Rooflines, *, backward: bool) -> float:
    """Seconds."""
    moved = bytes_of(case, plan, backward=backward)
    return max(rooflines.barrier(plan.blocks), moved.l2 / rooflines.l2, moved.memory / rooflines.memory)


def limit(case: GpuCase, plans: Sequence[CudaPlan], rooflines: Rooflines) -> float | None:
    """Seconds of the whole call; `plans`: of the forward pass and, in training, of the backward pass.

    None where a pass runs on the cluster engine.
    """
    if any(plan.engine == "cluster" for plan in plans):
        return None
    steps = (step_limit(case, plan, rooflines, backward=bool(i)) for i, plan in enumerate(plans))
    return case.layers * case.T * sum(steps)
