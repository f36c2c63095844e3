"""generate of a conditional language model."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Command
from tests.tasks.test_conditional import small_run


def test_the_command_writes_lines_that_a_classifier_reads(tmp_path: Path, command: Command) -> None:
    small_run(tmp_path, epochs=30, architecture="gru", learning_rate=0.01)
    flags = "--label South --samples 3 --seed 1 --temperature 0.5 --max-tokens 9"
    code, out, err = command(f"generate {tmp_path / 'run'} {flags}")
    assert (code, err) == (0, "")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [label for label, _ in rows] == ["South"] * 3
    assert all(text for _, text in rows)
    code, out, _ = command(f"generate {tmp_path / 'run'} --beam-width 2 --max-tokens 9")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["North", "South"]
    code, _, err = command(f"generate {tmp_path / 'run'} --label East")
    assert (code, "known are 'North', 'South'" in err) == (2, True)
    code, _, err = command(f"generate {tmp_path / 'run'} --samples 10000")
    assert (code, "at most 10,000" in err) == (2, True)


def test_a_run_without_labels_refuses_one(trained: Path, command: Command) -> None:
    code, _, err = command(f"generate {trained} --label Irish")
    assert (code, "which has no labels" in err) == (2, True)
