"""A command line in this process, and a run to give it."""

from __future__ import annotations

import io
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import pyrnn.cli
from pyrnn.corpora import shakespeare

TEXT = shakespeare()[:20_000]
SMALL = "--epochs 2 --bptt-steps 32 --hidden-size 32 --embedding-size 16 --warmup-steps 5 --log-every 10"

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs one command line; exit code, standard output, standard error."""

    def run(line: str, stdin: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["pyrnn", *shlex.split(line)])
        # Else the program's name is that of the module which Python runs, `python -m pytest`.
        monkeypatch.setattr(sys.modules["__main__"], "__package__", None)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        capsys.readouterr()
        code = pyrnn.cli.main()
        told = capsys.readouterr()
        return code, told.out, told.err

    return run


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small character model, for all tests to read."""
    folder = tmp_path_factory.mktemp("cli")
    (folder / "text.txt").write_text(TEXT)
    line = f"-m pyrnn train language-model {folder / 'run'} --text {folder / 'text.txt'} {SMALL}"
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # as its readers; theirs is set once a module
    subprocess.run([sys.executable, *shlex.split(line)], check=True, capture_output=True, env=alone)
    return folder / "run"
