"""The tagger's commands from end to end."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.conftest import Command
from tests.tasks.test_tagger import sentences, write


def test_every_command_on_one_run(command: Command, tmp_path: Path) -> None:
    text, run = write(tmp_path / "text.tsv", sentences(200)), tmp_path / "run"
    flags = "--epochs 2 --hidden-size 8 --embedding-size 4 --batch-size 8"
    code, out, err = command(f"train tagger {run} --text {text} {flags}")
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["validation_accuracy"] for row in rows if "epoch" in row]
    assert f"{run}: highest validation accuracy" in err
    assert f"next: pyrnn tag {run}" in err
    code, out, err = command(f"evaluate {run} --text {text} --json")
    assert (code, json.loads(out)["tokens"]) == (0, sum(map(len, sentences(200)))), err
    code, out, err = command(f"tag {run} --device cpu", stdin="1\n2\n\n3\n")
    assert code == 0, err
    assert [line.split("\t")[0] for line in out.splitlines()] == ["1", "2", "", "3", ""]
    code, out, err = command(f"info {run}")
    assert code == 0, err
    assert "tagger: " in out
    code, _, err = command(f"generate {run} --prompt a")
    assert code == 2
    assert "which cannot generate; it can evaluate, tag" in err
    code, out, err = command(f"plot curves {run} --to {tmp_path / 'curves.png'}")
    assert code == 0, err
