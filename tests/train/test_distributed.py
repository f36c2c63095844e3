"""Two processes train as one that reads all streams would."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import torch

from pyrnn.train import local_device
from tests.processes import Ended, Forked, launched
from tests.tasks.test_tagger import sentences, write
from tests.train.small_runs import command, flags, losses, small_job


def _train(folder: Path, processes: int, *arguments: str, task: str = "language-model") -> list[Ended]:
    """By as many processes as a launcher starts; without one where it is none."""
    line = ["train", task, folder, *arguments]
    ended = launched(folder.parent, processes, line) if processes else [Forked(folder.parent, line).end(200)]
    assert [process.returncode for process in ended] == [0] * len(ended), ended
    return ended


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_the_losses_are_those_of_one_process(architecture: str, tmp_path: Path) -> None:
    settings = flags(small_job(tmp_path), architecture=architecture, dropout=0.0, epochs=2)
    for name, processes in (("alone", 0), ("one", 1), ("two", 2)):
        ended = _train(tmp_path / name, processes, *settings)
    alone, one, two = (losses(tmp_path / name) for name in ("alone", "one", "two"))
    assert one == pytest.approx(alone, rel=1e-6)
    assert two == pytest.approx(alone, rel=1e-4)
    assert [process.stdout.count('"epoch": 2') for process in ended] == [1, 0]  # one process talks

    refused = Forked(tmp_path, ["train", "language-model", tmp_path / "two", "--resume"]).end()
    assert refused.returncode == 2
    assert "was written by 2 processes, this run has 1: resume with --nproc-per-node 2" in refused.stderr


@pytest.mark.parametrize("architecture", ["gru", "transformer"])
def test_a_tagger_learns_the_same_with_two(architecture: str, tmp_path: Path) -> None:
    """Of an odd number of sentences, so that the last batch is not shared evenly."""
    text = write(tmp_path / "text.tsv", sentences(101))
    settings = {
        "architecture": architecture,
        "dropout": 0.0,
        "epochs": 2,
        "num_heads": 2,
        "log_every": 1,
        "input_dropout": 0.0,
    }
    sizes = {"hidden_size": 16, "embedding_size": 8, "batch_size": 8, "text": str(text), **settings}
    arguments = [part for k, v in sizes.items() for part in (f"--{k.replace('_', '-')}", str(v))]
    for name, processes in (("alone", 0), ("two", 2)):
        _train(tmp_path / name, processes, *arguments, task="tagger")
    alone, two = (losses(tmp_path / name) for name in ("alone", "two"))
    assert len(alone) > 20
    assert two == pytest.approx(alone, rel=1e-4)


def test_a_translator_learns_the_same_with_two_that_share_batches_by_tokens(tmp_path: Path) -> None:
    file = tmp_path / "pairs.tsv"
    file.write_text("".join(f"{n}\t{n * n}\n" for n in range(1, 160)))
    line = f"--pairs {file} --level character --validation-size 20 --batch-tokens 40 --longest 8 --epochs 2 "
    line += "--hidden-size 16 --embedding-size 8 --dropout 0 --input-dropout 0 --log-every 1 --batch-size 4"
    for name, processes in (("alone", 0), ("two", 2)):
        _train(tmp_path / name, processes, *line.split(), task="translation")
    alone, two = (losses(tmp_path / name) for name in ("alone", "two"))
    assert len(alone) > 20
    assert two == pytest.approx(alone, rel=1e-4)


def test_torchrun_starts_them(tmp_path: Path) -> None:
    settings = flags(small_job(tmp_path), dropout=0.0, epochs=1)
    line = command(tmp_path / "two", *settings, processes=2)
    done = subprocess.run(line, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"epoch": 1') == 1  # one process talks
    _train(tmp_path / "launched", 2, *settings)
    assert losses(tmp_path / "two") == losses(tmp_path / "launched")


def test_streams_that_cannot_be_shared_are_refused(tmp_path: Path) -> None:
    line = ["train", "language-model", tmp_path / "run", *flags(small_job(tmp_path), batch_size=3)]
    both = launched(tmp_path, 2, line)
    assert 2 in [ended.returncode for ended in both]
    for ended in both:  # one may see that the other has ended before it comes to its own refusal
        words = {1: "another process of this training ended", 2: "a batch of 3 cannot be shared evenly by 2"}
        assert words[ended.returncode] in ended.stderr
        assert "a fault of pyrnn's own" not in ended.stderr


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the second of two that torchrun started on one machine."""
    launched = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": "1"}
    for name, value in launched.items():
        monkeypatch.setenv(name, value)


def _with_gpus(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.usefixtures("second_of_two")
def test_every_process_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    _with_gpus(2, monkeypatch)
    assert local_device(torch.device("cuda")) == torch.device("cuda", 1)
    assert local_device(torch.device("cpu")) == torch.device("cpu")


@pytest.mark.usefixtures("second_of_two")
@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda", "2 processes need as many GPUs, and torch sees 1: start fewer"),
        ("cuda:0", "cuda:0 would be the GPU of 2 processes; write cuda, and each takes its own"),
    ],
)
def test_two_processes_do_not_share_a_gpu(device: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _with_gpus(1, monkeypatch)
    with pytest.raises(ValueError, match=message):
        local_device(torch.device(device))


def test_a_process_alone_takes_the_device_as_it_is() -> None:
    assert local_device(torch.device("cuda", 3)) == torch.device("cuda", 3)
    assert local_device(torch.device("cuda")) == torch.device("cuda")
