"""pyrnn.nn against torch.nn: RNN, GRU and LSTM, inference and training, over the shapes of real models.

Operations are counted as 2*T*B*G*H*(I + H) a layer and direction
for the forward pass and three times that with the backward pass; with lengths, real tokens replace T*B.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from typing_extensions import Self

import pyrnn.nn
from pyrnn._native_args import CELLS
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step

OPERATOR_CELLS = {"rnn": "rnn_tanh", "gru": "gru", "lstm": "lstm"}
GATES = {name: CELLS[cell].gates for name, cell in OPERATOR_CELLS.items()}
INCLUDES = {
    "infer": "forward without gradients; not: making the data",
    "train": "forward, backward with gradients of the input and all parameters; "
    "not: making the data, dropping old gradients",
}

#: (T, B, I, H)
SHAPES = (
    (64, 1, 128, 128),
    (64, 1, 256, 256),
    (64, 1, 512, 512),
    (64, 1, 1024, 1024),
    (64, 8, 256, 256),
    (64, 32, 128, 128),
    (64, 32, 256, 256),
    (64, 32, 512, 512),
    (64, 32, 1024, 1024),
    (35, 64, 650, 650),
    (256, 64, 512, 512),
    (128, 128, 256, 256),
    (1000, 4, 128, 128),
)
VARIANT_SHAPES = {
    "plain": SHAPES,
    "bidirectional": ((64, 8, 256, 256), (64, 32, 256, 256), (64, 32, 512, 512)),
    "two-layer": ((64, 8, 256, 256), (64, 32, 256, 256), (64, 32, 512, 512)),
    "lengths": ((64, 8, 256, 256), (64, 32, 256, 256), (64, 32, 512, 512), (256, 64, 512, 512)),
}
QUICK_SHAPES = {(64, 1, 256, 256), (64, 8, 256, 256), (64, 32, 256, 256)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    cell: str
    dtype: str
    mode: str
    variant: str
    T: int
    B: int
    I: int  # noqa: E741  the dimension key's letter
    H: int

    @property
    def layers(self) -> int:
        """Stacked layers."""
        return 2 if "two-layer" in self.variant else 1

    @property
    def directions(self) -> int:
        """2 for a bidirectional layer."""
        return 2 if "bidirectional" in self.variant else 1

    @property
    def torch_dtype(self) -> torch.dtype:
        """Of input and parameters."""
        return getattr(torch, self.dtype)

    def lengths(self) -> Tensor | None:
        """Uniform in [1, T], unsorted, and the same in every run."""
        if self.variant != "lengths":
            return None
        return torch.randint(1, self.T + 1, (self.B,), generator=torch.Generator().manual_seed(0))

    def tokens(self) -> int:
        """Sequence steps that have data."""
        lengths = self.lengths()
        return self.T * self.B if lengths is None else int(lengths.sum())

    def deterministic(self) -> Self:
        """The case itself: nothing is left to chance."""
        return self

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        inputs = [self.I] + [self.directions * self.H] * (self.layers - 1)
        forward = sum(
            2 * self.tokens() * GATES[self.cell] * self.H * (width + self.H) * self.directions
            for width in inputs
        )
        return forward if self.mode == "infer" else 3 * forward

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        return {"tokens": self.tokens(), "includes": INCLUDES[self.mode]}

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.cell} {self.dtype} {self.mode} {self.variant} {self.T}x{self.B}x{self.I}x{self.H}"


Forward = Callable[[Tensor], tuple[Tensor, Any]]


def flat(forward: Forward) -> Callable[[Tensor], list[Tensor]]:
    """`forward` with its output and states in one list."""

    def results(input: Tensor) -> list[Tensor]:
        output, state = forward(input)
        return [output, *(state if isinstance(state, tuple) else (state,))]

    return results


def torch_forward(case: Case, layer: torch.nn.Module) -> Forward:
    """How a layer of torch.nn is called: with lengths its input is packed, and the output padded again."""
    lengths = case.lengths()
    if lengths is None:
        return layer

    def packed(x: Tensor) -> tuple[Tensor, Any]:
        output, state = layer(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(output, total_length=case.T)[0], state

    return packed


class Runner(Step):
    """Runs one layer, ours or torch's, the way the case asks, on one or several `inputs`."""

    def __init__(
        self, case: Case, layer: torch.nn.Module, forward: Forward, *, device: str = "cpu", inputs: int = 1
    ) -> None:
        self.layer = layer
        generator = torch.Generator(device).manual_seed(1)
        trains = case.mode == "train"

        def random(width: int) -> Tensor:
            numbers = torch.randn(case.T, case.B, width, generator=generator, device=device)
            return numbers.to(case.torch_dtype)

        made = [(random(case.I).requires_grad_(trains),) for _ in range(inputs)]
        gradient = random(case.directions * case.H) if trains else None
        super().__init__(flat(forward), made, gradient=gradient, parameters=[*layer.parameters()])


def runners(case: Case, *, device: str = "cpu", inputs: int = 1) -> tuple[Runner, Runner]:
    """Our layer and torch's with the same parameters."""
    torch.manual_seed(0)
    name = case.cell.upper()
    lengths = case.lengths()
    options: dict[str, Any] = {
        "num_layers": case.layers,
        "bidirectional": case.directions == 2,
        "device": device,
        "dtype": case.torch_dtype,
    }
    theirs = getattr(torch.nn, name)(case.I, case.H, **options).train(case.mode == "train")
    ours = getattr(pyrnn.nn, name)(case.I, case.H, **options).train(case.mode == "train")
    ours.load_state_dict(theirs.state_dict())

    forward: Forward = ours
    if lengths is not None:
        there = lengths.to(device)  # torch packs by lengths on the CPU, our kernels want them on the device
        forward = lambda x: ours(x, lengths=there)  # noqa: E731
    return (
        Runner(case, ours, forward, device=device, inputs=inputs),
        Runner(case, theirs, torch_forward(case, theirs), device=device, inputs=inputs),
    )


def large_cases(rows: Sequence[record.Row]) -> str:
    """What torch itself reaches on large cases: the peak leaves no larger ratio there than its inverse."""
    large = [row for row in rows if row["variant"] == "plain" and row["B"] >= 32 and row["H"] >= 256]
    shares: list[str] = []
    for (dtype, cell), group in report.grouped(large, lambda row: (row["dtype"], row["cell"])):
        reached = [row["torch_gflops"] / row["peak_gflops"] for row in group]
        ours = [row["share_of_peak"] for row in group]
        shares.append(
            f"{dtype} {cell.upper()} {min(reached):.0%} to {max(reached):.0%} "
            f"(pyrnn {min(ours):.0%} to {max(ours):.0%})"
        )
    if not shares:
        return ""
    return (
        "At B >= 32 and H >= 256 torch's own layers reach of the multiply-add peak: "
        f"{', '.join(shares)}. No kernel can be faster there than the peak allows."
    )


LAYOUT = report.Layout(
    "recurrent",
    across="cell",
    names={cell: cell.upper() for cell in GATES},
    shape=("T", "B", "I", "H"),
    remark=large_cases,
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=runners,
    shapes=VARIANT_SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "README.md",
)

main = BENCHMARK.main

if __name__ == "__main__":
    main()
