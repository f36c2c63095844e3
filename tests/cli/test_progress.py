"""What `pyrnn train` tells while it runs, and what it says of a resumed run."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from pyrnn.train.checkpoint import read_checkpoint, write_checkpoint
from pyrnn.train.run_folder import CHECKPOINT
from tests.cli.conftest import SMALL, TEXT, Command


def test_a_run_that_is_resumed_with_other_threads_says_so_in_one_line(
    command: Command, tmp_path: Path
) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    line = f"train language-model {tmp_path / 'run'} --text {tmp_path / 'text.txt'} {SMALL} --batch-size 4"
    stopped = f"{line} --max-steps 100 --hidden-size 8 --checkpoint-every 10 --log-every 5 --threads 1"
    started = [sys.executable, "-m", "pyrnn", *shlex.split(stopped)]
    with subprocess.Popen(started, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert (first["task"], first["threads"], first["step"]) == ("language-model", 1, 0)
        for row in map(json.loads, process.stdout):
            assert row["step"] % 5 == 0
            if row["step"] == 15:
                break
        process.kill()
        process.wait()
    path = tmp_path / "run" / CHECKPOINT
    tensors, counters = read_checkpoint(path)
    write_checkpoint(path, tensors, replace(counters, threads=2))  # two would wait for a core of other tests
    code, out, err = command(f"train language-model {tmp_path / 'run'} --resume --threads 1")
    assert code == 0
    first, *rows = map(json.loads, out.splitlines())
    assert first["threads"] == 1
    assert first["step"] in range(10, 100, 10)
    assert rows[0]["step"] == first["step"] + 5
    told = err.splitlines()
    assert told[0].startswith("CPU threads: 2 before, 1 now; the run goes on")
    assert len(told) == 3  # with the two of every run that ends
