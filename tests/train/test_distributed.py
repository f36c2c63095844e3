"""Two processes train as one that reads all streams would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyrnn.train import Run, load_run

FLAGS = {
    "batch-size": 4,
    "window": 16,
    "embedding-size": 8,
    "hidden-size": 16,
    "dropout": 0.0,
    "warmup-steps": 5,
    "learning-rate": 0.02,
    "log-every": 5,
    "epochs": 2,
}


def _train(folder: Path, processes: int, *arguments: str) -> subprocess.CompletedProcess[str]:
    launcher = (
        [
            sys.executable,
            "-m",
            "torch.distributed.run",
            "--standalone",
            "--nproc-per-node",
            str(processes),
            "-m",
        ]
        if processes > 1
        else [sys.executable, "-m"]
    )
    command = [*launcher, "pyrnn", "train", "language-model", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


def _flags(tmp_path: Path, **changes: object) -> list[str]:
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 40 + "and so on\n")
    settings = {**FLAGS, **changes, "text": text}
    return [part for name, value in settings.items() for part in (f"--{name}", str(value))]


def _losses(run: Run) -> list[float]:
    return [row["loss" if "loss" in row else "validation_loss"] for row in run.metrics]


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_the_losses_are_those_of_one_process(cell: str, tmp_path: Path) -> None:
    flags = _flags(tmp_path, cell=cell)
    for name, processes in (("one", 1), ("two", 2)):
        done = _train(tmp_path / name, processes, *flags)
        assert done.returncode == 0, done.stderr
    one, two = load_run(tmp_path / "one"), load_run(tmp_path / "two")
    assert _losses(two) == pytest.approx(_losses(one), rel=1e-4)
    assert done.stdout.count('"epoch": 2') == 1  # one process talks

    alone = _train(tmp_path / "two", 1, "--resume")
    assert alone.returncode == 2
    assert "was written by 2 processes, this run has 1: resume with --nproc-per-node 2" in alone.stderr


def test_streams_that_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    done = _train(tmp_path / "run", 2, *_flags(tmp_path, **{"batch-size": 3}))
    assert done.returncode != 0
    assert "3 streams cannot be shared evenly by 2 processes" in done.stderr
