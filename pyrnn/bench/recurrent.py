"""pyrnn.nn against torch.nn: RNN, GRU and LSTM, inference and training, over the shapes of real models.

Operations are counted as 2*T*B*G*H*(I + H) a layer and direction
for the forward pass and three times that with the backward pass; with lengths, real tokens replace T*B.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import pyrnn.nn
from pyrnn.bench import record, report
from pyrnn.bench.harness import Contender, check_agreement, duel, fma_peak
from pyrnn.bench.quiet import Watch

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
MODES = ("infer", "train")
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

#: What tells one case from another in a file of rows.
KEY = ("cell", "dtype", "mode", "variant", "T", "B", "I", "H", "threads", "isa")


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

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        inputs = [self.I] + [self.directions * self.H] * (self.layers - 1)
        forward = sum(
            2 * self.tokens() * GATES[self.cell] * self.H * (width + self.H) * self.directions
            for width in inputs
        )
        return forward if self.mode == "infer" else 3 * forward

    def __str__(self) -> str:
        """For progress and errors."""
        return f"{self.cell} {self.dtype} {self.mode} {self.variant} {self.T}x{self.B}x{self.I}x{self.H}"


Forward = Callable[[Tensor], tuple[Tensor, Any]]


class Runner:
    """Runs one layer, ours or torch's, the way the case asks, and keeps the last results for comparison.

    With several `inputs` each step takes the next one, so that a large cache does not hold what it reads.
    """

    def __init__(
        self, case: Case, layer: torch.nn.Module, forward: Forward, *, device: str = "cpu", inputs: int = 1
    ) -> None:
        self.layer, self.forward, self.trains = layer, forward, case.mode == "train"
        generator = torch.Generator(device).manual_seed(1)

        def random(width: int) -> Tensor:
            numbers = torch.randn(case.T, case.B, width, generator=generator, device=device)
            return numbers.to(case.torch_dtype)

        made = [random(case.I).requires_grad_(self.trains) for _ in range(inputs)]
        self.inputs, self.input = itertools.cycle(made), made[0]
        self.gradient = random(case.directions * case.H)
        self.results: list[Tensor] = []

    def drop_gradients(self) -> None:
        """Training starts each step without gradients, as after `zero_grad(set_to_none=True)`."""
        self.input.grad = None
        self.layer.zero_grad(set_to_none=True)

    def run(self) -> None:
        """One step."""
        self.input = next(self.inputs)
        with torch.set_grad_enabled(self.trains):
            output, state = self.forward(self.input)
            if self.trains:
                output.backward(self.gradient)
        self.results = [output, *(state if isinstance(state, tuple) else (state,))]

    def compared(self) -> list[Tensor]:
        """Results of the last step: output, final states, and the gradients when training."""
        gradients = [x.grad for x in (self.input, *self.layer.parameters()) if x.grad is not None]
        return self.results + gradients

    def contender(self) -> Contender:
        """For the harness."""
        return Contender(self.run, self.drop_gradients if self.trains else lambda: None)


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

    def packed(x: Tensor) -> tuple[Tensor, Any]:
        assert lengths is not None
        output, state = theirs(pack_padded_sequence(x, lengths, enforce_sorted=False))
        return pad_packed_sequence(output, total_length=case.T)[0], state

    forwards: tuple[Forward, Forward] = ours, theirs
    if lengths is not None:
        # Each side gets them where it wants them: torch packs by lengths on the CPU.
        there = lengths.to(device)
        forwards = (lambda x: ours(x, lengths=there)), packed
    return (
        Runner(case, ours, forwards[0], device=device, inputs=inputs),
        Runner(case, theirs, forwards[1], device=device, inputs=inputs),
    )


def measure(case: Case, *, seconds: float, repeats: int) -> record.Row:
    """One row: agreement first, then the alternated timing."""
    ours, theirs = runners(case)
    for runner in (ours, theirs):
        runner.contender().timed()
    agreement = check_agreement(ours.compared(), theirs.compared(), str(case))
    watch = Watch()
    result = duel(ours.contender(), theirs.contender(), seconds=seconds, max_rounds=repeats)
    peak = fma_peak(DTYPES[case.dtype], torch.get_num_threads())
    rate = case.operations() / result.ours.median
    return {
        "benchmark": "recurrent",
        **asdict(case),
        "tokens": case.tokens(),
        "includes": INCLUDES[case.mode],
        "rounds": result.rounds,
        "pyrnn_s": asdict(result.ours),
        "torch_s": asdict(result.theirs),
        "ratio": result.ratio,
        "ratio_spread": asdict(result.ratios),
        "gflops": rate / 1e9,
        "torch_gflops": case.operations() / result.theirs.median / 1e9,
        "peak_gflops": peak / 1e9,
        "share_of_peak": rate / peak,
        "difference": agreement,
        "others": watch.others(),
    }


def cases(options: argparse.Namespace) -> Iterator[Case]:
    """The cases that the command line selects, those of one table next to each other."""
    for dtype, variant in itertools.product(options.dtype, options.variant):
        for shape in VARIANT_SHAPES[variant]:
            if options.shapes == "quick" and shape not in QUICK_SHAPES:
                continue
            for cell, mode in itertools.product(options.cell, options.mode):
                yield Case(cell, dtype, mode, variant, *shape)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="bench recurrent", description=__doc__)
    choose: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
    parser.add_argument("--cell", choices=GATES, default=[*GATES], **choose)
    parser.add_argument("--dtype", choices=DTYPES, default=["float32", "bfloat16"], **choose)
    parser.add_argument("--mode", choices=MODES, default=[*MODES], **choose)
    parser.add_argument("--variant", choices=VARIANT_SHAPES, default=[*VARIANT_SHAPES], **choose)
    parser.add_argument("--shapes", choices=("all", "quick"), default="all")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each row (default 2)")
    parser.add_argument("--repeats", type=int, default=200, help="at most so many rounds a row (default 200)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="for both sides")
    parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
    parser.add_argument(
        "--readme", action="store_true", help="put the table of today's record into README.md"
    )
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    """Measure, record, print."""
    options = arguments(argv)
    torch.set_num_threads(options.threads)
    env = record.environment()
    path = record.results_file("recurrent", env)
    keep = record.IN_CHECKOUT and not options.no_record
    rows = []
    for case in track(list(cases(options)), description="recurrent"):
        row = {**measure(case, seconds=options.seconds, repeats=options.repeats), **env}
        rows.append(row)
        if keep:
            record.append(path, row)
    report.print_table(rows)
    if not keep:
        return
    from pyrnn.bench import picture  # needs matplotlib, which measuring does not

    recorded = record.latest(record.read(path), KEY)
    table = report.markdown(recorded)
    path.with_suffix(".md").write_text(f"# {path.stem}\n\n{table}", encoding="utf-8")
    picture.draw(path.with_suffix(".png"), recorded)
    if options.readme:
        report.publish("recurrent", recorded, path.with_suffix(".md"))


if __name__ == "__main__":
    main()
