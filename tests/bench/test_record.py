import subprocess
from pathlib import Path

import pytest

from pyrnn.bench import record


def test_records_and_pages_do_not_make_a_commit_dirty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def git(*arguments: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True)

    (tmp_path / "bench" / "results").mkdir(parents=True)
    source, page, rows = (tmp_path / name for name in ("a.py", "README.md", "bench/results/a.jsonl"))
    for file in (source, page, rows):
        file.write_text("1\n")
    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    monkeypatch.setattr(record, "IN_CHECKOUT", True)
    clean = record.commit()
    page.write_text("2\n")
    rows.write_text("2\n")
    assert not clean.endswith("-dirty")
    assert record.commit() == clean
    source.write_text("2\n")
    assert record.commit() == f"{clean}-dirty"
