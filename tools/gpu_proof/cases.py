"""The cases of the GPU benchmark, the most telling ones first: the stage stops when its time is spent."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from pyrnn.bench.comparison import MODES
from pyrnn.bench.recurrent import Case

DTYPES = ("bfloat16", "float16", "float32")

#: (T, B, H), I = H.
GOAL_SHAPES = (
    (512, 32, 512),
    (512, 64, 1024),
    (512, 8, 256),
    (512, 1, 1024),
    (512, 64, 256),
    (128, 16, 512),
    (512, 1, 256),
    (2048, 64, 512),
)
CENTRE = (512, 32, 512)
SWEEP = {"H": (128, 1024, 256, 2048), "B": (1, 256, 8, 128), "T": (128, 2048)}
ENGINES_SHAPE = (512, 32, 256)
ENGINES = ("cluster", "persistent", "streamed", "step")
VARIANTS = ("lengths", "bidirectional", "two-layer", "bidirectional-two-layer")

TWO = "bidirectional-two-layer"


@dataclass(frozen=True)
class GpuCase(Case):
    """A case, whether float32 may become TF32 on the way, and the engine of our kernels where it is forced.

    Arithmetic "exact": neither side may use TF32. "default": both do what torch's settings say, by which
    cuDNN may and torch's matrix products may not.
    """

    arithmetic: str = "exact"
    engine: str = ""  # the heuristic's

    def __str__(self) -> str:
        """For progress and errors."""
        arithmetic = " torch's default arithmetic" if self.arithmetic == "default" else ""
        return super().__str__() + arithmetic + (f" {self.engine} engine" if self.engine else "")

    @classmethod
    def of(cls, row: dict[str, Any]) -> GpuCase:
        """The case of a recorded row."""
        return cls(**{field.name: row[field.name] for field in fields(cls)})


def _plain(cell: str, dtype: str, mode: str, shape: Sequence[int], variant: str = "plain") -> GpuCase:
    T, B, H = shape
    return GpuCase(cell, dtype, mode, variant, T, B, H, H)


def _goal_queues() -> list[Iterator[GpuCase]]:
    """For each goal its cases, the most telling first."""
    halves, both = ("bfloat16", "float16"), ("bfloat16", "float32")

    def queue(cells: Sequence[str], dtypes: Sequence[str], variant: str = "plain") -> Iterator[GpuCase]:
        for shape, mode in itertools.product(GOAL_SHAPES, MODES):
            for dtype, cell in itertools.product(dtypes, cells):
                yield _plain(cell, dtype, mode, shape, variant)

    return [
        queue(["gru"], halves),
        queue(["lstm"], both),
        queue(["gru"], ["float32"]),
        (case for case in queue(["lstm"], ["float16"]) if case.B % 8 == 0),
        (case for case in queue(["gru", "lstm"], both, TWO) if case.T <= 512),
        (case for case in queue(["gru", "lstm"], ["bfloat16"]) if case.H == 1024 and case.mode == "infer"),
    ]


def _engines() -> Iterator[GpuCase]:
    """Every engine in turn where each of them fits."""
    for cell, mode, engine in itertools.product(("gru", "lstm"), MODES, ENGINES):
        yield replace(_plain(cell, "bfloat16", mode, ENGINES_SHAPE), engine=engine)


def _sweep() -> Iterator[GpuCase]:
    """One size at a time away from the centre, for every cell, dtype and mode; then TF32."""
    axes = ("T", "B", "H")
    shapes = [CENTRE]
    for axis, values in SWEEP.items():
        place = axes.index(axis)
        shapes += [(*CENTRE[:place], value, *CENTRE[place + 1 :]) for value in values]
    points = [(shape, "plain") for shape in shapes] + [(CENTRE, variant) for variant in VARIANTS]
    for (shape, variant), dtype, cell, mode in itertools.product(
        points, DTYPES, ("gru", "lstm", "rnn"), MODES
    ):
        yield _plain(cell, dtype, mode, shape, variant)
    for (T, B, H), cell, mode in itertools.product(GOAL_SHAPES[:4], ("gru", "lstm"), MODES):
        yield GpuCase(cell, "float32", mode, "plain", T, B, H, H, arithmetic="default")


def in_turn(queues: Iterable[Iterator[GpuCase]]) -> Iterator[GpuCase]:
    """One of each queue, then the next of each, until all are empty."""
    for round_of in itertools.zip_longest(*queues):
        yield from (case for case in round_of if case is not None)


def cases() -> list[GpuCase]:
    """All, each once, in the order in which they run."""
    return list(dict.fromkeys(itertools.chain(in_turn(_goal_queues()), _engines(), _sweep())))
