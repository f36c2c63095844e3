"""`dev.py integrations`: the README's list is that of the tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools import integrations
from tools.dev.shell import ROOT


def test_every_file_says_what_it_proves() -> None:
    told = [integrations.statement(path) for path in integrations.test_files()]
    assert len(told) >= 10
    assert all(tool and proved for tool, proved in told)


def test_a_file_that_does_not_is_refused(tmp_path: Path) -> None:
    (tmp_path / "test_a.py").write_text('"""Something."""\n')
    with pytest.raises(ValueError, match="expected a docstring that begins"):
        integrations.statement(tmp_path / "test_a.py")


def test_the_readme_has_the_record_and_the_record_has_every_file() -> None:
    rows = json.loads(integrations.RESULTS.read_text(encoding="utf-8"))
    assert [row["file"] for row in rows] == [path.name for path in integrations.test_files()]
    for row, path in zip(rows, integrations.test_files(), strict=True):
        assert (row["tool"], row["proved"]) == integrations.statement(path)
    assert integrations.table(rows) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_a_failure_is_shown() -> None:
    row = {"tool": "a", "proved": "b", "file": "test_a.py", "with": "torch 2", "passed": 1, "failed": 2}
    assert "| 1, 2 failed |" in integrations.table([row])
