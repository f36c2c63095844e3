"""A run that goes on for longer, one that begins with another's weights; folders in use or left behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.tasks import find_task, make_job
from pyrnn.train import resumed_job, train
from pyrnn.train.checkpoint import read_checkpoint
from pyrnn.train.run_folder import CHECKPOINT
from pyrnn.train.run_lock import run_lock
from tests.tasks.test_tagger import sentences, write
from tests.train.small_runs import SMALL, KillAt, Killed, load_text_run, result_of, resume, small_job


def steps_of(folder: Path) -> int:
    return read_checkpoint(folder / CHECKPOINT)[1].steps


def go_on(folder: Path, **settings: Any) -> Any:
    job = resumed_job(find_task("language-model"), folder).updated(settings)
    return train(job, folder, resume=True)


@pytest.mark.parametrize("settings", [{}, {"average_epochs": 3}, {"ema_decay": 0.9}], ids=str)
def test_a_finished_run_goes_on(settings: dict[str, Any], tmp_path: Path) -> None:
    first = train(small_job(tmp_path, epochs=2, **settings), tmp_path / "run")
    longer = go_on(tmp_path / "run", epochs=4)
    assert longer.metrics[: len(first.metrics)] == first.metrics
    assert [epoch.epoch for epoch in longer.epochs] == [1, 2, 3, 4]
    assert longer.job.train.epochs == 4
    rows = [row for row in longer.metrics[len(first.metrics) :] if "learning_rate" in row]
    whole = train(small_job(tmp_path, epochs=4, **settings), tmp_path / "whole")
    rates = {row["step"]: row["learning_rate"] for row in whole.metrics if "learning_rate" in row}
    assert rows
    assert {row["step"]: row["learning_rate"] for row in rows}.items() <= rates.items()


def test_a_run_that_ended_within_an_epoch_goes_on_to_its_end(tmp_path: Path) -> None:
    """Twice within the same epoch, with the mean of the weights at each end."""
    train(small_job(tmp_path, max_steps=5, average_epochs=2), tmp_path / "run")
    go_on(tmp_path / "run", max_steps=8)
    run = go_on(tmp_path / "run", max_steps=0)
    epoch = len(run.job.task.batches(run.job, tmp_path / "run", "train"))
    assert epoch > 8
    assert [e.step for e in run.epochs] == [5, 8, epoch, 2 * epoch, 3 * epoch]
    weights = [e.weight for e in run.epochs]
    assert sum(weights[:3]) == weights[3]  # of an epoch, in three parts


def test_a_run_that_is_to_end_where_it_was_stopped_is_validated_there(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        train(small_job(tmp_path), tmp_path / "run", reporter=KillAt(9))
    assert steps_of(tmp_path / "run") == 8
    run = go_on(tmp_path / "run", max_steps=8)
    assert [epoch.step for epoch in run.epochs] == [8]
    whole = train(small_job(tmp_path, max_steps=8), tmp_path / "whole")
    assert len(whole.epochs) == 1


def test_a_run_cannot_end_before_where_it_is(tmp_path: Path) -> None:
    train(small_job(tmp_path, max_steps=6), tmp_path / "run")
    before = (tmp_path / "run" / "config.json").read_bytes()
    with pytest.raises(ValueError, match="is at step 6 of a run of 4: a run can go on for longer"):
        go_on(tmp_path / "run", max_steps=4)
    assert (tmp_path / "run" / "config.json").read_bytes() == before
    assert resume(tmp_path / "run").metrics


def test_settings_that_were_not_given_stay_as_they_were(tmp_path: Path) -> None:
    settings = {**SMALL, "text": small_job(tmp_path).data.text}
    train(make_job("language-model", {**settings, "epochs": 2}), tmp_path / "run")
    del settings["epochs"]  # of which the default is another
    run = train(make_job("language-model", settings), tmp_path / "run", resume=True)
    assert run.job.train.epochs == len(run.epochs) == 2


def test_patience_that_ended_a_run_can_be_raised(tmp_path: Path) -> None:
    job = small_job(tmp_path, patience=1, epochs=30, learning_rate=1.0)
    run = train(job, tmp_path / "run")
    assert len(run.epochs) < 30
    assert resume(tmp_path / "run").metrics == run.metrics
    assert len(go_on(tmp_path / "run", patience=0).epochs) == 30


def test_what_changes_no_number_may_change(tmp_path: Path) -> None:
    whole = small_job(tmp_path)
    train(whole, tmp_path / "whole")
    with pytest.raises(Killed):
        train(small_job(tmp_path), tmp_path / "run", reporter=KillAt(11))
    go_on(tmp_path / "run", workers=1, checkpoint_every=3)
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


# ---- another run's weights ---------------------------------------------------------------------------


def test_a_run_begins_with_anothers_weights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = train(small_job(tmp_path), tmp_path / "source")
    text = tmp_path / "other.txt"
    text.write_text("ONE quick fox, two lazy dogs\n" * 60)
    settings = {"text": str(text), "init_from": str(tmp_path / "source"), "max_steps": 1, "warmup_steps": 9}
    job = make_job("language-model", {**settings, "batch_size": 4, "bptt_steps": 16, "learning_rate": 1e-9})
    with caplog.at_level(logging.INFO, "pyrnn"):
        train(job, tmp_path / "run")
    run, begun = load_text_run(tmp_path / "run"), load_text_run(tmp_path / "source")
    assert run.tokenizer == begun.tokenizer
    assert run.job.model == begun.job.model
    for ours, theirs in zip(run.model.parameters(), source.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert "of 1,5" in caplog.text
    assert f"tokens are unknown to {tmp_path / 'source'}" in caplog.text
    train(resumed_job(find_task("language-model"), tmp_path / "run").updated({"max_steps": 3}),
          tmp_path / "run", resume=True)  # fmt: skip


def test_a_tagger_begins_with_anothers_weights(tmp_path: Path) -> None:
    text = write(tmp_path / "text.tsv", sentences(60))
    settings = {"text": str(text), "hidden_size": 8, "embedding_size": 8, "epochs": 1}
    train(make_job("tagger", settings), tmp_path / "source")
    other = {"text": str(text), "init_from": str(tmp_path / "source"), "epochs": 1}
    run = train(make_job("tagger", other), tmp_path / "run")
    assert run.job.model.hidden_size == 8


def test_the_first_step_of_a_killed_start_has_the_weights(tmp_path: Path) -> None:
    """Resuming before the first checkpoint begins with them again."""
    train(small_job(tmp_path), tmp_path / "source")
    job = small_job(tmp_path, init_from=str(tmp_path / "source"), epochs=1)
    train(job, tmp_path / "whole")
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(2))
    resume(tmp_path / "run")
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"hidden_size": 24, "dropout": 0.1, "embedding_size": 4},
            "other sizes: hidden_size is 16 there, got 24; embedding_size is 8 there, got 4: leave them out",
        ),
        ({"architecture": "gru"}, "architecture is 'lstm' there, got 'gru': leave it out"),
        ({"level": "word"}, "level is 'character' in .*source, whose vocabulary this run keeps; got 'word'"),
        ({"init_from": "nowhere"}, "nowhere"),
    ],
)
def test_what_does_not_fit_the_other_run(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    train(small_job(tmp_path, max_steps=2), tmp_path / "source")
    small = {"text": str(tmp_path / "text.txt"), "batch_size": 4, "bptt_steps": 16, "epochs": 1}
    job = make_job("language-model", {**small, "init_from": str(tmp_path / "source"), **settings})
    with pytest.raises((ValueError, FileNotFoundError), match=words):
        train(job, tmp_path / "run")


# ---- folders -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("resumed", [False, True])
def test_two_trainings_do_not_share_a_folder(resumed: bool, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    if resumed:
        train(small_job(tmp_path, max_steps=3), folder)
    with run_lock(folder), pytest.raises(BlockingIOError, match="another training is writing to"):
        resume(folder) if resumed else train(small_job(tmp_path, max_steps=3), folder)
    assert (resume(folder) if resumed else train(small_job(tmp_path, max_steps=3), folder)).epochs


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; from pyrnn.train.run_lock import run_lock\n"
        "with run_lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(BlockingIOError), run_lock(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.communicate()
    with run_lock(tmp_path):
        pass


def test_a_start_that_diverged_before_its_first_checkpoint_can_be_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = {"learning_rate": 1e30, "optimizer": "sgd", "clip_norm": 1e30, "warmup_steps": 0}
    with pytest.raises(FloatingPointError):
        train(small_job(tmp_path, checkpoint_every=100, **settings), folder)
    assert not (folder / CHECKPOINT).exists()
    assert train(small_job(tmp_path, max_steps=3), folder).epochs


@pytest.mark.parametrize(
    "settings",
    [{"batch_size": 4000}, {"bptt_steps": 100_000}, {"text": "/nowhere.txt"}, {"hidden_size": 10**7}],
    ids=str,
)
def test_a_refused_start_leaves_nothing(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    with pytest.raises((ValueError, FileNotFoundError)):
        train(small_job(tmp_path, **settings), folder)
    assert not folder.parent.exists()


def test_others_files_are_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"is not empty, it holds thesis\.tex: name another folder"):
        train(small_job(tmp_path, max_steps=3), folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_planted_links_are_not_followed(tmp_path: Path) -> None:
    """Names of files that are being written cannot be guessed, and what stands in their place is not used."""
    folder, precious = tmp_path / "run", tmp_path / "precious"
    precious.write_text("precious")
    train(small_job(tmp_path, max_steps=3), folder)
    for name in ("config.json", "model.safetensors", "metrics.jsonl", CHECKPOINT):
        for middle in (str(os.getpid()), "0" * 16):
            (folder / f".{name}.{middle}.partial").symlink_to(precious)
    go_on(folder, max_steps=6)
    assert precious.read_text() == "precious"
    assert not list(folder.glob(f".*.{'0' * 16}.partial"))  # what has the form of ours is removed


def test_files_have_the_mode_of_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        train(small_job(tmp_path, max_steps=3), tmp_path / "run")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "run").iterdir()}
    assert set(modes.values()) == {0o640}, modes
