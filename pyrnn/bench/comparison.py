"""A benchmark of this package against another: cases, command line, one row a case, record and report.

`recurrent.py`, `attention.py`, `decoder.py`, `seq2seq.py`, `transformer.py`, `overhead.py`, `generation.py`,
`ctranslate2.py` and `loss.py` say what the cases are and what the two sides do; all else is here.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from rich.progress import track
from typing_extensions import Self

from pyrnn import _native
from pyrnn.bench import record, report
from pyrnn.bench.arguments import seconds, whole
from pyrnn.bench.harness import PairedTiming, check_agreement, check_same_scale, fma_peak, paired_timing
from pyrnn.bench.memory import peak_bytes
from pyrnn.bench.quiet import TOLERATED, Watch
from pyrnn.bench.step import Step

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float64": torch.float64}
MODES = ("infer", "train")

#: A row is timed so often at most, while other processes take much of the machine.
ATTEMPTS = 3
AnyCase = TypeVar("AnyCase", bound="Case")


class Case(Protocol):
    """One line of a benchmark: a dataclass that begins with the field across, dtype, mode and variant."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def dtype(self) -> str:
        """A name of `DTYPES`."""
        ...

    @property
    def variant(self) -> str:
        """What is special; "plain": nothing, "dropout": nothing but dropout."""
        ...

    def deterministic(self) -> Self:
        """The case whose results must agree: without dropout, and without steps in a derivative.

        Where a ReLU's input is within rounding of zero, its derivative may be that of either side.
        """
        ...

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        ...

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields: at least "includes"."""
        ...


def _peak_of(side: Step) -> int:
    """Bytes of tensors at the peak of a step."""
    candidate = side.candidate()
    candidate.prepare()
    return peak_bytes(candidate.run)


def _meaningful(_case: object) -> bool:
    """Every combination of the choices is a case."""
    return True


@dataclass(frozen=True)
class Benchmark(Generic[AnyCase]):
    """Everything that one benchmark consists of."""

    layout: report.Layout
    about: str | None  # for --help
    make_case: Callable[..., AnyCase]  # the field across, dtype, mode, variant, *sizes
    sides: Callable[[AnyCase], tuple[Step, Step]]  # ours and theirs, on equal inputs and parameters
    shapes: Mapping[str, Collection[tuple[int, ...]]]  # of each variant
    quick: Collection[tuple[int, ...]]  # those of --shapes quick
    page: Path  # has the block for the summary
    meaningful: Callable[[AnyCase], bool] = _meaningful  # whether the combination is measured
    threads: int | None = None  # unless the command line says others; None: torch's
    processor_time: bool = False  # whether that is measured too, which other processes disturb less
    memory: bool = False  # whether the peak of tensors' memory is measured too, after the timing

    def arguments(self, argv: list[str] | None) -> argparse.Namespace:
        """The command line."""
        parser = argparse.ArgumentParser(prog=f"bench {self.layout.name}", description=self.about)
        choose: dict[str, Any] = {"nargs": "+", "metavar": "NAME"}
        names = self.layout.names
        parser.add_argument(
            f"--{self.layout.across}", dest="across", choices=names, default=[*names], **choose
        )
        parser.add_argument("--dtype", choices=DTYPES, default=["float32", "bfloat16"], **choose)
        parser.add_argument("--mode", choices=MODES, default=[*MODES], **choose)
        parser.add_argument("--variant", choices=self.shapes, default=[*self.shapes], **choose)
        parser.add_argument("--shapes", choices=("all", "quick"), default="all")
        parser.add_argument("--seconds", type=seconds, default=2.0, help="time for each row (default 2)")
        parser.add_argument(
            "--repeats", type=whole(2), default=200, help="at most so many rounds a row (default 200)"
        )
        threads = whole(1, _native.MOST_THREADS)
        parser.add_argument(
            "--threads", type=threads, default=self.threads or _native.num_threads(), help="for both sides"
        )
        parser.add_argument("--no-record", action="store_true", help="print only; leave bench/results alone")
        parser.add_argument(
            "--readme",
            action="store_true",
            help=f"put the table of today's record into {self.page.relative_to(record.ROOT)}",
        )
        return parser.parse_args(argv)

    def cases(self, options: argparse.Namespace) -> Iterator[AnyCase]:
        """The cases that the command line selects, those of one table next to each other."""
        for dtype, variant in itertools.product(options.dtype, options.variant):
            for shape in self.shapes[variant]:
                if options.shapes == "quick" and shape not in self.quick:
                    continue
                for across, mode in itertools.product(options.across, options.mode):
                    case = self.make_case(across, dtype, mode, variant, *shape)
                    if self.meaningful(case):
                        yield case

    def measure(self, case: AnyCase, *, seconds: float, repeats: int) -> record.Row:
        """One row: agreement first, then the alternated timing.

        Where the case leaves something to chance, its deterministic form must agree, and then the norms
        of its own results.
        """
        deterministic = case.deterministic()
        ours, theirs = self._tried(deterministic)
        agreement = check_agreement(ours.compared(), theirs.compared(), str(deterministic))
        if deterministic != case:
            ours, theirs = self._tried(case)
            check_same_scale(ours.compared(), theirs.compared(), str(case))
        contender = self.layout.contender
        attempts = []
        for _ in range(ATTEMPTS):
            watch = Watch()
            timed = self._timed(ours, theirs, seconds=seconds, repeats=repeats)
            load = watch.background_load()
            attempts.append((load, *timed))
            if load is None or load <= TOLERATED:
                break
        load, result, extra = min(attempts, key=lambda attempt: attempt[0] or 0.0)
        peak = fma_peak(DTYPES[case.dtype], torch.get_num_threads())
        rate = case.operations() / result.ours.median
        return {
            "benchmark": self.layout.name,
            **asdict(case),
            **case.facts(),
            "rounds": result.rounds,
            "pyrnn_s": asdict(result.ours),
            f"{contender}_s": asdict(result.theirs),
            "ratio": result.ratio,
            "ratio_spread": asdict(result.ratios),
            **extra,
            "gflops": rate / 1e9,
            f"{contender}_gflops": case.operations() / result.theirs.median / 1e9,
            "peak_gflops": peak / 1e9,
            "share_of_peak": rate / peak,
            "difference": agreement,
            "background_load": load,
        }

    def _timed(
        self, ours: Step, theirs: Step, *, seconds: float, repeats: int
    ) -> tuple[PairedTiming, record.Row]:
        """Both sides in alternation, and what else the row tells."""
        result = paired_timing(ours.candidate(), theirs.candidate(), seconds=seconds, max_rounds=repeats)
        extra: record.Row = {}
        if self.processor_time:
            both = ours.candidate(), theirs.candidate()
            of_processor = paired_timing(*both, seconds=seconds, max_rounds=repeats, clock=time.process_time)
            extra = {"cpu_ratio": of_processor.ratio, "cpu_ratio_spread": asdict(of_processor.ratios)}
        if self.memory:
            extra |= {
                f"{name}_bytes": _peak_of(side)
                for name, side in (("pyrnn", ours), (self.layout.contender, theirs))
            }
        return result, extra

    def _tried(self, case: AnyCase) -> tuple[Step, Step]:
        """Both sides after their first step."""
        sides = self.sides(case)
        for side in sides:
            side.candidate().timed()
        return sides

    def main(self, argv: list[str] | None = None) -> None:
        """Measure, record, print."""
        options = self.arguments(argv)
        torch.set_num_threads(options.threads)
        env = record.environment()
        path = record.results_file(self.layout.name, env)
        keep = record.IN_CHECKOUT and not options.no_record
        rows = []
        for case in track(list(self.cases(options)), description=self.layout.name):
            row = {**self.measure(case, seconds=options.seconds, repeats=options.repeats), **env}
            rows.append(row)
            if keep:
                record.append(path, row)
        if not rows:
            raise SystemExit("these choices leave no case: give more of them, or none for all")
        report.print_table(rows, self.layout)
        if not keep:
            return
        from pyrnn.bench import picture  # needs matplotlib, which measuring does not

        recorded = record.latest(record.read(path), self.layout.key)
        table = report.markdown(recorded, self.layout)
        path.with_suffix(".md").write_text(f"# {path.stem}\n\n{table}", encoding="utf-8")
        picture.draw(path.with_suffix(".png"), recorded, self.layout)
        if options.readme:
            report.publish(recorded, self.layout, path.with_suffix(".md"), self.page)
