"""Times two implementations of one computation in alternation and measures the machine they ran on.

Speed on a shared machine drifts by tens of percent within a minute, so two runs cannot be compared. Here the
candidates take turns (A, B, A, B, ...) in one process, and only ratios within one run are reported. A turn
begins with a call that is not timed: each finds caches, pages and threads as it leaves them itself, which is
what a program has that uses one of them. Results are compared before anything is timed: a fast wrong answer
never reaches the table.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrnn import _native

WARM_UP_ROUNDS = 2
MIN_ROUNDS = 5

#: Largest accepted relative difference between the candidates, in the Frobenius norm of each result. It is
#: there to catch wrong answers; how exact each side is against float64 is the business of the tests.
AGREEMENT = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 5e-2, torch.float16: 1e-2}

#: Largest accepted relative difference between the norms of two results that chance made.
SAME_SCALE = 0.1

#: How the compiled module names dtypes.
DTYPE_CODES = {torch.float32: 0, torch.bfloat16: 1, torch.float64: 2}


def _nothing() -> None:
    """The default preparation of a round."""


@dataclass(frozen=True)
class Candidate:
    """One side of a comparison: `prepare` runs before each `run` outside the clock; that makes `calls`."""

    run: Callable[[], object]
    prepare: Callable[[], None] = _nothing
    calls: int = 1

    def timed(self, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds that a call takes after another one."""
        self.prepare()
        self.run()
        self.prepare()
        start = clock()
        self.run()
        return (clock() - start) / self.calls


@dataclass(frozen=True)
class Spread:
    """Median and the 20th and 80th percentile of a sample.

    Example:
        >>> Spread.of([1.0, 2.0, 3.0, 4.0, 5.0, 100.0])
        Spread(median=3.5, p20=2.0, p80=5.0)
    """

    median: float
    p20: float
    p80: float

    @classmethod
    def of(cls, sample: Sequence[float]) -> Spread:
        """The spread of at least two numbers."""
        fifths = statistics.quantiles(sample, n=5, method="inclusive")
        return cls(statistics.median(sample), fifths[0], fifths[-1])


@dataclass(frozen=True)
class PairedTiming:
    """What an alternated run of two candidates measured; times in seconds."""

    rounds: int
    ours: Spread
    theirs: Spread
    ratios: Spread  # theirs / ours, round by round: above 1 we are faster

    @property
    def ratio(self) -> float:
        """Median against median, the figure that the tables show."""
        return self.theirs.median / self.ours.median


def paired_timing(
    ours: Candidate,
    theirs: Candidate,
    *,
    seconds: float,
    max_rounds: int = 200,
    clock: Callable[[], float] = time.perf_counter,
) -> PairedTiming:
    """Time both in alternation for about `seconds`: MIN_ROUNDS rounds or more, if `max_rounds` allows."""
    for _ in range(WARM_UP_ROUNDS):
        start = time.perf_counter()
        ours.timed()
        theirs.timed()
        one_round = time.perf_counter() - start
    rounds = min(max_rounds, max(MIN_ROUNDS, int(seconds / one_round)))
    pairs = [(ours.timed(clock), theirs.timed(clock)) for _ in range(rounds)]
    return PairedTiming(
        rounds,
        Spread.of([a for a, _ in pairs]),
        Spread.of([b for _, b in pairs]),
        Spread.of([b / a for a, b in pairs]),
    )


def difference(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The largest relative difference |a - b| / |b| between results that belong together.

    Example:
        >>> round(difference([torch.tensor([1.01])], [torch.tensor([1.0])]), 3)
        0.01
    """
    if [x.shape for x in ours] != [x.shape for x in theirs]:
        raise ValueError(
            f"results have different shapes: {[*map(_shape, ours)]} against {[*map(_shape, theirs)]}"
        )
    pairs = [(a.detach().double(), b.detach().double()) for a, b in zip(ours, theirs, strict=True)]
    # An exact zero on both sides agrees; the clamp keeps it from being 0 / 0.
    return max(float((a - b).norm() / b.norm().clamp_min(1e-30)) for a, b in pairs)


def _shape(tensor: Tensor) -> tuple[int, ...]:
    return tuple(tensor.shape)


def check_agreement(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str) -> float:
    """The difference, when it is small enough for the dtype.

    Raises:
        RuntimeError: the candidates do not compute the same thing.
    """
    found, allowed = difference(ours, theirs), AGREEMENT[ours[0].dtype]
    if not found <= allowed:
        raise RuntimeError(f"{what}: the results differ by {found:.2g}, {allowed:.2g} is allowed; not timed")
    return found


def check_same_scale(ours: Sequence[Tensor], theirs: Sequence[Tensor], what: str) -> None:
    """That results of different random numbers are as large as each other, within `SAME_SCALE`.

    Raises:
        RuntimeError: the candidates do not leave the same to chance.
    """
    for a, b in zip(ours, theirs, strict=True):
        sizes = a.detach().double().norm().item(), b.detach().double().norm().item()
        if a.shape != b.shape or not abs(sizes[0] - sizes[1]) <= SAME_SCALE * sizes[1]:
            raise RuntimeError(
                f"{what}: norms of results are {sizes[0]:.4g} and {sizes[1]:.4g} for shapes {_shape(a)} and "
                f"{_shape(b)}, which chance does not explain; not timed"
            )


@functools.cache
def fma_peak(dtype: torch.dtype, threads: int) -> float:
    """The best of three measurements of the processor's multiply-add rate, in operations a second.

    A multiply-add counts as two. Measured once in a run, with the widest instructions the kernels may use.
    """
    return max(_native.cpu.fma_peak(DTYPE_CODES[dtype], threads) for _ in range(3))


def geometric_mean(values: Sequence[float]) -> float:
    """The mean that ratios call for: 2x and 0.5x make 1x.

    Example:
        >>> geometric_mean([2.0, 0.5])
        1.0
    """
    return statistics.geometric_mean(values)
