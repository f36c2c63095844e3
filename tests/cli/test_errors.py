"""However a command ends: one line of words, and an exit code that says of what kind the end was."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import pyrnn
from tests.cli.conftest import TEXT, Command
from tests.processes import Forked

PYRNN = f"{sys.executable} -m pyrnn"
SMALL = "--max-steps 2 --hidden-size 8 --embedding-size 8 --bptt-steps 16 --validation-streams 2 --threads 1"


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, env=environment, check=False
    )


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of a trained run, to be spoilt."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def text(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text(TEXT[:4000])
    return tmp_path / "text.txt"


# ---- broken and hostile folders ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("config.json", "info {run}"),
        ("metrics.jsonl", "info {run}"),
        ("vocab.json", "score {run}"),
        ("model.safetensors", "info {run}"),
        ("tokens.bin", "train language-model {run} --resume"),
        ("trainer.safetensors", "train language-model {run} --resume"),
    ],
)
def test_what_is_no_file_is_not_read(name: str, line: str, kind: str, run: Path, command: Command) -> None:
    (run / name).unlink()
    if kind == "fifo":
        os.mkfifo(run / name)
    elif kind == "device":
        (run / name).symlink_to("/dev/zero")
    else:
        (run / name).mkdir()
    code, _, err = command(line.format(run=run))
    assert code == 2
    assert f"{run / name}" in err
    assert ("is a directory" if kind == "folder" else "is no regular file") in err
    assert "[Errno" not in err


def _rows(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_without_its_metrics(run: Path, command: Command) -> None:
    (run / "metrics.jsonl").unlink()
    assert command(f"info {run}")[0] == 0
    code, _, err = command(f"train language-model {run} --resume")
    assert code == 2
    assert "its metrics.jsonl is missing" in err


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seconds": 0}, None),
        ({"seconds": -1}, "seconds must not be negative"),
        ({"step": int("9" * 400)}, "is not a row of metrics"),
        ({"step": True}, "is not a row of metrics"),
        ({"epoch": 0}, "epoch must be at least 1"),
        ({"tokens": "many"}, "must be float"),
    ],
    ids=str,
)
def test_damaged_metrics(values: dict[str, Any], words: str | None, run: Path, command: Command) -> None:
    rows = [{**row, **values} if "epoch" in row else row for row in _rows(run)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, _, err = command(f"info {run}")
    assert code == (0 if words is None else 2)
    assert (words or "") in err


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_that_nothing_holds(digits: int, run: Path, text: Path, command: Command) -> None:
    config = run / "config.json"
    config.write_text(config.read_text().replace('"epochs": 2', f'"epochs": {"9" * digits}'))
    toml = run.parent / "big.toml"
    toml.write_text(f"[train]\nlearning_rate = {'9' * digits}\n")
    for line in (
        f"info {run}",
        f"train language-model {run} --resume",
        f"train language-model x --text {text} --config {toml}",
    ):
        code, _, err = command(line)
        assert code == 2
        assert len(err) < 1000


# ---- arguments and environment -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "flags",
    [
        "--warmup-steps 1e400",
        "--warmup-steps 99999999999999999999",
        "--hidden-size 4611686018427387904",
        "--hidden-size 99999999999999999999",
        "--architecture transformer --context 9223372036854775808",
        "--device meta",
        "--device mps",
        "--device nonsense",
        "--seed 18446744073709551616",
        "--threads 0",
        "--learning-rate nan",
    ],
)
def test_arguments_beyond_reason(flags: str, text: Path, tmp_path: Path, command: Command) -> None:
    code, _, err = command(f"train language-model {tmp_path / 'new'} --text {text} {SMALL} {flags}")
    assert code == 2
    assert "Traceback" not in err
    assert "sizes that no model can have" in err or flags.split()[-2].lstrip("-") in err.replace("_", "-")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"WORLD_SIZE": "x"}, "WORLD_SIZE should be a number, set by torchrun; it is 'x'"),
        ({"WORLD_SIZE": "2"}, "RANK should be a number"),
        ({"WORLD_SIZE": "2", "RANK": "9"}, "RANK is 9 of WORLD_SIZE 2 processes"),
        ({"WORLD_SIZE": "2", "RANK": "0"}, "MASTER_ADDR is not set"),
    ],
    ids=str,
)
def test_an_environment_of_half_a_launcher(
    environment: dict[str, str], words: str, text: Path, tmp_path: Path, command: Command,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    code, _, err = command(f"train language-model {tmp_path / 'new'} --text {text} {SMALL}")
    assert code == 2
    assert words in err


# ---- streams, signals, faults ------------------------------------------------------------------------


def test_closed_streams(trained: Path, text: Path, tmp_path: Path) -> None:
    for line in (f"generate {trained}", f"train language-model {tmp_path / 'new'} --text {text} {SMALL}"):
        done = shell(f"{PYRNN} {line} >&-")
        assert done.returncode == 2
        assert done.stderr == "error: standard output is closed: connect it to a file, or to /dev/null\n"
    done = shell(f"{PYRNN} score {trained} <&-")
    assert done.returncode == 2
    assert "standard input is closed" in done.stderr
    assert shell(f"{PYRNN} info 2>&-").returncode == 0


def test_a_training_whose_lines_nobody_reads_goes_on(text: Path, tmp_path: Path) -> None:
    line = f"--text {text} {SMALL} --max-steps 30 --log-every 1"
    new, newer, pipe = (tmp_path / name for name in ("new", "newer", "pipe"))
    os.mkfifo(pipe)
    process = Forked(tmp_path, ["train", "language-model", new, *shlex.split(line)], stdout=pipe)
    with pipe.open() as reader:
        assert reader.readline()
    done = process.end()
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nobody reads the metrics any more") == 1
    assert _rows(new)[-1]["step"] == 30
    # Python's own end looks at both streams.
    ended = shell(f"set -o pipefail; {PYRNN} train language-model {newer} {line} 2>&1 | head -1")
    assert ended.returncode == 0
    assert _rows(newer)[-1]["step"] == 30


@pytest.mark.parametrize("line", ["generate {run} --max-tokens 100000000", "evaluate {run} --text {big}"])
def test_an_interrupt(line: str, trained: Path, tmp_path: Path) -> None:
    big = tmp_path / "big.txt"
    big.write_text(TEXT * 2000)
    process = Forked(tmp_path, shlex.split(line.format(run=trained, big=big)), stdout=os.devnull)
    if line.startswith("generate"):
        while "seed" not in process.stderr.read_text():  # told when it begins to write
            assert process.poll() is None
            time.sleep(0.01)
    else:
        time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    done = process.end(60)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_a_fault_of_ours_is_told_as_one(
    trained: Path, text: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AttributeError("no such thing")

    monkeypatch.setattr(pyrnn.tasks, "load_run", fail)
    line = f"evaluate {trained} --text {text}"
    code, _, err = command(line)
    assert code == 70
    assert err.startswith("error: a fault of pyrnn's own, AttributeError: no such thing.")
    assert err.count("\n") == 1
    code, _, err = command(f"{line} --traceback")
    assert code == 70
    assert "Traceback" in err


def test_errors_of_the_system_have_no_numbers(trained: Path, tmp_path: Path, command: Command) -> None:
    for line in (f"evaluate {trained} --text {tmp_path / 'nothing'}", f"info {tmp_path / 'nothing'}"):
        code, _, err = command(line)
        assert code == 2
        assert "no such file or directory" in err
        assert "[Errno" not in err


# ---- going on ----------------------------------------------------------------------------------------


def test_a_finished_run_says_so_and_goes_on(run: Path, command: Command) -> None:
    code, _, err = command(f"train language-model {run} --resume --threads 1")
    assert code == 0
    assert "had ended already, after" in err
    code, _, err = command(f"train language-model {run} --resume --threads 1 --epochs 3")
    assert code == 0
    assert "had ended" not in err
    assert _rows(run)[-1]["epoch"] == 3


def test_a_run_begins_with_anothers_weights(
    trained: Path, text: Path, tmp_path: Path, command: Command
) -> None:
    text.write_text(text.read_text() + "☃☃☃")
    new = tmp_path / "new"
    few = "--max-steps 2 --bptt-steps 16 --validation-streams 2 --threads 1"
    code, _, err = command(f"train language-model {new} --text {text} --init-from {trained} {few}")
    assert code == 0, err
    assert f"tokens are unknown to {trained}" in err
    code, _, err = command(f"train language-model {new}2 --text {text} --init-from {trained} --hidden-size 9")
    assert code == 2
    assert "fit no model of other sizes: hidden_size is 32 there, got 9" in err


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_workers_that_are_not_forked(method: str, text: Path, tmp_path: Path) -> None:
    program = (
        "import multiprocessing, sys; from pyrnn.cli import main\n"
        f"multiprocessing.set_start_method('{method}', force=True); sys.exit(main())\n"
    )
    line = f"train language-model {tmp_path / 'new'} --text {text} {SMALL} --workers 1"
    done = Forked(tmp_path, shlex.split(line), program=program).end()
    assert done.returncode == 0, done.stderr
