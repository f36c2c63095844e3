"""Shows rows of a benchmark against torch: a table for the terminal and Markdown for the README."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from pyrnn.bench.harness import geometric_mean
from pyrnn.bench.quiet import TOLERATED
from pyrnn.bench.record import ROOT, Row

MODE_NAMES = {"infer": "inference", "train": "training"}
SHAPE = ("T", "B", "I", "H")


def print_table(rows: Sequence[Row]) -> None:
    """One line per row, then the geometric mean of the ratios of each group."""
    table = Table("cell", "dtype", "mode", "case", title=machine(rows[0]))
    for heading in (
        "pyrnn ms",
        "p20-p80",
        "torch ms",
        "p20-p80",
        "GF/s",
        "of peak",
        "ratio",
        "p20-p80",
        "others",
    ):
        table.add_column(heading, justify="right")
    for row in rows:
        ours, theirs, ratios = row["pyrnn_s"], row["torch_s"], row["ratio_spread"]
        table.add_row(
            *(row["cell"], row["dtype"], row["mode"], case_name(row)),
            *(_ms(ours["median"]), f"{_ms(ours['p20'])}-{_ms(ours['p80'])}"),
            *(_ms(theirs["median"]), f"{_ms(theirs['p20'])}-{_ms(theirs['p80'])}"),
            *(f"{row['gflops']:.0f}", f"{row['share_of_peak']:.0%}"),
            *(f"{row['ratio']:.2f}", f"{ratios['p20']:.2f}-{ratios['p80']:.2f}", _share(row["others"])),
        )
    means = Table("cell", "dtype", "mode", "variant", title="geometric means")
    for heading in ("rows", "ratio", "smallest"):
        means.add_column(heading, justify="right")
    for key, group in grouped(rows, lambda row: (row["cell"], row["dtype"], row["mode"], row["variant"])):
        ratios = [row["ratio"] for row in group]
        means.add_row(*key, str(len(group)), f"{geometric_mean(ratios):.2f}", f"{min(ratios):.2f}")
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table, means)


def machine(row: Row) -> str:
    """One line on where a row was measured."""
    return (
        f"{row['vendor']} {row['processor']}, {row['threads']} threads, {row['isa']}; "
        f"torch {row['torch']} (BLAS {row['torch_blas']}), pyrnn {row['pyrnn']} {row['commit']}, "
        f"{row['date'][:10]}"
    )


def case_name(row: Row) -> str:
    """The shape, and what is special about the case."""
    shape = " ".join(str(row[name]) for name in SHAPE)
    return shape if row["variant"] == "plain" else f"{shape} {row['variant']}"


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
    return [row for row in rows if row["others"] is not None and row["others"] > TOLERATED]


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.3g}"


# ---- Markdown ------------------------------------------------------------------------------------


def markdown(rows: Sequence[Row]) -> str:
    """A table for each dtype: cases down, cells and modes across, geometric means below each kind of case."""
    parts = [f"{_sentence(rows)}\n"]
    for dtype, of_dtype in grouped(rows, lambda row: row["dtype"]):
        columns = sorted({(row["cell"], row["mode"]) for row in of_dtype}, key=_column_order)
        headings = [f"{cell.upper()} {MODE_NAMES[mode]}" for cell, mode in columns]
        peak = max(row["peak_gflops"] for row in of_dtype)
        parts += [
            f"**{dtype}** (multiply-add peak of the run: {peak:.0f} GF/s)\n",
            table_line([f"{' '.join(SHAPE)}", *headings]),
            table_line(["---", *("---:" for _ in headings)]),
        ]
        for variant, of_variant in grouped(of_dtype, lambda row: row["variant"]):
            for name, of_case in grouped(of_variant, case_name):
                found = {(row["cell"], row["mode"]): row for row in of_case}
                parts.append(table_line([name, *(_cell(found.get(column)) for column in columns)]))
            means = [
                [row["ratio"] for row in of_variant if (row["cell"], row["mode"]) == column]
                for column in columns
            ]
            shown = [f"**{geometric_mean(ratios):.2f}x**" if ratios else "" for ratios in means]
            parts.append(table_line([f"**geometric mean, {variant}**", *shown]))
        parts.append("")
    return "\n".join(parts)


def summary(rows: Sequence[Row], details: str) -> str:
    """One line for each dtype and kind of case: geometric mean and, in brackets, the smallest ratio."""
    columns = sorted({(row["cell"], row["mode"]) for row in rows}, key=_column_order)
    places = "; ".join(dict.fromkeys(machine(row) for row in rows))
    lines = [
        (
            "Time of torch.nn / time of pyrnn in the same run: geometric mean over the shapes, in brackets "
            f"the smallest.\nMeasured on {places}.\nEvery shape, with GF/s and share of the peak: "
            f"[{details}]({details}).\n"
        ),
        table_line(["", *(f"{cell.upper()} {MODE_NAMES[mode]}" for cell, mode in columns)]),
        table_line(["---", *("---:" for _ in columns)]),
    ]
    for (dtype, variant), group in grouped(rows, lambda row: (row["dtype"], row["variant"])):
        ratios = [
            [row["ratio"] for row in group if (row["cell"], row["mode"]) == column] for column in columns
        ]
        shown = [f"**{geometric_mean(r):.2f}x** ({min(r):.2f})" if r else "" for r in ratios]
        lines.append(table_line([f"{dtype}, {variant}", *shown]))
    return "\n".join([*lines, *_room(rows)])


def _room(rows: Sequence[Row]) -> list[str]:
    """What torch itself reaches on large cases: the peak leaves no larger ratio there than its inverse."""
    large = [row for row in rows if row["variant"] == "plain" and row["B"] >= 32 and row["H"] >= 256]
    shares: list[str] = []
    for (dtype, cell), group in grouped(large, lambda row: (row["dtype"], row["cell"])):
        reached = [row["torch_gflops"] / row["peak_gflops"] for row in group]
        ours = [row["share_of_peak"] for row in group]
        shares.append(
            f"{dtype} {cell.upper()} {min(reached):.0%} to {max(reached):.0%} "
            f"(pyrnn {min(ours):.0%} to {max(ours):.0%})"
        )
    if not shares:
        return []
    return [
        "",
        (
            "At B >= 32 and H >= 256 torch's own layers reach of the multiply-add peak: "
            f"{', '.join(shares)}. No kernel can be faster there than the peak allows."
        ),
    ]


def _sentence(rows: Sequence[Row]) -> str:
    """How to read the table."""
    places = "; ".join(dict.fromkeys(machine(row) for row in rows))
    return (
        "Each entry: time of torch.nn / time of pyrnn in the same run (above 1x pyrnn is faster), its GF/s, "
        f"and its share of the multiply-add peak. Measured on {places}.{_warning(rows)}"
    )


def _warning(rows: Sequence[Row]) -> str:
    busy = len(disturbed(rows))
    return (
        f" **{busy} of {len(rows)} rows were measured on a busy machine: not to be relied on.**"
        if busy
        else ""
    )


def _column_order(column: tuple[str, str]) -> tuple[str, int]:
    return column[0], [*MODE_NAMES].index(column[1])


def table_line(entries: Sequence[str]) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(entries)} |"


def _cell(row: Row | None) -> str:
    return "" if row is None else f"{row['ratio']:.2f}x, {row['gflops']:.0f}, {row['share_of_peak']:.0%}"


def publish(name: str, rows: Sequence[Row], details: Path, readme: Path = ROOT / "README.md") -> None:
    """Put the summary of `rows` into the README's block for benchmark `name`, with a link to `details`.

    Raises:
        ValueError: some rows were measured on a busy machine, or the README has no such block.
    """
    if busy := disturbed(rows):
        names = ", ".join(f"{row['cell']} {row['dtype']} {row['mode']} {case_name(row)}" for row in busy[:5])
        raise ValueError(
            f"{len(busy)} of {len(rows)} rows were measured while other processes used more than "
            f"{TOLERATED:.0%} of the cores ({names}); measure them again on a quiet machine"
        )
    put_in_readme(name, summary(rows, str(details.relative_to(readme.parent))), readme)


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
