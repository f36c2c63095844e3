"""Calls that together take every compiled kernel through every size, and the accuracy asked of each."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pyrnn import _native, reference
from pyrnn.ops import _cpu, recurrent
from pyrnn.reference import RecurrentOutput
from tests.helpers import CELLS, Layer, assert_as_accurate, gradients, make_layer, torch_recurrent

RESULTS = ("output", "h_n", "c_n", "cells")
GRADIENTS = ("input", "h0", "c0", *(f"weight {n}" for n in range(10)))

#: One kernel is compiled for each of these.
KERNELS = tuple(
    (isa, cell, dtype)
    for isa in _native.isas()
    for cell in CELLS
    for dtype in (torch.float32, torch.bfloat16, torch.float64)
)

# Around the widths of vectors (2 to 16), panels (4 to 32), row tiles (3 to 8), blocks (64) and chunks (256,
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
    "members": (0, 1, 2),
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
    members: int

    def layer(self) -> Layer:
        """Random numbers, rounded to the case's dtype."""
        layer = make_layer(
            self.cell,
            **{name: getattr(self, name) for name in ("T", "B", "I", "H", "P", "D", "states", "batch_first")},
            bias=self.bias or self.cell == "rnn_relu",
        )
        return (_away_from_the_kink(layer) if self.cell == "rnn_relu" else layer).to(self.dtype)

    def lengths(self) -> Tensor | None:
        """In no order, the least and the greatest possible among them."""
        if self.shortest is None:
            return None
        lengths = torch.randint(self.shortest, self.T + 1, (self.B,))
        lengths[self.B // 2] = self.shortest
        lengths[-1] = self.T
        return lengths


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
def split(threads: int, members: int = 0) -> Iterator[None]:
    """Run on `threads` threads, `members` of them on each team's units (0: the chooser decides)."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    _cpu.forced_members = members
    try:
        yield
    finally:
        torch.set_num_threads(before)
        _cpu.forced_members = 0


def check(case: Case) -> None:
    """Results and gradients against the float64 reference, in comparison with torch's at the same dtype."""
    ours, lengths = case.layer().trained(), case.lengths()
    theirs, exact = ours.trained(), ours.to(torch.float64, requires_grad=True)
    common = {"lengths": lengths, "batch_first": case.batch_first}
    with split(case.threads, case.members):
        out = ours.run(recurrent, checkpoint_every=case.checkpoint_every, **common)
        grads = gradients(ours, out)
    exact_out = exact.run(reference.recurrent, **common)
    exact_grads = gradients(exact, exact_out)
    if case.dtype is torch.float64:
        _assert_equal(out, exact_out)
        _assert_equal(grads, exact_grads)
        return
    # torch.nn refuses sequences without a step, and projections that do not make the output smaller.
    refused = case.shortest == 0 or (case.P or 0) >= case.H
    their_out = theirs.run(reference.recurrent, **common) if refused else torch_recurrent(theirs, **common)
    assert_as_accurate(out, their_out, exact_out, names=RESULTS)
    assert_as_accurate(grads, gradients(theirs, their_out), exact_grads, names=GRADIENTS)


def same_bits(ours: RecurrentOutput | tuple, others: RecurrentOutput | tuple) -> bool:
    """Whether all tensors of two results are equal, NaN where NaN."""
    return all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(ours, others, strict=True))


def _assert_equal(ours: tuple[Tensor | None, ...], exact: tuple[Tensor | None, ...]) -> None:
    """Equal but for the order of float64 sums."""
    for mine, theirs in zip(ours, exact, strict=True):
        assert mine is not None
        assert theirs is not None
        atol = 1e-13 * theirs.abs().max().item() if theirs.numel() else 0.0
        torch.testing.assert_close(mine, theirs, rtol=1e-11, atol=atol)


def _away_from_the_kink(layer: Layer) -> Layer:
    """Biases of +1 and -1, and little else: rounding a sum across 0 would change relu's derivative by 1."""

    def group(w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, _: None) -> tuple[Tensor | None, ...]:
        signs = torch.where(torch.arange(len(b_ih)) % 3 == 0, -1.0, 1.0).to(b_ih)
        width = (w_ih.shape[1] / w_ih.shape[0]) ** 0.5
        return 0.1 / width * w_ih, 0.1 * w_hh, signs, 0.1 * b_hh * len(b_hh) ** 0.5, None

    h0 = None if layer.h0 is None else layer.h0 / 4
    return replace(layer, h0=h0, weights=tuple(group(*weights) for weights in layer.weights))
