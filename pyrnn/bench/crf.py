"""A conditional random field against loops over time by torch's operators, T = 25.

"sum" is the logarithm of the sum over all paths, in training with its derivatives by emissions, transitions,
start and end; "path" is the best path. Both sides have the same lengths, which the loops heed by a mask.
Operations are those of pairs of tags: for the sum 2 C^2 a step and row, three times that in training, for the
path C^2 additions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import Self

from pyrnn import ops
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step

STEPS = 25
NAMES = {"sum": "sum over paths", "path": "best path"}
INCLUDES = {
    "infer": "forward without gradients; not: making the data, the emissions",
    "train": "forward, backward with gradients of all four tensors; not: making the data, the emissions, "
    "dropping old gradients",
}

#: (B, C)
SHAPES = tuple((B, C) for C in (9, 45, 180) for B in (1, 32, 128))
QUICK_SHAPES = {(32, 9), (32, 45)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    kind: str
    dtype: str
    mode: str
    variant: str
    B: int
    C: int

    def deterministic(self) -> Self:
        """Nothing is left to chance."""
        return self

    def lengths(self) -> Tensor | None:
        """Uniform in [1, T], unsorted, and the same in every run."""
        if self.variant != "lengths":
            return None
        return torch.randint(1, STEPS + 1, (self.B,), generator=torch.Generator().manual_seed(0))

    def operations(self) -> int:
        """Floating-point operations of pairs of tags, padding included."""
        pairs = STEPS * self.B * self.C**2
        return pairs if self.kind == "path" else 2 * pairs * (3 if self.mode == "train" else 1)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"T": STEPS, "includes": INCLUDES[self.mode]}

    def __str__(self) -> str:
        """For progress and errors."""
        return f"crf {self.kind} {self.dtype} {self.mode} {self.variant} {self.B}x{self.C}"


def sides(case: Case) -> tuple[Step, Step]:
    """The operator and the loop, on equal inputs."""
    return _step(case, _operator), _step(case, _sum_loop if case.kind == "sum" else _path_loop)


Side = Callable[[Case, Tensor, Tensor, Tensor, Tensor], Tensor]


def _operator(case: Case, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    given = (emissions, transitions, start, end)
    if case.kind == "sum":
        return ops.crf_log_partition(*given, lengths=case.lengths())
    return ops.crf_viterbi(*given, lengths=case.lengths())[1]


def _sum_loop(case: Case, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    lengths, state = case.lengths(), emissions[0] + start
    for t in range(1, STEPS):
        after = torch.logsumexp(state.unsqueeze(2) + transitions, 1) + emissions[t]
        state = after if lengths is None else torch.where((t < lengths).unsqueeze(1), after, state)
    return torch.logsumexp(state + end, 1)


def _path_loop(case: Case, emissions: Tensor, transitions: Tensor, start: Tensor, end: Tensor) -> Tensor:
    lengths, state, places = case.lengths(), emissions[0] + start, []
    for t in range(1, STEPS):
        best, place = (state.unsqueeze(2) + transitions).max(1)
        after = best + emissions[t]
        state = after if lengths is None else torch.where((t < lengths).unsqueeze(1), after, state)
        places.append(place)
    score, tag = (state + end).max(1)
    for t in range(STEPS - 1, 0, -1):
        before = places[t - 1].gather(1, tag.unsqueeze(1)).squeeze(1)
        tag = before if lengths is None else torch.where(t < lengths, before, tag)
    return score


def _step(case: Case, side: Side) -> Step:
    """A step on emissions, transitions, start and end, the same for everybody."""
    torch.manual_seed(1)
    trains, dtype = case.mode == "train", getattr(torch, case.dtype)
    shapes = ((STEPS, case.B, case.C), (case.C, case.C), (case.C,), (case.C,))
    inputs = tuple(torch.randn(shape).to(dtype).requires_grad_(trains) for shape in shapes)

    def run(*tensors: Tensor) -> Sequence[Tensor]:
        return [side(case, *tensors)]

    gradient = torch.rand(case.B).to(torch.promote_types(dtype, torch.float32)) if trains else None
    return Step(run, [inputs], gradient=gradient, parameters=[])


LAYOUT = report.Layout(
    "crf",
    across="kind",
    names=NAMES,
    shape=("B", "C"),
    torch="a loop of torch's operators",
    variants={"lengths": "lengths"},
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes={"plain": SHAPES, "lengths": SHAPES},
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "tagger.md",
    meaningful=lambda case: case.kind == "sum" or case.mode == "infer",
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
