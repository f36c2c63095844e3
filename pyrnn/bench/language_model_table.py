"""The recorded rows of the language-model benchmark as a page shows them.

`python3 dev.py bench language-model-table` puts the newest row of each task and cell into the docs page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyrnn.bench import quiet, record
from pyrnn.bench.report import put_in_readme

KEY = ("task", "cell", "seed", "threads")
PAGE = record.ROOT / "docs" / "language-models.md"
NAME = "language-model"
BUSY = "busy"  # other processes took the cores: such a time says nothing

_HEADINGS = (
    "task, cell",
    "parameters",
    "tokens/s",
    "torch.nn",
    "ratio",
    "layers alone",
    "MiB",
    "torch.nn",
    "loss",
    "seconds",
    "torch.nn",
)


def combined(rows: Sequence[record.Row]) -> list[record.Row]:
    """One row a case: of one model, the newest speed on quiet cores and the newest whole training."""
    result = []
    for newest in record.latest(rows, KEY):
        same = [row for row in rows if all(row[field] == newest[field] for field in (*KEY, "parameters"))]
        measured = [row for row in same if _is_quiet(row)] or same
        row = {key: value for key, value in measured[-1].items() if key != "training"}
        trained = [row for row in same if "training" in row]
        if trained:  # who did not watch while training watched just before
            row["training"] = {
                backend: {"background_load": trained[-1]["background_load"], **values}
                for backend, values in trained[-1]["training"].items()
            }
        result.append(row)
    return result


def _is_quiet(measured: dict[str, Any]) -> bool:
    """Whether nobody else used the cores; nobody knows it of a row that does not say."""
    load = measured.get("background_load")
    return load is not None and load <= quiet.TOLERATED


def table(rows: Sequence[record.Row]) -> str:
    """Markdown: how to read it, then a line for each row."""
    commits: dict[str, dict[str, None]] = {}  # of each machine, in order and once each
    for row in rows:
        machine = f"{row['processor']}, {row['threads']} threads, torch {row['torch']}, {row['date'][:10]}"
        commits.setdefault(machine, {})[row["commit"]] = None
    machines = [f"{machine} (pyrnn {', '.join(found)})" for machine, found in commits.items()]
    how = (
        f"Measured on {'; '.join(machines)}. tokens/s: whole training steps, in alternation. layers alone: "
        "the ratio of the recurrent layers' forward and backward. MiB: what training adds to a process "
        "at its peak. loss: lowest validation loss in nats per token (perplexity). seconds: of training, "
        f"validation left out. {BUSY}: other processes took the cores meanwhile."
    )
    lines = [
        how,
        "",
        _line(_HEADINGS),
        _line(["---", *["---:"] * (len(_HEADINGS) - 1)]),
    ]
    return "\n".join([*lines, *(_line(_entries(row)) for row in rows)])


def _entries(row: record.Row) -> list[str]:
    *layers, step = row["speed"].values()  # a transformer's are not timed alone
    trained = row.get("training", {})
    speeds = (
        f"{step['pyrnn']:,}",
        f"{step['torch']:,}",
        f"{step['pyrnn'] / step['torch']:.2f}x",
        f"{layers[0]['pyrnn'] / layers[0]['torch']:.2f}x" if layers else "",
    )
    return [
        f"{row['task']}, {row['cell'].upper()}",
        f"{row['parameters']:,}",
        *(speeds if _is_quiet(row) else [BUSY] * len(speeds)),
        *(f"{row['memory_mib'][b]:.0f}" if b in row["memory_mib"] else "" for b in ("pyrnn", "torch")),
        *(_loss(trained.get("pyrnn")), _seconds(trained.get("pyrnn"))),
        ", ".join(filter(None, (_loss(trained.get("torch")), _seconds(trained.get("torch"))))),
    ]


def _loss(trained: dict[str, Any] | None) -> str:
    if trained is None:
        return ""
    loss = trained["validation_loss"]
    return f"{loss:.4f} ({math.exp(loss):.4g})"


def _seconds(trained: dict[str, Any] | None) -> str:
    if trained is None:
        return ""
    return f"{trained['seconds']:.0f} s" if _is_quiet(trained) else BUSY


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def main(page: Path = PAGE) -> None:
    """Replace the block of the page."""
    files = sorted(record.RESULTS.glob("language_model-*.jsonl"))
    rows = [row for file in files for row in record.read(file)]
    put_in_readme(NAME, table(combined(rows)), page)


if __name__ == "__main__":
    main()
