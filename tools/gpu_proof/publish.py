"""`python3 dev.py gpu publish`: pages, and the tables of README and docs, from the committed records."""

from __future__ import annotations

import argparse
import collections
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from pyrnn._files import read_json, write_text
from pyrnn.bench.record import ROOT, Row
from pyrnn.bench.report import put_in_readme, table_line
from tools.gpu_proof.page import markdown
from tools.gpu_proof.stages import RESULTS

NOTHING = (
    "On no GPU yet. The kernels compile for compute capability 8.0, 9.0a and 10.0, and the tests run them on "
    "the host."
)


def records(folder: Path) -> list[tuple[Path, Row]]:
    """All records, the newest first."""
    paths = [path for path in folder.glob("*.json") if not path.name.startswith("ptx-")]
    found = [(path, read_json(path)) for path in paths]
    return sorted(found, key=lambda record: record[1]["environment"]["date"], reverse=True)


def table(found: Sequence[tuple[Path, Row]], page: Path) -> str:
    """What each device has shown, with links that hold in `page`."""
    if not found:
        return NOTHING
    lines = [table_line(["device", "date", "commit", "found", "record"]), table_line(["---"] * 5)]
    for path, content in found:
        env = content["environment"]
        link = Path(os.path.relpath(path.with_suffix(".md"), page.parent)).as_posix()
        said = "; ".join(outcomes(content["stages"]))
        lines.append(
            table_line([env["device"], env["date"][:10], env["commit"], said, f"[{path.stem}]({link})"])
        )
    return "\n".join(lines)


def outcomes(stages: Row) -> Iterator[str]:
    """A few words on each stage that ran."""
    for name, stage in stages.items():
        rows = stage["rows"]
        if name in ("tests", "sizes") and rows:
            counts = collections.Counter(row.get("outcome", "left out").partition(":")[0] for row in rows)
            yield f"{name}: " + ", ".join(f"{count} {what}" for what, count in counts.most_common())
        else:
            yield f"{name} {stage['status']}"


def main(argv: list[str] | None = None) -> int:
    """Write everything again."""
    parser = argparse.ArgumentParser(prog="dev.py gpu publish", description=__doc__)
    parser.parse_args(argv)
    found = records(RESULTS)
    for path, content in found:
        write_text(path.with_suffix(".md"), markdown(content))
    for page in (ROOT / "README.md", ROOT / "docs" / "gpu.md"):
        put_in_readme("gpu", table(found, page), page)
    print(f"{len(found)} records published", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
