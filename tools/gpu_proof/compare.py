"""`python3 dev.py gpu compare A B`: two records row by row, what became faster or slower from A to B."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pyrnn._files import read_json
from pyrnn.bench.harness import geometric_mean
from pyrnn.bench.record import Row
from pyrnn.bench.report import table_line
from tools.gpu_proof.cases import GpuCase


def measured(content: Row) -> dict[GpuCase, Row]:
    """The rows of the bench stage that have a time, by case."""
    rows = content.get("stages", {}).get("bench", {}).get("rows", [])
    return {GpuCase.of(row): row for row in rows if "ratio" in row}


def comparison(a: Row, b: Row) -> str:
    """A table of the cases that both have, in the order of A, and what is in one alone."""
    before, after = measured(a), measured(b)
    both = [case for case in before if case in after]
    names = [f"{each['environment']['device']} {each['environment']['commit']}" for each in (a, b)]
    lines = [f"A: {names[0]}", f"B: {names[1]}", ""]
    if a["environment"]["device"] != b["environment"]["device"]:
        lines[2:] = ["The devices differ: the times say nothing of the code, the ratios to cuDNN little.", ""]
    if both:
        headings = ["case", "us a step A", "B", "A / B", "x cuDNN A", "B"]
        lines += [table_line(headings), table_line(["---", *["---:"] * 5])]
        for case in both:
            old, new = before[case], after[case]
            times = (old["us_per_step"], new["us_per_step"])
            figures = (*times, times[0] / times[1], old["ratio"], new["ratio"])
            lines.append(table_line([str(case), *(f"{figure:.2f}" for figure in figures)]))
        gains = [before[case]["us_per_step"] / after[case]["us_per_step"] for case in both]
        shown = f"geometric mean {geometric_mean(gains):.2f}, smallest {min(gains):.2f}, "
        lines += ["", f"A / B over {len(both)} cases: {shown}largest {max(gains):.2f}"]
    else:
        lines.append("No case was measured in both.")
    for name, rows, other in (("A", before, after), ("B", after, before)):
        alone = [str(case) for case in rows if case not in other]
        if alone:
            more = f" and {len(alone) - 3} more" if len(alone) > 3 else ""
            lines.append(f"Measured in {name} alone: {'; '.join(alone[:3])}{more}")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Print the comparison."""
    parser = argparse.ArgumentParser(prog="dev.py gpu compare", description=__doc__)
    parser.add_argument("a", type=Path, metavar="A", help="a record, for instance bench/results/gpu/....json")
    parser.add_argument("b", type=Path, metavar="B", help="a later one")
    told = parser.parse_args(argv)
    try:
        contents = [read_json(path) for path in (told.a, told.b)]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    for path, content in zip((told.a, told.b), contents, strict=True):
        if not isinstance(content, dict) or "environment" not in content:
            parser.error(f"{path} is not a record of `dev.py gpu`")
    print(comparison(*contents), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
