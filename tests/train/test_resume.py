"""A run that is stopped at any moment ends as if it had not been: the same files, bit for bit."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.train import Evaluation, StepResult, TruncatedBPTT, load_run, train_language_model
from pyrnn.train.checkpoint import read_checkpoint, write_checkpoint
from pyrnn.train.run_folder import CHECKPOINT
from tests.train.small_runs import KillAt, Killed, command, flags, result_of, small_job


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"cell": "gru", "optimizer": "sgd", "momentum": 0.9, "learning_rate": 0.5},
        {"cell": "rnn", "patience": 1, "learning_rate": 0.3, "locked_dropout": True},
        {"precision": "bfloat16", "tied": True, "max_steps": 50},
        {"cell": "transformer", "context": 40, "num_layers": 2, "dropout": 0.2},
        {"cell": "transformer", "num_layers": 1, "precision": "bfloat16", "input_dropout": 0.1},
    ],
    ids=["lstm", "gru-sgd", "rnn-patience", "bfloat16-tied", "transformer", "transformer-bfloat16"],
)
def test_killed_at_random_steps(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, **settings)
    train_language_model(job, tmp_path / "whole")
    expected = result_of(tmp_path / "whole")
    ends = [row["step"] for row in expected[0] if "epoch" in row]
    for seed in range(3):
        later = random.Random(seed).sample(range(ends[0] + 1, ends[-1]), 3)
        moments = [seed + 1, -1, *sorted(later)]
        folder = tmp_path / f"killed-{seed}"
        for resume, moment in enumerate(moments):
            with pytest.raises(Killed):
                train_language_model(job, folder, resume=bool(resume), reporter=KillAt(moment))
        train_language_model(None, folder, resume=True)
        assert result_of(folder) == expected


def test_a_finished_run_is_only_read(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    first = train_language_model(job, tmp_path / "run")
    before = result_of(tmp_path / "run")
    again = train_language_model(job, tmp_path / "run", resume=True)
    assert again.metrics == first.metrics
    assert result_of(tmp_path / "run") == before


def test_early_stopping_keeps_the_best_weights(tmp_path: Path) -> None:
    run = train_language_model(
        small_job(tmp_path, patience=2, epochs=40, learning_rate=1.0), tmp_path / "run"
    )
    losses = [epoch.validation_loss for epoch in run.epochs]
    best = losses.index(min(losses))
    assert len(losses) == best + 3 < 40
    assert load_run(tmp_path / "run").epochs == run.epochs


# ---- real processes ----------------------------------------------------------------------------------


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(2000):
        if path.exists() or process.poll() is not None:
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of six epochs that nobody stopped."""
    folder = tmp_path_factory.mktemp("undisturbed")
    done = subprocess.run(
        command(folder / "run", *flags(small_job(folder, epochs=6), epochs=6)), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_process_is_stopped_and_resumed(
    signal_number: signal.Signals, undisturbed: Path, tmp_path: Path
) -> None:
    job, folder = small_job(tmp_path, epochs=6), tmp_path / "stopped"
    process = _start(command(folder, *flags(job, epochs=6)))
    _wait_for(folder / CHECKPOINT, process)
    time.sleep(random.Random(signal_number).random() * 0.1)
    process.send_signal(signal_number)
    _, told = process.communicate(timeout=60)
    if signal_number != signal.SIGKILL:
        assert process.returncode in (0, 130), told
    resumed = subprocess.run(command(folder, "--resume"), capture_output=True, text=True)
    assert resumed.returncode == 0, resumed.stderr
    assert result_of(folder) == result_of(undisturbed)
    assert not list(folder.glob(".*partial")) or signal_number == signal.SIGKILL


# ---- what does not fit -------------------------------------------------------------------------------


def test_settings_that_disagree_are_named(tmp_path: Path) -> None:
    train_language_model(small_job(tmp_path, max_steps=3), tmp_path / "run")
    with pytest.raises(ValueError, match=r"hidden_size is 16, not 32; learning_rate is 0\.02, not 0\.5"):
        train_language_model(
            small_job(tmp_path, max_steps=3, hidden_size=32, learning_rate=0.5), tmp_path / "run", resume=True
        )


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, max_steps=3)
    train_language_model(job, tmp_path / "run")
    with pytest.raises(FileExistsError, match=r"is not empty, it holds config\.json"):
        train_language_model(job, tmp_path / "run")


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no run to resume"):
        train_language_model(None, tmp_path / "absent", resume=True)


def test_a_run_killed_while_it_prepared_its_text_can_be_started_again(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "vocab.json").write_text("{")
    (folder / ".tokens.bin.123.partial").write_bytes(b"xx")
    assert train_language_model(small_job(tmp_path, max_steps=3), folder).epochs


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
        train_language_model(job, tmp_path / "run", reporter=KillAt(6))
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
            tensors["optimizer/0/exp_avg"] = torch.zeros(2)
        elif damage == "part of the optimizer":
            del tensors["optimizer/0/exp_avg"]
        elif damage == "no state":
            del tensors["state/1"]
        elif damage == "another batch":
            tensors["state/0"] = tensors["state/0"][:, :1].contiguous()
        elif damage == "no random state":
            del tensors["random/0"]
        elif damage == "not a random state":
            tensors["random/0"] = torch.zeros(3)
        else:
            counters.steps = 10_000
        write_checkpoint(path, tensors, counters)
    with pytest.raises(ValueError, match=str(path)):
        train_language_model(None, tmp_path / "run", resume=True)


def test_a_checkpoint_of_another_context_is_refused(tmp_path: Path) -> None:
    job = small_job(tmp_path, cell="transformer", max_steps=8)
    with pytest.raises(Killed):
        train_language_model(job, tmp_path / "run", reporter=KillAt(6))
    path = tmp_path / "run" / CHECKPOINT
    tensors, counters = read_checkpoint(path)
    tensors["state/3"] = tensors["state/3"][:, :, :, 1:].contiguous()
    write_checkpoint(path, tensors, counters)
    with pytest.raises(ValueError, match=r"state/3 should be \[1, 4, 8, 64, 2\], is \[1, 4, 8, 63, 2\]"):
        train_language_model(None, tmp_path / "run", resume=True)


def test_other_threads_are_told(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train_language_model(small_job(tmp_path, max_steps=8), tmp_path / "run", reporter=KillAt(6))
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        with pytest.warns(UserWarning, match=f"written with threads {before}, this process has {before + 1}"):
            train_language_model(None, tmp_path / "run", resume=True)
    finally:
        torch.set_num_threads(before)


def test_a_diverging_run_stops_with_words_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    job = small_job(
        tmp_path, optimizer="sgd", learning_rate=1e38, weight_decay=0.0, clip_norm=1e30, cell="rnn"
    )
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        train_language_model(job, tmp_path / "run")


def test_weights_that_diverged_take_no_checkpoints_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step with a finite loss may spoil the weights; the next loss tells it, after the checkpoint."""
    job = small_job(tmp_path, checkpoint_every=1)
    with pytest.raises(Killed):
        train_language_model(job, tmp_path / "run", reporter=KillAt(6))
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()
    step = TruncatedBPTT.step

    def spoil(trainer: TruncatedBPTT) -> StepResult:
        result = step(trainer)
        torch.nn.init.constant_(trainer.model.projection.bias, torch.nan)
        return result

    monkeypatch.setattr(TruncatedBPTT, "step", spoil)
    with pytest.raises(FloatingPointError, match=r"projection\.bias holds NaN .* at step 6: .* diverged"):
        train_language_model(None, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before


def test_a_validation_that_diverged_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pyrnn.train.language_model.evaluate", lambda *_: Evaluation(math.inf, 1))
    with pytest.raises(FloatingPointError, match=r"the validation loss is inf at step \d+: .* diverged"):
        train_language_model(small_job(tmp_path, max_steps=3), tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_full_disk_leaves_the_checkpoint_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = small_job(tmp_path)
    with pytest.raises(Killed):
        train_language_model(job, tmp_path / "run", reporter=KillAt(6))
    before = (tmp_path / "run" / CHECKPOINT).read_bytes()

    def full(tensors: object, path: Path, **_: object) -> None:
        Path(path).write_bytes(b"half a file")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("pyrnn.train.checkpoint.save_file", full)
        with pytest.raises(OSError, match="No space left"):
            train_language_model(None, tmp_path / "run", resume=True)
    assert (tmp_path / "run" / CHECKPOINT).read_bytes() == before
    train_language_model(None, tmp_path / "run", resume=True)
    train_language_model(job, tmp_path / "whole")
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")
