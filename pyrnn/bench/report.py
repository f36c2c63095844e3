"""Shows rows of a benchmark against another package: a table for the terminal and Markdown for a page."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pyrnn.bench.harness import geometric_mean
from pyrnn.bench.quiet import TOLERATED
from pyrnn.bench.record import Row

MODE_NAMES = {"infer": "inference", "train": "training"}


def _no_remark(_rows: Sequence[Row]) -> str:
    """What a benchmark says below its summary that has nothing to add."""
    return ""


@dataclass(frozen=True)
class Layout:
    """How the rows of one benchmark are told apart and shown."""

    name: str  # of the benchmark, its results files and its block in a page
    across: str  # the field whose values stand side by side, for instance the cell
    names: Mapping[str, str]  # those values, and how they are printed
    shape: tuple[str, ...]  # the fields that give the sizes of a case
    torch: str = "torch.nn"  # what the time of pyrnn is compared with
    contender: str = "torch"  # its name in rows and in the terminal
    variants: Mapping[str, str] = field(default_factory=dict)  # those printed under another name
    note: str = ""  # on how to read the tables
    remark: Callable[[Sequence[Row]], str] = _no_remark  # what else the summary says of the rows

    @property
    def key(self) -> tuple[str, ...]:
        """What tells one case from another in a file of rows."""
        return (self.across, "dtype", "mode", "variant", *self.shape, "threads", "isa")

    def case_name(self, row: Row) -> str:
        """The shape, and what is special about the case."""
        shape = " ".join(str(row[name]) for name in self.shape)
        return shape if row["variant"] == "plain" else f"{shape} {self.variant_name(row)}"

    def variant_name(self, row: Row) -> str:
        """What is special about the case, for a reader."""
        return self.variants.get(row["variant"], row["variant"])

    def columns(self, rows: Iterable[Row]) -> list[tuple[str, str]]:
        """The pairs of `across` and mode that the rows have, in the order of their names."""
        found = {(row[self.across], row["mode"]) for row in rows}
        return [column for column in ((a, m) for a in self.names for m in MODE_NAMES) if column in found]

    def column_of(self, row: Row) -> tuple[str, str]:
        """Where the row stands."""
        return row[self.across], row["mode"]

    def headings(self, columns: Iterable[tuple[str, str]]) -> list[str]:
        """The columns as a reader sees them."""
        return [f"{self.names[across]} {MODE_NAMES[mode]}" for across, mode in columns]


def print_table(rows: Sequence[Row], layout: Layout) -> None:
    """One line per row, then the geometric mean of the ratios of each group."""
    table = Table(layout.across, "dtype", "mode", "case", title=machine(rows[0]))
    for heading in (
        "pyrnn ms",
        "p20-p80",
        f"{layout.contender} ms",
        "p20-p80",
        "GF/s",
        "of peak",
        "ratio",
        "p20-p80",
        "background_load",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        ours, theirs, ratios = row["pyrnn_s"], row[f"{layout.contender}_s"], row["ratio_spread"]
        table.add_row(
            *(row[layout.across], row["dtype"], row["mode"], layout.case_name(row)),
            *(_ms(ours["median"]), f"{_ms(ours['p20'])}-{_ms(ours['p80'])}"),
            *(_ms(theirs["median"]), f"{_ms(theirs['p20'])}-{_ms(theirs['p80'])}"),
            *(f"{row['gflops']:.0f}", f"{row['share_of_peak']:.0%}"),
            *(
                f"{row['ratio']:.2f}",
                f"{ratios['p20']:.2f}-{ratios['p80']:.2f}",
                _share(row["background_load"]),
            ),
        )
    groups = (layout.across, "dtype", "mode", "variant")
    means = Table(*groups, title="geometric means")
    for heading in ("rows", "ratio", "smallest"):
        means.add_column(heading, justify="right")
    for key, group in grouped(rows, lambda row: tuple(row[name] for name in groups)):
        ratios = [row["ratio"] for row in group]
        means.add_row(*key, str(len(group)), f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}")
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table, means)
    if told := _memory(rows, layout):
        console.print(told)


def machine(row: Row) -> str:
    """One line on where a row was measured."""
    return (
        f"{row['vendor']} {row['processor']}, {row['threads']} threads, {row['isa']}; "
        f"torch {row['torch']} (BLAS {row['torch_blas']}), pyrnn {row['pyrnn']} {row['commit']}, "
        f"{row['date'][:10]}"
    )


def grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    """Rows by key, keys in the order in which they first come."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.items())


def _share(others: float | None) -> str:
    return "?" if others is None else f"{others:.0%}"


def disturbed(rows: Iterable[Row]) -> list[Row]:
    """Rows measured while other processes took a noticeable part of the cores: not fit to be published."""
    return [row for row in rows if row["background_load"] is not None and row["background_load"] > TOLERATED]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


# ---- Markdown ------------------------------------------------------------------------------------


def markdown(rows: Sequence[Row], layout: Layout) -> str:
    """A table for each dtype: cases down, columns across, geometric means below each kind of case."""
    parts = [f"{_sentence(rows, layout)}\n"]
    for dtype, of_dtype in grouped(rows, lambda row: row["dtype"]):
        columns = layout.columns(of_dtype)
        headings = layout.headings(columns)
        peak = max(row["peak_gflops"] for row in of_dtype)
        parts += [
            f"**{dtype}** (multiply-add peak of the run: {peak:.0f} GF/s)\n",
            table_line([" ".join(layout.shape), *headings]),
            table_line(["---", *("---:" for _ in headings)]),
        ]
        for variant, of_variant in grouped(of_dtype, layout.variant_name):
            for name, of_case in grouped(of_variant, layout.case_name):
                found = {layout.column_of(row): row for row in of_case}
                parts.append(table_line([name, *(_cell(found.get(column)) for column in columns)]))
            shown = [
                f"**{geometric_mean(r):.2f}x**" if r else "" for r in _ratios(of_variant, layout, columns)
            ]
            parts.append(table_line([f"**geometric mean, {variant}**", *shown]))
        parts.append("")
    if told := _memory(rows, layout):
        parts += [told, ""]
    return "\n".join(parts)


def summary(rows: Sequence[Row], layout: Layout, details: str) -> str:
    """One line for each dtype and kind of case: geometric mean and, in brackets, the smallest ratio."""
    columns = layout.columns(rows)
    lines = [
        (
            f"Time of {layout.torch} / time of pyrnn in the same run: geometric mean over the shapes, in "
            f"brackets the smallest.\n{_where(rows, layout)}\nEvery shape, with GF/s and share of the peak: "
            f"[{details}]({details}).\n"
        ),
        table_line(["", *layout.headings(columns)]),
        table_line(["---", *("---:" for _ in columns)]),
    ]
    for (dtype, variant), group in grouped(rows, lambda row: (row["dtype"], layout.variant_name(row))):
        ratios = _ratios(group, layout, columns)
        shown = [f"**{geometric_mean(r):.2f}x** ({min(r):.2f})" if r else "" for r in ratios]
        lines.append(table_line([f"{dtype}, {variant}", *shown]))
    for remark in (layout.remark(rows), _memory(rows, layout)):
        lines += ["", remark] if remark else []
    return "\n".join(lines)


def _memory(rows: Iterable[Row], layout: Layout) -> str:
    """Of benchmarks that measure it: how the sides differ in the memory of tensors, for each kind of case."""
    measured = [row for row in rows if "pyrnn_bytes" in row]
    names = (layout.contender, "pyrnn")
    shown: list[str] = []
    for kind, group in grouped(
        measured, lambda row: (row["dtype"], layout.names[row[layout.across]], layout.variant_name(row))
    ):
        theirs, ours = ([row[f"{name}_bytes"] for row in group] for name in names)
        mean = geometric_mean([a / b for a, b in zip(theirs, ours, strict=True)])
        shown.append(f"{' '.join(kind)} {mean:.2f}x ({max(theirs) / 1e6:.3g} / {max(ours) / 1e6:.3g})")
    if not shown:
        return ""
    return (
        f"Memory of tensors at the peak, {' / '.join(names)}, without what kernels take for themselves: "
        f"geometric mean, in brackets the largest in MB: {', '.join(shown)}."
    )


def _ratios(rows: Sequence[Row], layout: Layout, columns: Iterable[tuple[str, str]]) -> list[list[float]]:
    """The ratios of each column."""
    return [[row["ratio"] for row in rows if layout.column_of(row) == column] for column in columns]


def _sentence(rows: Sequence[Row], layout: Layout) -> str:
    """How to read the table."""
    return (
        f"Each entry: time of {layout.torch} / time of pyrnn in the same run (above 1x pyrnn is faster), its "
        f"GF/s, and its share of the multiply-add peak. {_where(rows, layout)}{_warning(rows)}"
    )


def _where(rows: Sequence[Row], layout: Layout) -> str:
    """The benchmark's note, and the machines of the rows."""
    places = "; ".join(dict.fromkeys(machine(row) for row in rows))
    return f"{layout.note} Measured on {places}.".lstrip()


def _warning(rows: Sequence[Row]) -> str:
    busy = len(disturbed(rows))
    return (
        f" **{busy} of {len(rows)} rows were measured on a busy machine: not to be relied on.**"
        if busy
        else ""
    )


def table_line(entries: Sequence[str]) -> str:
    """One line of a Markdown table.

    Example:
        >>> table_line(["LSTM", "1.50x"])
        '| LSTM | 1.50x |'
    """
    return f"| {' | '.join(entries)} |"


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row['ratio']:.2f}x, {row['gflops']:.0f}, {row['share_of_peak']:.0%}"


def publish(rows: Sequence[Row], layout: Layout, details: Path, page: Path) -> None:
    """Put the summary of `rows` into the page's block for the benchmark, with a link to `details`.

    A page may have a block for each instruction set, `bench:NAME:SET`.

    Raises:
        ValueError: some rows were measured on a busy machine, or the page has no such block.
    """
    if busy := disturbed(rows):
        names = ", ".join(
            f"{row[layout.across]} {row['dtype']} {row['mode']} {layout.case_name(row)}" for row in busy[:5]
        )
        raise ValueError(
            f"{len(busy)} of {len(rows)} rows were measured while other processes used more than "
            f"{TOLERATED:.0%} of the cores ({names}); measure them again on a quiet machine"
        )
    link = Path(os.path.relpath(details, page.parent)).as_posix()
    own = f"{layout.name}:{rows[0]['isa']}"
    has_own = f"<!-- bench:{own} -->" in page.read_text(encoding="utf-8")
    put_in_readme(own if has_own else layout.name, summary(rows, layout, link), page)


def put_in_readme(name: str, text: str, readme: Path) -> None:
    """Replace what stands between `<!-- bench:NAME -->` and `<!-- /bench -->`.

    Raises:
        ValueError: the markers are not there.
    """
    start, end = f"<!-- bench:{name} -->", "<!-- /bench -->"
    before, opened, rest = readme.read_text(encoding="utf-8").partition(start)
    _, closed, after = rest.partition(end)
    if not (opened and closed):
        raise ValueError(f"{readme} has no block {start} ... {end} to put the table in")
    readme.write_text(f"{before}{start}\n\n{text.strip()}\n\n{end}{after}", encoding="utf-8")
