"""What a record says of attention: goals beside what was reached, errors, and every time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pyrnn.bench.harness import geometric_mean
from pyrnn.bench.record import Row
from pyrnn.bench.report import table_line
from tools.gpu_proof.attention_cases import said

#: What, at least how many times a peer's speed, that peer, variants, and modes.
GOALS = (
    ("forward against flash", 0.75, "flash", ("plain",), "infer"),
    ("forward and backward against flash", 0.75, "flash", ("plain",), "train"),
    ("bias and dropout, forward", 1.0, "torch's choice", ("bias", "dropout"), "infer"),
    ("bias and dropout, forward and backward", 1.0, "torch's choice", ("bias", "dropout"), "train"),
)
#: Decoding is to take at most so many times what its bytes take at the rate of memory.
OF_MEMORY = 1.3


def reached(rows: Sequence[Row], bound: float, peer: str, variants: Sequence[str], mode: str) -> str:
    """In words: mean, the smallest, and how many reach the bound."""
    ratios = [
        row["ratio"]
        for row in rows
        if row["peer"] == peer and row["variant"] in variants and row["mode"] == mode
    ]
    if not ratios:
        return "not measured"
    count = f"{sum(ratio >= bound for ratio in ratios)} of {len(ratios)} reach it"
    return f"geometric mean {geometric_mean(ratios):.2f}x, smallest {min(ratios):.2f}x, {count}"


def lines(rows: Sequence[Row]) -> Iterator[str]:
    """The section of the page."""
    times = [row for row in rows if "ratio" in row]
    yield from (table_line(["what", "goal", "reached"]), table_line(["---"] * 3))
    for what, bound, peer, variants, mode in GOALS:
        yield table_line([what, f"goal {bound:.2f}x", reached(times, bound, peer, variants, mode)])
    rates = [row["bytes_per_second"] / 1e12 for row in times if "bytes_per_second" in row]
    shown = f"{min(rates):.2f} to {max(rates):.2f} TB/s of keys and values" if rates else "not measured"
    yield table_line(["decoding", f"goal 1 / {OF_MEMORY} of the rate of memory (rooflines)", shown])
    for row in rows:
        if row.get("what") == "check":
            share = (
                f", {row['error_of_allowed']:.2f} of the allowed error" if "error_of_allowed" in row else ""
            )
            again = (
                f", {row['equal']} of {row['repeats']} runs have the same bits" if "repeats" in row else ""
            )
            on = f" on {row['ran']}" if row.get("ran") else ""
            yield f"\n- {said(row)}{on}: {row['outcome']}{share}{again}"
        elif "outcome" in row or "refused" in row:
            why = row.get("outcome") or f"refused: {row['refused']}"
            yield f"\n- {said(row)} against {row['peer']}: {why}"
        elif "left_out" in row:
            yield f"\n{row['left_out']} of {row['of']} were left out for lack of time."
    if times:
        headings = ["case", "kernel", "against", "pyrnn us", "its us", "ratio", "p20-p80"]
        yield from ("", table_line(headings), table_line(["---"] * 3 + ["---:"] * 4))
    for row in times:
        ours, theirs, spread = (row[name] for name in ("pyrnn_s", "peer_s", "ratio_spread"))
        figures = (f"{ours['median'] * 1e6:.1f}", f"{theirs['median'] * 1e6:.1f}", f"{row['ratio']:.2f}x")
        yield table_line(
            [said(row), row.get("ran", ""), row["peer"], *figures, f"{spread['p20']:.2f}-{spread['p80']:.2f}"]
        )
