"""The loss of a softmax over a vocabulary against torch's: time, and the peak of the memory of tensors.

A step is the loss of N rows of H features with V classes, the mean over rows, and its gradients for the rows,
the weight and the bias. Operations are those of the three matrix products. The peak holds these gradients on
both sides; a row tells their bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from typing_extensions import Self

from pyrnn import ops
from pyrnn.bench import record, report
from pyrnn.bench.comparison import DTYPES, Benchmark
from pyrnn.bench.step import Step

SMOOTHING = 0.1
INCLUDES = {
    "infer": "the loss without gradients; not: making the data",
    "train": "the loss, its gradients for rows, weight and bias; not: making the data, dropping old "
    "gradients",
}

#: (N, H, V): a character model, a subword and a word model, what the memory is claimed for.
SHAPES = ((2048, 128, 65), (1024, 256, 8192), (1024, 256, 32_000), (4096, 512, 32_000))
QUICK_SHAPES = {(2048, 128, 65), (1024, 256, 8192)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    loss: str
    dtype: str
    mode: str
    variant: str
    N: int
    H: int
    V: int

    @property
    def smoothing(self) -> float:
        """Of the labels."""
        return SMOOTHING if self.variant == "smoothed" else 0.0

    def deterministic(self) -> Self:
        """The case itself: nothing is left to chance."""
        return self

    def operations(self) -> int:
        """A product of logits, and two for the gradients of rows and weight."""
        return 2 * self.N * self.H * self.V * (3 if self.mode == "train" else 1)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        numbers = self.N * self.H + self.V * self.H + self.V
        gradients = numbers * DTYPES[self.dtype].itemsize if self.mode == "train" else 0
        return {"gradient_bytes": gradients, "includes": INCLUDES[self.mode]}

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.loss} {self.dtype} {self.mode} {self.variant} {self.N}x{self.H}x{self.V}"


def sides(case: Case) -> tuple[Step, Step]:
    """Ours and torch's, on equal rows, weights and targets."""
    dtype, generator = DTYPES[case.dtype], torch.Generator().manual_seed(0)
    shapes = ((case.N, case.H), (case.V, case.H), (case.V,))
    numbers = [torch.randn(shape, generator=generator).mul_(shape[-1] ** -0.5) for shape in shapes]
    targets = torch.randint(case.V, (case.N,), generator=generator)
    trains = case.mode == "train"

    def ours(x: Tensor, weight: Tensor, bias: Tensor) -> Sequence[Tensor]:
        loss = ops.linear_cross_entropy(x, weight, targets, bias, label_smoothing=case.smoothing)
        return [loss.to(dtype)]  # torch's

    def theirs(x: Tensor, weight: Tensor, bias: Tensor) -> Sequence[Tensor]:
        logits = F.linear(x, weight, bias)
        return [F.cross_entropy(logits, targets, label_smoothing=case.smoothing)]

    def side(forward: Any) -> Step:
        own = tuple(tensor.to(dtype, copy=True).requires_grad_(trains) for tensor in numbers)
        return Step(forward, [own], gradient=torch.ones((), dtype=dtype) if trains else None)

    return side(ours), side(theirs)


def least_memory(rows: Sequence[record.Row]) -> str:
    """What the peak is, beyond the gradients, in the largest case of each type in training."""
    told: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row["N"] * row["V"]):
        if row["mode"] == "train" and row["variant"] == "plain":
            ours, theirs = (row[f"{side}_bytes"] - row["gradient_bytes"] for side in ("pyrnn", "torch"))
            shape = f"N = {row['N']}, H = {row['H']}, V = {row['V']}"
            told[row["dtype"]] = (
                f"{row['dtype']}, {shape}: {ours / 2**20:.0f} MiB against {theirs / 2**20:.0f} MiB"
            )
    return f"Peak of tensors beyond the gradients: {'; '.join(told.values())}." if told else ""


LAYOUT = report.Layout(
    "loss",
    across="loss",
    names={"linear_cross_entropy": "linear + cross-entropy"},
    shape=("N", "H", "V"),
    torch="F.linear, F.cross_entropy",
    remark=least_memory,
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"plain": SHAPES, "smoothed": SHAPES[:-1]},
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "language-models.md",
    memory=True,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
