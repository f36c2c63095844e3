"""The command line from end to end on real text, and what it says to bad input."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pyrnn.tasks import load_run
from tests.cli.conftest import SMALL, TEXT, Command


@pytest.mark.parametrize(
    ("kind", "described"),
    [
        ("character", "2-layer LSTM, 32 units"),
        ("word --max-vocabulary 300", "2-layer LSTM, 32 units"),
        ("subword --max-vocabulary 300", "2-layer LSTM, 32 units"),
        (
            "word --max-vocabulary 300 --architecture transformer --context 20",
            "4-layer TRANSFORMER, 32 units, 8 heads, context 20",
        ),
    ],
)
def test_every_command_on_one_run(kind: str, described: str, command: Command, tmp_path: Path) -> None:
    text, run = tmp_path / "text.txt", tmp_path / "run"
    text.write_text(TEXT)
    code, out, err = command(
        f"train language-model {run} --text {text} --level {kind} {SMALL} --batch-size 4"
    )
    assert code == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["epoch"] for row in rows if "epoch" in row] == [1, 2]
    assert f"next: pyrnn generate {run}" in err

    code, out, _ = command(f"evaluate {run} --text {text} --json")
    result = json.loads(out)
    assert code == 0
    assert 0 < result["loss"] < 6

    code, out, _ = command(f"score {run}", stdin="to be or not to be\n\nwho is there\n")
    assert code == 0
    assert [line.split("\t")[-1] for line in out.splitlines()] == ["to be or not to be", "who is there"]
    assert all(float(line.split("\t")[0]) < 0 for line in out.splitlines())

    code, out, _ = command(f"generate {run} --prompt 'to be' --max-tokens 20 --seed 3")
    assert code == 0
    assert out.startswith("to be")
    assert command(f"generate {run} --prompt 'to be' --max-tokens 20 --seed 3")[1] == out
    code, out, _ = command(f"generate {run} --prompt the --samples 2 --prompt to --top-k 5 --max-tokens 9")
    assert code == 0
    assert re.findall(r"^--- (\d)", out, re.MULTILINE) == ["1", "2", "3", "4"]

    code, out, _ = command(f"info {run}")
    assert code == 0
    assert described in out


def test_pictures(trained: Path, command: Command, tmp_path: Path) -> None:
    code, out, err = command(f"plot curves {trained} {trained} --to {tmp_path / 'c.svg'}")
    assert (code, out.strip()) == (0, str(tmp_path / "c.svg")), err
    code, out, err = command(f"plot gradients {trained} --lags 20 --to {tmp_path / 'g.png'}")
    assert code == 0, err
    assert "a step" in out
    assert (tmp_path / "g.png").stat().st_size > 1000


def test_info_of_the_installation(command: Command) -> None:
    code, out, _ = command("info")
    assert code == 0
    assert "in use, this processor runs" in out


def test_info_of_a_run_says_how_long_and_on_what_it_was_trained(command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT)
    start = f"train language-model {tmp_path / 'run'} --text {tmp_path / 'text.txt'} --hidden-size 8"
    assert command(f"{start} --max-steps 3 --batch-size 4 --threads 1")[0] == 0
    code, out, _ = command(f"info {tmp_path / 'run'}")
    assert code == 0
    facts = dict(re.split(r"  +", line, maxsplit=1) for line in out.splitlines())
    assert facts["steps"] == "3, of at most 3 (max_steps)"
    assert facts["trained with"] == f"1 thread, torch {torch.__version__}"


def test_the_number_of_threads_is_checked_by_every_command(trained: Path, command: Command) -> None:
    text = trained.parent / "text.txt"
    for line in (
        f"train language-model {trained.parent / 'other'}",
        f"evaluate {trained} --text {text}",
        f"generate {trained}",
        f"score {trained}",
        f"tag {trained}",
        f"plot gradients {trained}",
    ):
        code, _, err = command(f"{line} --threads 0")
        assert code == 2
        assert err.startswith("error: --threads: threads must lie in [1, "), line


def test_event_files_are_written_where_they_are_asked_for(command: Command, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    (tmp_path / "text.txt").write_text(TEXT)
    start = f"train language-model {tmp_path / 'run'} --text {tmp_path / 'text.txt'} --hidden-size 8"
    code, out, err = command(f"{start} --max-steps 3 --batch-size 4 --log-to {tmp_path / 'events'}")
    assert code == 0, err
    assert json.loads(out.splitlines()[0])["of"] == 3
    assert len(list((tmp_path / "events").glob("events.out.tfevents.*"))) == 1


def test_event_files_without_tensorboard_are_refused_before_anything_is_written(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    code, _, err = command(f"train language-model {tmp_path / 'run'} --log-to {tmp_path / 'events'}")
    assert code == 1
    assert "pip install 'pyrnn[tensorboard]'" in err
    assert list(tmp_path.iterdir()) == []


def test_a_file_and_flags_say_the_same(command: Command, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(TEXT)
    (tmp_path / "job.toml").write_text(
        f'[data]\ntext = "{text}"\n[model]\nhidden_size = 8\narchitecture = "gru"\n'
        "[train]\nmax_steps = 3\nbetas = [0.8, 0.9]\n"
    )
    assert (
        command(f"train language-model {tmp_path / 'file'} --config {tmp_path / 'job.toml'} --bptt-steps 32")[
            0
        ]
        == 0
    )
    flags = f"--text {text} --hidden-size 8 --architecture gru --max-steps 3 --betas 0.8 0.9 --bptt-steps 32"
    assert command(f"train language-model {tmp_path / 'flags'} {flags}")[0] == 0
    by_file, by_flags = load_run(tmp_path / "file"), load_run(tmp_path / "flags")
    assert by_file.job == by_flags.job
    assert [row["loss"] for row in by_file.metrics if "loss" in row] == [
        row["loss"] for row in by_flags.metrics if "loss" in row
    ]
    again = f"train language-model {tmp_path / 'again'} --config {tmp_path / 'file' / 'config.json'}"
    assert command(again)[0] == 0  # a run's own config.json is a configuration too
    assert load_run(tmp_path / "again").job == by_file.job


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "text.txt"),
        (b"ab\xff\xfe" * 100, "UTF-8"),
        (b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "one distinct"),
        (b"too short", "too few for one window"),
        (gzip.compress(b"ab" * 500)[:-12], "text.txt"),
    ],
    ids=["empty", "binary", "not UTF-8", "one character", "short", "broken gzip"],
)
def test_a_text_that_cannot_be_used(content: bytes, words: str, command: Command, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_bytes(content)
    code, _, err = command(f"train language-model {tmp_path / 'run'} --text {tmp_path / 'text.txt'}")
    assert code == 2, err
    assert err.startswith("error: ")
    assert words in err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("train language-model {new} --text {absent}", "absent.txt"),
        ("train language-model {new} --text {folder}", "holds no files"),
        ("train language-model {run}", "holds a run"),
        ("train language-model {absent} --resume", "no run to resume"),
        ("train language-model {run} --resume --hidden-size 64", "hidden_size is 32, not 64"),
        ("train language-model {new} --dropout 1.5", r"dropout must lie in \[0, 1\), got 1.5"),
        ("train language-model {new} --device cuda:99", "cuda"),
        ("train language-model {new} --device nonsense", "nonsense"),
        ("train language-model {new} --config {absent}", "a .toml or .json file"),
        ("train language-model {new} --architecture transformer-xl", "transformer-xl"),
        ("evaluate {absent} --text shakespeare", "absent.txt"),
        ("evaluate {run} --text {absent}", "absent.txt"),
        ("score {run}", "no sentences"),
        ("generate {run} --prompt-file {absent}", "absent.txt"),
        ("generate {run} --prompt-file -", "nothing to continue"),
        ("generate {run} --temperature -1", "temperature"),
        ("plot curves {folder}", "metrics.jsonl is missing"),
        ("plot curves {run} --to {folder}/x.docx", "docx"),
        ("nonsense", "nonsense"),
        ("train language-model {new} --no-such-flag", "no-such-flag"),
    ],
)
def test_bad_arguments(line: str, words: str, trained: Path, command: Command, tmp_path: Path) -> None:
    names = {"run": trained, "new": tmp_path / "new", "absent": tmp_path / "absent.txt", "folder": tmp_path}
    code, _, err = command(line.format(**names))
    assert code == 2, err
    assert re.search(words, err), err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[1]", "expected a table"),
        ('{"train": {"epochs": "2"}}', "epochs must be int, got '2'"),
        ('{"train": {"epochs": true}}', "epochs must be int, got True"),
        ('{"train": {"epochs": 2.5}}', "epochs must be int, got 2.5"),
        ('{"train": {"learning_rate": NaN}}', "learning_rate must be positive"),
        ('{"model": {"hidden": 3}}', "unknown settings hidden; known are vocabulary_size"),
        ('{"modle": {}}', "unknown settings modle; known are data, model, train"),
        (
            '{"model": {"architecture": ["lstm"]}}',
            "architecture must be one of 'rnn', 'gru', 'lstm', 'transformer'",
        ),
        ('{"train": {"betas": [0.9]}}', "betas must be 2 values"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    content: str, words: str, command: Command, tmp_path: Path
) -> None:
    (tmp_path / "job.json").write_text(content)
    code, _, err = command(f"train language-model {tmp_path / 'run'} --config {tmp_path / 'job.json'}")
    assert code == 2
    assert str(tmp_path / "job.json") in err
    assert words in err


def test_an_unwritable_folder(command: Command, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    code, _, err = command(f"train language-model {tmp_path / 'file' / 'run'} --max-steps 1")
    assert code == 2
    assert "not a directory" in err


def test_output_that_nobody_reads_is_no_error(trained: Path) -> None:
    line = f"{sys.executable} -m pyrnn generate {trained} --prompt a --max-tokens 3000 --seed 1 | head -c 10"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], capture_output=True, text=True)
    assert done.stderr == ""
