"""Calls that together take every CUDA kernel through every size and option."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch

from pyrnn import _native
from tests.helpers import CELLS, Layer, make_layer
from tests.recurrent.cases import away_from_the_kink, check_layer

Result = TypeVar("Result")

ENGINES = ("cluster", "persistent", "step", "streamed")
DTYPES = (torch.float32, torch.bfloat16, torch.float64, torch.float16)
#: One kernel is compiled for each of these.
KERNELS = tuple((cell, dtype) for cell in CELLS for dtype in DTYPES)

# Around the rows of a tile (8) and of a slice, and the units of a block (16). Small, for an emulated GPU runs
# thread after thread.
VALUES = {
    "engine": ENGINES,
    "T": (1, 2, 5),
    "B": (1, 3, 9, 33),
    "H": (1, 5, 16, 17, 33),
    "P": (None, 1, 7, 20),  # LSTM only
    "D": (1, 2),
    "bias": (True, True, False),
    "states": (True, False),
    "layout": ("padded", "batch_first", "lengths", "batch_first lengths", "packed"),
    "return_cells": (True, False),
    "checkpoint_every": (0, 0, 1, 2, 100),
    "resets": (False, True),
}


@dataclass(frozen=True)
class Case:
    """One call; the fields are those of `VALUES`."""

    cell: str
    dtype: torch.dtype
    engine: str
    T: int
    B: int
    H: int
    P: int | None
    D: int
    bias: bool
    states: bool
    layout: str
    return_cells: bool
    checkpoint_every: int
    resets: bool

    def layer(self) -> Layer:
        """Random numbers, rounded to the case's dtype."""
        relu = self.cell == "rnn_relu"
        layer = make_layer(
            self.cell,
            T=self.T,
            B=self.B,
            I=3,
            H=self.H,
            P=self.P,
            D=self.D,
            bias=self.bias or relu,
            states=self.states or self.layout == "packed",
            batch_first=self.layout.startswith("batch_first"),
        )
        layer = away_from_the_kink(layer) if relu else layer
        if self.layout == "packed":
            sizes = self.options()["batch_sizes"]
            rows = torch.cat([step[:size] for step, size in zip(layer.input, sizes, strict=True)])
            layer = replace(layer, input=rows)
        return layer.to(self.dtype)

    def reset(self, input: torch.Tensor) -> torch.Tensor | None:
        """For an input of the case: a third of the steps, the first ones among them."""
        shape = input.shape[:-1]
        return (torch.arange(shape.numel()) % 3 == 0).view(shape) if self.resets else None

    def options(self) -> dict[str, Any]:
        """Options of the call that say how its input is laid out."""
        lengths = (torch.arange(self.B) * 3 + self.T) % (self.T + 1)  # all from 0 to T, in no order
        if self.layout == "packed":
            lengths = lengths.clamp_min(1)
            return {"batch_sizes": (lengths[:, None] > torch.arange(self.T)).sum(0)}
        options: dict[str, Any] = {"batch_first": self.layout.startswith("batch_first")}
        return {**options, "lengths": lengths} if "lengths" in self.layout else options


def cases(cell: str, dtype: torch.dtype) -> Iterator[Case]:
    """Ten calls: every value occurs, in random company."""
    shuffled = random.Random(f"{cell} {dtype}")  # always the same cases
    columns: dict[str, list[Any]] = {}
    rows = 10
    for name, values in VALUES.items():
        columns[name] = [values[row % len(values)] for row in range(rows)]
        shuffled.shuffle(columns[name])
    if cell != "lstm":
        columns["P"] = [None] * rows
    for row in range(rows):
        yield Case(cell, dtype, **{name: column[row] for name, column in columns.items()})


def check(case: Case, device: str) -> None:
    """Results and gradients against the float64 reference, in comparison with torch's at the same dtype."""
    layer = case.layer()
    check_layer(
        layer,
        device=device,
        reset=case.reset(layer.input),
        return_cells=case.return_cells,
        checkpoint_every=case.checkpoint_every,
        **case.options(),
    )


def on_cpu(call: Callable[[str], Result]) -> Result:
    """`call("cpu")` by the CPU's own kernels, also where CUDA is emulated."""
    emulated, _native.emulated_cuda = _native.emulated_cuda, None
    try:
        return call("cpu")
    finally:
        _native.emulated_cuda = emulated


def captured_in_a_graph(step: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """A CUDA graph of one step, and the results that each replay writes anew."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):  # what is made at a first call is made outside of the graph
        step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = step()
    return graph, results
