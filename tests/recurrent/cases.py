"""Calls that together take every compiled kernel through every size, and the accuracy asked of each."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pyrnn import _native, reference
from pyrnn.ops import recurrent
from pyrnn.ops.recurrent import cpu
from pyrnn.reference import RecurrentOutput
from pyrnn.reference.recurrent import GATES
from tests.helpers import CELLS, Layer, assert_as_accurate, gradients, make_layer, torch_recurrent

#: One kernel is compiled for each of these.
KERNELS = tuple(
    (isa, cell, dtype)
    for isa in _native.isas()
    for cell in CELLS
    for dtype in (torch.float32, torch.bfloat16, torch.float64)
)

#: The largest of a few errors is a matter of luck: tensors with fewer numbers are judged together, each
#: scaled to a largest number of about one (by a power of two, which rounds nothing).
SMALL = 64

# Around the widths of vectors (2 to 16), panels (4 to 32), row tiles (3 to 8), blocks (64) and segments (256,
# 512 tokens).
VALUES = {
    "T": (1, 2, 9, 17),
    "B": (1, 7, 8, 9, 33),
    "I": (1, 15, 16, 17, 31, 33, 48, 65, 130),
    "H": (1, 15, 16, 17, 31, 33, 48, 65, 130),
    "P": (None, 1, 16, 33),  # LSTM only
    "D": (1, 2),
    "bias": (True, False),
    "states": (True, False),
    "batch_first": (True, False),
    "shortest": (None, 0, 1),  # the least length; None: no lengths
    "checkpoint_every": (0, 0, 1, 4, 100),
    "threads": (1, 2),
    "group_size": (0, 1, 2),
    "resets": (False, False, True),
}


@dataclass(frozen=True)
class Case:
    """One call of one kernel; the fields are those of `VALUES`."""

    isa: str
    cell: str
    dtype: torch.dtype
    T: int
    B: int
    I: int  # noqa: E741
    H: int
    P: int | None
    D: int
    bias: bool
    states: bool
    batch_first: bool
    shortest: int | None
    checkpoint_every: int
    threads: int
    group_size: int
    resets: bool

    def layer(self) -> Layer:
        """Random numbers, rounded to the case's dtype."""
        layer = make_layer(
            self.cell,
            T=self.T,
            B=self.B,
            I=self.I,
            H=self.H,
            P=self.P,
            D=self.D,
            bias=self.bias or self.cell == "rnn_relu",
            states=self.states,
            batch_first=self.batch_first,
        )
        # Sums of order one: with saturated gates the error is the luck of few numbers near the edge.
        groups = [(w_ih * min(1.0, (self.H / self.I) ** 0.5), *rest) for w_ih, *rest in layer.weights]
        layer = replace(layer, weights=tuple(groups))
        return (away_from_the_kink(layer) if self.cell == "rnn_relu" else layer).to(self.dtype)

    def lengths(self) -> Tensor | None:
        """In no order, the least and the greatest possible among them."""
        if self.shortest is None:
            return None
        lengths = torch.randint(self.shortest, self.T + 1, (self.B,))
        lengths[self.B // 2] = self.shortest
        lengths[-1] = self.T
        return lengths

    def reset(self) -> Tensor | None:
        """A third of the steps, the first ones among them."""
        if not self.resets:
            return None
        shape = (self.B, self.T) if self.batch_first else (self.T, self.B)
        return (torch.arange(self.T * self.B) % 3 == 0).view(shape)


def cases(isa: str, cell: str, dtype: torch.dtype) -> Iterator[Case]:
    """As many calls as the longest list of `VALUES` is long: every value occurs, in random company."""
    shuffled = random.Random(f"{isa} {cell} {dtype}")  # always the same cases
    rows = max(map(len, VALUES.values()))
    columns = {}
    for name, values in VALUES.items():
        column = [values[row % len(values)] for row in range(rows)]
        shuffled.shuffle(column)
        columns[name] = column if name != "P" or cell == "lstm" else [None] * rows
    for row in range(rows):
        yield Case(isa, cell, dtype, **{name: column[row] for name, column in columns.items()})


@contextmanager
def split(threads: int, group_size: int = 0) -> Generator[None, None, None]:
    """Run on `threads` threads in groups of `group_size` (0: the heuristic decides)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    cpu.forced_group_size = group_size
    try:
        yield
    finally:
        torch.set_num_threads(before)
        cpu.forced_group_size = 0


def check(case: Case) -> None:
    """The case's layer by the CPU kernels."""
    with split(case.threads, case.group_size):
        check_layer(
            case.layer(),
            lengths=case.lengths(),
            reset=case.reset(),
            batch_first=case.batch_first,
            checkpoint_every=case.checkpoint_every,
        )


def check_layer(
    layer: Layer, *, device: str = "cpu", checkpoint_every: int = 0, return_cells: bool = False, **common: Any
) -> None:
    """Results and gradients on `device` against the float64 reference, beside torch's at the same dtype.

    `common` are the options of `recurrent` that all understand: lengths, reset, batch_first, batch_sizes.
    """
    ours, exact, reset = layer.on(device), layer.to(torch.float64, requires_grad=True), common.get("reset")
    options = common if reset is None else {**common, "reset": reset.to(device)}
    out = ours.run(recurrent, checkpoint_every=checkpoint_every, return_cells=return_cells, **options)
    mine = _all_results(ours, out)
    right = _all_results(exact, exact.run(reference.recurrent, return_cells=return_cells, **common))
    names = ["output", "h_n", "c_n", "cells", *(f"gradient of shape {list(t.shape)}" for t in ours.leaves)]
    if layer.input.dtype is torch.float64:
        for name, number, true in zip(names, mine, right, strict=True):
            error, largest = (t.abs().max().item() if t.numel() else 0.0 for t in (number - true, true))
            assert error <= 1e-13 * largest, f"{name}: error {error:.3g}, largest number {largest:.3g}"
        return
    theirs, lengths = layer.trained(), common.get("lengths")
    # torch.nn refuses sequences without a step, and projections that do not make the output smaller; cell
    # states, resets, and rows of packed data without their lengths, are not what it speaks of.
    H, P = layer.weights[0][0].shape[0] // GATES[layer.cell], layer.weights[0][1].shape[1]
    refused = (lengths is not None and not lengths.all()) or (layer.weights[0][4] is not None and P >= H)
    if refused or return_cells or reset is not None or "batch_sizes" in common:
        out = theirs.run(reference.recurrent, return_cells=return_cells, **common)
    else:
        common.pop("reset", None)
        out = torch_recurrent(theirs, **common)
    _assert_as_accurate(mine, _all_results(theirs, out), right, names=names)


def _assert_as_accurate(*results: tuple[Tensor, ...], names: list[str]) -> None:
    """Large tensors one by one, small ones together; `results` are the kernel's, torch's and the oracle's."""
    right = results[-1]
    small = [n for n, true in enumerate(right) if 0 < true.numel() < SMALL]
    large = [n for n in range(len(right)) if n not in small]
    ours, theirs, exact = ([each[n] for n in large] for each in results)
    assert_as_accurate(ours, theirs, exact, names=[names[n] for n in large])
    if small:
        scales = [2.0 ** -right[n].abs().max().clamp_min(1e-30).log2().ceil().item() for n in small]
        ours, theirs, exact = (
            [torch.cat([each[n].flatten() * scale for n, scale in zip(small, scales, strict=True)])]
            for each in results
        )
        assert_as_accurate(ours, theirs, exact, names=["small tensors, scaled"])


def _all_results(layer: Layer, out: RecurrentOutput) -> tuple[Tensor, ...]:
    """Results, then gradients of all leaves, on the CPU."""
    grads = gradients(layer, out)
    assert not any(grad is None for grad in grads)
    return tuple(t.cpu() for t in (*out, *grads) if t is not None)


def same_bits(ours: tuple[Any, ...], others: tuple[Any, ...]) -> bool:
    """Whether all tensors of two results are equal, NaN where NaN."""
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(ours, others, strict=True))


def away_from_the_kink(layer: Layer) -> Layer:
    """Biases of +1 and -1, and little else: rounding a sum across 0 would change relu's derivative by 1."""

    def group(w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, _: None) -> tuple[Tensor | None, ...]:
        signs = torch.where(torch.arange(len(b_ih)) % 3 == 0, -1.0, 1.0).to(b_ih)
        return 0.1 * w_ih, 0.1 * w_hh, signs, 0.1 * b_hh, None

    h0 = None if layer.h0 is None else layer.h0 / 4
    return replace(layer, h0=h0, weights=tuple(group(*weights) for weights in layer.weights))
