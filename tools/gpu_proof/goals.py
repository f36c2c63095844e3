"""What the CUDA kernels are to reach, and what a record says of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pyrnn.bench.harness import geometric_mean
from pyrnn.bench.record import Row
from tools.gpu_proof.cases import GpuCase
from tools.gpu_proof.cudnn import best_zone

#: Dtypes of two bytes.
HALVES = ("bfloat16", "float16")


@dataclass(frozen=True)
class Goal:
    """A bound on one figure of the rows that it covers."""

    what: str
    figure: str  # "ratio": at least; "us_per_step": at most
    bound: float
    covers: Callable[[GpuCase], bool]

    @property
    def text(self) -> str:
        """The bound as a plain number."""
        return f"goal {self.bound:.1f}x" if self.figure == "ratio" else f"goal {self.bound:.1f} us a step"

    def met(self, value: float) -> bool:
        """Whether one row reaches it."""
        return value >= self.bound if self.figure == "ratio" else value <= self.bound

    def values(self, rows: Sequence[Row]) -> list[float]:
        """The figures of the rows that count: where an engine is forced, the heuristic is not to blame."""
        counted = [row for row in rows if self.figure in row and not row["engine"]]
        return [row[self.figure] for row in counted if self.covers(GpuCase.of(row))]

    def reached(self, rows: Sequence[Row]) -> str:
        """In words: mean, the row furthest from the goal, and how many reach it."""
        values = self.values(rows)
        if not values:
            return "not measured"
        count = f"{sum(map(self.met, values))} of {len(values)} reach it"
        mean = geometric_mean(values)
        if self.figure == "ratio":
            return f"geometric mean {mean:.2f}x, smallest {min(values):.2f}x, {count}"
        return f"geometric mean {mean:.2f} us, largest {max(values):.2f} us, {count}"


def _simple(case: GpuCase) -> bool:
    single = case.variant == "plain" and case.arithmetic == "exact"
    return single and 256 <= case.H <= 1024 and case.B <= 64


GOALS = (
    Goal(
        "GRU against cuDNN, bf16 and fp16, H 256 to 1024, B <= 64",
        "ratio",
        3.0,
        lambda case: _simple(case) and case.cell == "gru" and case.dtype in HALVES,
    ),
    Goal(
        "GRU against cuDNN, fp32 without TF32, H 256 to 1024, B <= 64",
        "ratio",
        2.0,
        lambda case: _simple(case) and case.cell == "gru" and case.dtype == "float32",
    ),
    Goal(
        "LSTM against cuDNN, bf16 and fp32 without TF32, H 256 to 1024, B <= 64",
        "ratio",
        2.0,
        lambda case: _simple(case) and case.cell == "lstm" and case.dtype != "float16",
    ),
    Goal(
        "LSTM against cuDNN's persistent algorithm, fp16, H a multiple of 128 up to 1024, B of 8 up to 128",
        "ratio",
        1.0,
        lambda case: best_zone(case) and case.cell == "lstm" and case.dtype == "float16",
    ),
    Goal(
        "two layers in both directions against cuDNN, GRU and LSTM",
        "ratio",
        2.0,
        lambda case: case.variant == "bidirectional-two-layer" and case.cell in ("gru", "lstm"),
    ),
    Goal(
        "forward in bf16, H = 1024, B <= 64, one layer and direction",
        "us_per_step",
        3.0,
        lambda case: (
            (case.variant, case.mode, case.dtype, case.H) == ("plain", "infer", "bfloat16", 1024)
            and case.B <= 64
        ),
    ),
)
