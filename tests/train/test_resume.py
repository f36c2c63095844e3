"""A run that is stopped at any moment ends as if it had not been: the same files, bit for bit."""

from __future__ import annotations

import math
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.train import GradientTrainer, StepResult, train
from pyrnn.train.checkpoint import read_checkpoint, write_checkpoint
from pyrnn.train.run_folder import CHECKPOINT
from tests.processes import Forked
from tests.tasks.test_tagger import sentences, write
from tests.train.small_runs import (
    KillAt,
    Killed,
    flags,
    load_text_run,
    result_of,
    resume,
    small_job,
)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"architecture": "gru", "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.5},
        {"architecture": "rnn", "patience": 1, "learning_rate": 0.3, "locked_dropout": True},
        {"precision": "bfloat16", "tied": True, "max_steps": 50},
        {"architecture": "transformer", "context": 40, "num_layers": 2, "dropout": 0.2},
        {"architecture": "transformer", "num_layers": 1, "precision": "bfloat16", "input_dropout": 0.1},
    ],
    ids=["lstm", "gru-sgd", "rnn-patience", "bfloat16-tied", "transformer", "transformer-bfloat16"],
)
def test_killed_at_random_steps(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, **settings)
    train(job, tmp_path / "whole")
    expected = result_of(tmp_path / "whole")
    ends = [row["step"] for row in expected[0] if "epoch" in row]
    for seed in range(3):
        later = random.Random(seed).sample(range(ends[0] + 1, ends[-1]), 3)
        moments = [seed + 1, -1, *sorted(later)]
        folder = tmp_path / f"killed-{seed}"
        for again, moment in enumerate(moments):
            with pytest.raises(Killed):
                train(job, folder, resume=bool(again), reporter=KillAt(moment))
        resume(folder)
        assert result_of(folder) == expected


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    first = train(job, tmp_path / "run")
    before = result_of(tmp_path / "run")
    again = train(job, tmp_path / "run", resume=True)
    assert again.metrics == first.metrics
    assert result_of(tmp_path / "run") == before


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    run = train(small_job(tmp_path, patience=2, epochs=40, learning_rate=1.0), tmp_path / "run")
    losses = [epoch.score for epoch in run.epochs]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    assert load_text_run(tmp_path / "run").epochs == run.epochs


# ---- real processes ----------------------------------------------------------------------------------


#: The command line with pauses between the steps: it is still in them when a signal comes, on any machine.
SLOWLY = """
import sys, time
from pyrnn.cli import main
from pyrnn.train import GradientTrainer

step = GradientTrainer.step

def step_and_pause(trainer):
    time.sleep(0.05)
    return step(trainer)

GradientTrainer.step = step_and_pause
sys.exit(main())
"""


def _wait_for_another(path: Path, before: int | None, process: Forked) -> None:
    """Wait until the file is there, and is not the one of that time of writing; or until the process ends."""
    for _ in range(6000):
        if (path.exists() and path.stat().st_mtime_ns != before) or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def _arguments(task: str, architecture: str, folder: Path) -> list[str]:
    """Of a run of a second or two."""
    if task == "language-model":
        return flags(small_job(folder, epochs=15), epochs=15, architecture=architecture, num_layers=1)
    text = write(folder / "text.tsv", sentences(200))
    sizes = {"text": text, "architecture": architecture, "hidden_size": 16, "num_heads": 2, "batch_size": 4}
    settings = {**sizes, "epochs": 4, "checkpoint_every": 4, "log_every": 3}
    return [part for k, v in settings.items() for part in (f"--{k.replace('_', '-')}", str(v))]


@pytest.mark.parametrize(
    ("task", "architecture", "signals"),
    [
        ("language-model", "gru", (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)),
        ("language-model", "transformer", (signal.SIGKILL,)),
        ("tagger", "gru", (signal.SIGKILL,)),
        ("tagger", "transformer", (signal.SIGKILL,)),
    ],
)
def test_a_process_is_stopped_and_resumed(
    task: str, architecture: str, signals: tuple[signal.Signals, ...], tmp_path: Path
) -> None:
    arguments = _arguments(task, architecture, tmp_path)
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    done = Forked(tmp_path, ["train", task, whole, *arguments]).end()
    assert done.returncode == 0, done.stderr
    before = None
    for signal_number in signals:
        line = ["train", task, folder, *(["--resume"] if before else arguments)]
        process = Forked(tmp_path, line, program=SLOWLY)
        _wait_for_another(folder / CHECKPOINT, before, process)
        time.sleep(random.Random(signal_number).random() * 0.1)
        process.send_signal(signal_number)
        stopped = process.end(60)
        before = (folder / CHECKPOINT).stat().st_mtime_ns
        if signal_number == signal.SIGKILL:
            assert stopped.returncode == -signal.SIGKILL, stopped.stderr
        else:
            assert stopped.returncode == 130, stopped.stderr
            assert not list(folder.glob(".*.partial"))
    resumed = Forked(tmp_path, ["train", task, folder, "--resume"]).end()
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(folder) == result_of(whole)


# ---- what does not fit -------------------------------------------------------------------------------


def test_settings_that_disagree_are_named(tmp_path: Path) -> None:
    train(small_job(tmp_path, max_steps=3), tmp_path / "run")
    with pytest.raises(ValueError, match=r"hidden_size is 16, not 32; learning_rate is 0\.02, not 0\.5"):
        train(
            small_job(tmp_path, max_steps=3, hidden_size=32, learning_rate=0.5), tmp_path / "run", resume=True
        )


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, max_steps=3)
    train(job, tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"holds a run: go on with it by --resume"):
        train(job, tmp_path / "run")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        resume(tmp_path / "absent")


def test_a_run_killed_while_it_prepared_its_text_can_be_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "vocab.json").write_text("{")
    (folder / ".tokens.bin.0123456789abcdef.partial").write_bytes(b"xx")
    assert train(small_job(tmp_path, max_steps=3), folder).epochs
    assert not list(folder.glob("*.partial"))


@pytest.mark.parametrize(
    "damage",
    [
        "truncated",
        "empty",
        "another model",
        "another optimizer",
        "part of the optimizer",
        "no state",
        "another batch",
        "no random state",
        "not a random state",
        "beyond the end",
    ],
)
def test_a_damaged_checkpoint_is_refused(damage: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, max_steps=8)
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(6))
    path = tmp_path / "run" / CHECKPOINT
    tensors, counters = read_checkpoint(path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "empty":
        path.write_bytes(b"")
    else:
        from pyrnn.train.checkpoint import write_checkpoint

        if damage == "another model":
            tensors["model/projection.weight"] = torch.zeros(3, 3)
        elif damage == "another optimizer":
            tensors["optimizer/embedding.weight/exp_avg"] = torch.zeros(2)
        elif damage == "part of the optimizer":
            del tensors["optimizer/embedding.weight/exp_avg"]
        elif damage == "no state":
            del tensors["carried/0/1"]
        elif damage == "another batch":
            tensors["carried/0/0"] = tensors["carried/0/0"][:, :1].contiguous()
        elif damage == "no random state":
            del tensors["random/0"]
        elif damage == "not a random state":
            tensors["random/0"] = torch.zeros(3)
        else:
            counters.steps = 10_000
        write_checkpoint(path, tensors, counters)
    with pytest.raises(ValueError, match=str(path)):
        resume(tmp_path / "run")


def test_a_checkpoint_of_another_context_is_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, architecture="transformer", max_steps=8)
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(6))
    path = tmp_path / "run" / CHECKPOINT
    tensors, counters = read_checkpoint(path)
    tensors["carried/0/3"] = tensors["carried/0/3"][:, :, :, 1:].contiguous()
    write_checkpoint(path, tensors, counters)
    with pytest.raises(ValueError, match=r"carried/0/3 should be \[1, 4, 8, 64, 2\], is \[1, 4, 8, 63, 2\]"):
        resume(tmp_path / "run")


def test_other_threads_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Killed):
        train(small_job(tmp_path, max_steps=8), tmp_path / "run", reporter=KillAt(6))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        resume(tmp_path / "run")
    finally:
        torch.set_num_threads(before)
    (told,) = caplog.messages
    assert told.startswith(f"CPU threads: {before} before, {before + 1} now; the run goes on")


def test_a_diverging_run_stops_with_words_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    job = small_job(
        tmp_path, optimizer="sgd", learning_rate=1e38, weight_decay=0.0, clip_norm=1e30, architecture="rnn"
    )
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        train(job, tmp_path / "run")


def test_weights_that_diverged_take_no_checkpoints_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step with a finite loss may spoil the weights; the next loss tells it, after the checkpoint."""
    job = small_job(tmp_path, checkpoint_every=1)
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(6))
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    step = GradientTrainer.step

    def spoil(trainer: GradientTrainer) -> StepResult:
        result = step(trainer)
        torch.nn.init.constant_(trainer.model.get_parameter("projection.bias"), torch.nan)
        return result

    monkeypatch.setattr(GradientTrainer, "step", spoil)
    with pytest.raises(FloatingPointError, match=r"projection\.bias holds NaN .* at step 6: .* diverged"):
        resume(tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_a_validation_that_diverged_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(GradientTrainer, "evaluate", lambda *_: {"loss": math.inf})
    with pytest.raises(FloatingPointError, match=r"the validation's loss is inf at step \d+: .* diverged"):
        train(small_job(tmp_path, max_steps=3), tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path)
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(6))
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def full(tensors: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyrnn.train.checkpoint.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            resume(tmp_path / "run")
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    resume(tmp_path / "run")
    train(job, tmp_path / "whole")
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")
