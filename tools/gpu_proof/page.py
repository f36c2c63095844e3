"""The record as a page: stages, goals beside what was reached, rooflines, and every case."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence

from pyrnn.bench.record import Row
from pyrnn.bench.recurrent import LAYOUT
from pyrnn.bench.report import MODE_NAMES, grouped, table_line
from tools.gpu_proof import attention_page
from tools.gpu_proof.cases import GpuCase
from tools.gpu_proof.goals import GOALS, Goal
from tools.gpu_proof.stages import NAMES

HOW_TO_READ = (
    "Each case: microseconds a step of pyrnn and of torch.nn, the time of torch.nn / the time of pyrnn "
    "(above 1x pyrnn is faster), its 20th and 80th percentile over the rounds, the share of the limit, "
    "and the algorithm that torch asks cuDNN for (forward / backward). A step is one time step of one "
    "layer; in training it holds both passes. The limit is the larger of one barrier of the grid's blocks "
    "and of the bytes of a step at the rates above; the large products beside the recurrence are in the "
    "times but not in the limit. The cluster engine has none: neither the barrier of a cluster nor the rate "
    "of its shared memory is measured. `-`: not measured."
)


def markdown(content: Row) -> str:
    """The whole page."""
    stages: Row = content["stages"]
    parts = [f"# pyrnn on {content['environment']['device']}\n", *_machine(content["environment"])]
    parts += ["\n## Stages\n", *_stages(stages)]
    rows = stages.get("bench", {}).get("rows", [])
    parts += ["\n## Goals\n", *_goals([row for row in rows if "ratio" in row])]
    for name, part in (
        ("sizes", _sizes),
        ("rooflines", _rooflines),
        ("tests", _tests),
        ("sanitizer", _sanitizer),
        ("attention", attention_page.lines),
        ("bench", _bench),
    ):
        if found := stages.get(name, {}).get("rows"):
            parts += [f"\n## {name.capitalize()}\n", *part(found)]
    for name, stage in stages.items():
        if stage.get("output"):
            parts += [f"\n## Output of {name}\n", "```", *stage["output"], "```"]
    return "\n".join(parts) + "\n"


def _table(headings: Sequence[str], numbers: int, lines: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose last `numbers` columns are aligned to the right."""
    yield table_line(headings)
    yield table_line(["---"] * (len(headings) - numbers) + ["---:"] * numbers)
    yield from map(table_line, lines)


def _machine(env: Row) -> Iterator[str]:
    yield (
        f"{env['device']} (compute capability {env['capability']}, {env['sms']} multiprocessors, "
        f"{env['memory_gib']} GiB, {env['l2_mib']} MiB of second-level cache), driver {env['driver']}; "
        f"torch {env['torch']}, CUDA {env['cuda']}, cuDNN {env['cudnn']}, nvcc {env['nvcc']}; "
        f"{env['processor']}; Python {env['python']}; pyrnn {env['pyrnn']} {env['commit']}, "
        f"{env['date'][:16]}."
    )


def _stages(stages: Row) -> Iterator[str]:
    lines = []
    for name in NAMES:
        stage = stages.get(name, {"status": "not chosen"})
        seconds = f"{stage['seconds']:.0f}" if stage.get("seconds") else "-"
        lines.append([name, stage["status"], seconds, stage.get("why", "")])
    yield from _table(["stage", "status", "seconds", ""], 0, lines)


def _goals(rows: Sequence[Row]) -> Iterator[str]:
    def line(goal: Goal) -> list[str]:
        return [goal.what, goal.text, goal.reached(rows)]

    yield from _table(["what", "goal", "reached"], 0, [line(goal) for goal in GOALS])


def _rooflines(rows: Sequence[Row]) -> Iterator[str]:
    lines = []
    for row in rows:
        match row["what"]:
            case "barrier":
                what = f"barrier of a grid of {row['blocks']} blocks"
                lines.append([what, f"{row['seconds'] * 1e6:.2f} us"])
            case "l2" | "l2 read" | "memory":
                name = "memory" if row["what"] == "memory" else "second-level cache"
                how = "read by sums" if row["what"] == "l2 read" else "read and written by copies"
                lines.append([f"{name}, {how}", f"{row['bytes_per_second'] / 1e12:.2f} TB/s"])
            case "product":
                lines.append([f"{row['dtype']} product", f"{row['flops'] / 1e12:.0f} TFLOP/s"])
            case "cudnn":
                what = f"cuDNN alone, {row['cudnn']}: {row['case']}"
                lines.append([what, f"{row['us_per_step']:.2f} us a step"])
            case other:
                lines.append([other, row.get("why", "")])
    yield from _table(["roofline", "measured"], 1, lines)


def _sizes(rows: Sequence[Row]) -> Iterator[str]:
    yield (
        "Output, states and all gradients against torch.nn in float64: the largest error of a tensor as a "
        "share of what is allowed, 2 times torch's own error at that dtype and 4 eps of the largest number.\n"
    )
    lines = []
    for row in rows:
        if "left_out" in row:
            lines.append([f"{row['left_out']} of {row['of']} cases", "left out: the time was spent", "", ""])
            continue
        share = f"{row['error_of_allowed']:.2f}" if "error_of_allowed" in row else ""
        again = f"{row['equal']} of {row['repeats']} runs have the same bits" if "repeats" in row else ""
        lines.append([row["case"], row["outcome"], again, share])
    yield from _table(["case", "outcome", "repeated", "of allowed"], 1, lines)


def _tests(rows: Sequence[Row]) -> Iterator[str]:
    counts = collections.Counter(row["outcome"] for row in rows)
    yield ", ".join(f"{count} {outcome}" for outcome, count in counts.most_common()) + "."
    for outcome in ("failed", "skipped"):
        whys = [(row["why"], row["test"]) for row in rows if row["outcome"] == outcome]
        for why, group in grouped([{"why": why, "test": test} for why, test in whys], lambda row: row["why"]):
            more = f" and {len(group) - 1} more" if len(group) > 1 else ""
            yield f"- {outcome}: `{group[0]['test']}`{more}: {why}"


def _sanitizer(rows: Sequence[Row]) -> Iterator[str]:
    yield from (f"- {row['tool']}: {row['outcome']}; {row.get('summary', '')}" for row in rows)
    for row in rows:
        if "output" in row:
            yield from ("", "```", *row["output"], "```")


def _bench(rows: Sequence[Row]) -> Iterator[str]:
    yield HOW_TO_READ
    measured = [row for row in rows if "ratio" in row]
    key = ("cell", "dtype", "arithmetic", "mode")
    headings = ["T B I H", "pyrnn us", "torch us", "ratio", "p20-p80", "of limit", "engine", "cuDNN"]
    groups = grouped(measured, lambda row: (*(row[k] for k in key), row["engine"] != ""))
    for (cell, dtype, arithmetic, mode, forced), group in groups:
        note = ", TF32 as torch allows it by default" if arithmetic == "default" else ""
        note += ", each engine forced in turn" if forced else ""
        yield f"\n**{cell.upper()}, {dtype}{note}, {MODE_NAMES[mode]}**\n"
        yield from _table(headings, 0, [_line(row) for row in group])
    for row in rows:
        if "error" in row:
            yield f"\n- **not measured**: {GpuCase.of(row)}: {row['error']}"
        elif "refused" in row:
            yield f"\n- refused: {GpuCase.of(row)}: {row['refused']}"
        elif "peer" in row:
            figure = (
                f"{row['us_per_step']:.2f} us a step, {row['includes']}"
                if "us_per_step" in row
                else row["why"]
            )
            yield f"\n- {row['peer']} {row.get('cell', '')} {row.get('shape', '')}: {figure}"
        elif "left_out" in row:
            first = f"; the first: {row['cases'][0]}" if row["cases"] else ""
            yield f"\n{row['left_out']} of {row['of']} cases were left out when the time was spent{first}."


def _line(row: Row) -> list[str]:
    spread = row["ratio_spread"]
    engines = dict.fromkeys(
        plan["engine"] if plan["resident"] or plan["engine"] == "step" else "streamed"
        for plan in row["plans"]
    )
    share = f"{row['share_of_limit']:.0%}" if "share_of_limit" in row else "-"
    return [
        LAYOUT.case_name(row),
        f"{row['us_per_step']:.2f}",
        f"{row['torch_us_per_step']:.2f}",
        f"{row['ratio']:.2f}x",
        f"{spread['p20']:.2f}-{spread['p80']:.2f}",
        share,
        " / ".join(engines),
        row["cudnn"],
    ]
