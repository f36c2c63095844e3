"""`dev.py matrix`: what it counts and tables; the environments themselves take minutes and a network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools import matrix

OUTCOME = """<testsuites><testsuite>
<testcase classname="tests.a" name="passes"/>
<testcase classname="tests.a" name="skips"><skipped/></testcase>
<testcase classname="tests.b" name="fails"><failure/></testcase>
<testcase classname="tests.b" name="breaks"><error/></testcase>
</testsuite></testsuites>"""


def test_outcomes_are_counted_and_failures_named(tmp_path: Path) -> None:
    path = tmp_path / "outcome.xml"
    path.write_text(OUTCOME)
    names = ["tests.b::breaks", "tests.b::fails"]
    assert matrix.counts(path) == {"passed": 1, "skipped": 1, "failed": 2, "names": names}


def test_what_pyrnn_needs_is_read_from_the_project() -> None:
    names = matrix.requirements()
    assert {"numpy", "safetensors", "rich"} <= {*names}
    assert not [name for name in names if name.startswith("torch")]


@pytest.mark.parametrize("arguments", [[], ["tests/ops"]])
def test_only_the_whole_part_becomes_a_result(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def tested(release: matrix.Release, _: list[str]) -> dict[str, Any]:
        found = {"passed": 7, "skipped": 1, "failed": int(release.torch == "2.8.0"), "names": []}
        return {**release._asdict(), **found, "date": "2030-01-02T03:04", "commit": "abc"}

    results, readme = tmp_path / "matrix.json", tmp_path / "README.md"
    readme.write_text("<!-- bench:matrix -->\n<!-- /bench -->\n")
    monkeypatch.setattr(matrix, "test", tested)
    monkeypatch.setattr(matrix, "RESULTS", results)
    monkeypatch.setattr(matrix, "ROOT", tmp_path)
    assert matrix.main(["--torch", "2.11.0", "--", *arguments]) == 0
    assert results.exists() is not bool(arguments)
    assert ("| 3.12 | 2.11.0 | 7 | 0 | 1 | abc, 2030-01-02 |" in readme.read_text()) is not bool(arguments)
    assert matrix.main(["--torch", "2.8.0", "--", *arguments]) == 1
    if not arguments:
        assert [row["torch"] for row in json.loads(results.read_text())] == ["2.8.0", "2.11.0"]
