"""The recorded rows of the language-model benchmark as a page shows them.

`python3 dev.py bench language-model-table` puts the newest row of each task and cell into the docs page.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from pyrnn.bench import record
from pyrnn.bench.report import put_in_readme

KEY = ("task", "cell", "seed", "threads")
PAGE = record.ROOT / "docs" / "language-models.md"
NAME = "language-model"

_HEADINGS = (
    "task, cell",
    "parameters",
    "symbols/s",
    "torch.nn",
    "ratio",
    "layers alone",
    "MiB",
    "torch.nn",
    "loss",
    "seconds",
    "torch.nn",
)


def table(rows: Sequence[record.Row]) -> str:
    """Markdown: how to read it, then a line for each row."""
    machines = dict.fromkeys(
        f"{row['processor']}, {row['threads']} threads, torch {row['torch']}, pyrnn {row['commit']}, "
        f"{row['date'][:10]}"
        for row in rows
    )
    how = (
        f"Measured on {'; '.join(machines)}. symbols/s: whole training steps, in alternation. layers alone: "
        "the ratio of the recurrent layers' forward and backward. MiB: what training adds to a process "
        "at its peak. loss: lowest validation loss in nats a symbol (perplexity). seconds: of training, "
        "validation left out."
    )
    lines = [
        how,
        "",
        _line(_HEADINGS),
        _line(["---", *["---:"] * (len(_HEADINGS) - 1)]),
    ]
    return "\n".join([*lines, *(_line(_entries(row)) for row in rows)])


def _entries(row: record.Row) -> list[str]:
    (layers, step) = row["speed"].values()
    trained = row.get("training", {})
    return [
        f"{row['task']}, {row['cell'].upper()}",
        f"{row['parameters']:,}",
        f"{step['pyrnn']:,}",
        f"{step['torch']:,}",
        f"{step['pyrnn'] / step['torch']:.2f}x",
        f"{layers['pyrnn'] / layers['torch']:.2f}x",
        f"{row['memory_mib']['pyrnn']:.0f}",
        f"{row['memory_mib']['torch']:.0f}",
        *(_loss(trained.get("pyrnn")), _seconds(trained.get("pyrnn"))),
        " in ".join(filter(None, (_loss(trained.get("torch")), _seconds(trained.get("torch"))))),
    ]


def _loss(trained: dict[str, float] | None) -> str:
    if trained is None:
        return ""
    loss = trained["validation_loss"]
    return f"{loss:.4f} ({math.exp(loss):.4g})"


def _seconds(trained: dict[str, float] | None) -> str:
    return "" if trained is None else f"{trained['seconds']:.0f} s"


def _line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def main(page: Path = PAGE) -> None:
    """Replace the block of the page."""
    files = sorted(record.RESULTS.glob("language_model-*.jsonl"))
    rows = [row for file in files for row in record.read(file)]
    put_in_readme(NAME, table(record.latest(rows, KEY)), page)


if __name__ == "__main__":
    main()
