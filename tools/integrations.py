"""`python3 dev.py integrations`: the tools around torch that our layers work with, and the tests that say so.

Each file of tests/integrations is a tool, and the first line of its docstring what is proved of it. What was
found goes into bench/results/integrations.json, and from there into the README.
"""

from __future__ import annotations

import ast
import json
import sys
import tempfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from pyrnn._files import read_json, write_text
from pyrnn.bench import record
from pyrnn.bench.report import put_in_readme, table_line
from tools.dev.shell import ROOT, fail, run
from tools.matrix import counts

RESULTS = ROOT / "bench" / "results" / "integrations.json"
FOLDER = Path("tests", "integrations")

#: The package that a file is about, where it is another than torch.
PACKAGES = {
    "test_hugging_face": "transformers",
    "test_lightning": "lightning",
    "test_onnx": "onnxruntime",
}


def test_files() -> list[Path]:
    """The files, by name."""
    return sorted((ROOT / FOLDER).glob("test_*.py"))


def statement(path: Path) -> tuple[str, str]:
    """The tool, and what is proved of it: the two sides of the first colon in the docstring's first line."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    tool, _, proved = docstring.partition("\n")[0].partition(": ")
    if not proved:
        raise ValueError(
            f"{path}: expected a docstring that begins '<tool>: <what is proved>', got {docstring!r}"
        )
    return tool, proved.rstrip(".")


def test() -> list[record.Row]:
    """Run them all; a row for each file."""
    with tempfile.TemporaryDirectory() as folder:
        outcome = Path(folder) / "outcome.xml"
        run(sys.executable, "-m", "pytest", "-q", f"--junitxml={outcome}", str(FOLDER), cwd=ROOT)
        if not outcome.exists():
            fail("integrations: pytest ended without a result")
        rows = []
        for path in test_files():
            tool, proved = statement(path)
            package = PACKAGES.get(path.stem, "torch")
            rows.append(
                {"file": path.name, "tool": tool, "proved": proved, "with": f"{package} {version(package)}"}
                | counts(outcome, f"tests.integrations.{path.stem}")
            )
    env = record.environment()
    return [row | {name: env[name] for name in ("date", "commit", "torch")} for row in rows]


def table(rows: Iterable[record.Row]) -> str:
    """For the README."""
    lines = [table_line(["tool", "what works", "tests", "with"]), table_line(["---", "---", "---:", "---"])]
    for row in rows:
        passed = f"{row['passed']}" + (f", {row['failed']} failed" if row["failed"] else "")
        link = f"[{row['tool']}]({(FOLDER / row['file']).as_posix()})"
        lines.append(table_line([link, row["proved"], passed, row["with"]]))
    return "\n".join(lines)


def main() -> int:
    """Test, record, and write the README's table; 1 if a test failed."""
    rows = test()
    for row in rows:
        print(f"{row['tool']}: {row['passed']} passed, {row['failed']} failed, {row['skipped']} skipped")
    write_text(RESULTS, json.dumps(rows, indent=1) + "\n")
    put_in_readme("integrations", table(read_json(RESULTS)), ROOT / "README.md")
    return 1 if any(row["failed"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
