"""Word vectors as a task: its runs, and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.embeddings import train_word2vec
from pyrnn.tasks import evaluate, load_run, make_job
from pyrnn.tasks.word_vectors import WordVectorRun
from pyrnn.train import Job, resumed_job, train
from pyrnn.train.run_folder import CHECKPOINT
from tests.train.small_runs import KillAt, Killed, result_of

TEXT = "the king and the queen\nthe sun and the rain\nbread and soup\n" * 60


def small_job(folder: Path, **settings: Any) -> Job:
    (folder / "text.txt").write_text(TEXT)
    small = {"vector_size": 8, "epochs": 2, "batch_size": 150, "checkpoint_every": 3, "log_every": 2}
    return make_job("word-vectors", {"text": str(folder / "text.txt"), **small, **settings})


@pytest.mark.parametrize(
    "settings", [{}, {"model": "cbow", "loss": "hierarchical-softmax"}, {"max_n": 3, "buckets": 9}]
)
def test_a_run_that_is_killed_ends_with_the_same_bits(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, **settings)
    train(job, tmp_path / "whole")
    for again, moment in enumerate((1, 4, -1, 11)):
        with pytest.raises(Killed):
            train(job, tmp_path / "killed", resume=bool(again), reporter=KillAt(moment))
    train(resumed_job(job.task, tmp_path / "killed"), tmp_path / "killed", resume=True)
    assert result_of(tmp_path / "killed") == result_of(tmp_path / "whole")


#: The command line with pauses between the steps, so that a signal meets one.
SLOWLY = """
import sys, time
from pyrnn.cli import main
from pyrnn.embeddings import Word2VecTrainer

step = Word2VecTrainer.step
Word2VecTrainer.step = lambda trainer: (time.sleep(0.05), step(trainer))[1]
sys.argv[0] = "pyrnn"
sys.exit(main())
"""


def test_a_process_that_is_killed_goes_on(tmp_path: Path) -> None:
    job = small_job(tmp_path)
    train(job, tmp_path / "whole")
    flags = [part for k, v in job.given["model"].items() for part in (f"--{k.replace('_', '-')}", str(v))]
    for table in ("data", "train"):
        flags += [part for k, v in job.given[table].items() for part in (f"--{k.replace('_', '-')}", str(v))]
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, "train", "word-vectors", str(folder), *flags],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(6000):
        if (folder / CHECKPOINT).exists() or process.poll() is not None:
            break
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    _, told = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL, told
    train(resumed_job(job.task, folder), folder, resume=True)
    assert result_of(folder) == result_of(tmp_path / "whole")


def test_a_run_is_loaded_and_judged(tmp_path: Path) -> None:
    train(small_job(tmp_path), tmp_path / "run")
    run = load_run(tmp_path / "run")
    assert isinstance(run, WordVectorRun)
    assert run.word_matrix().shape == (len(run.vocabulary), 8)
    assert run.vocabulary.words[:2] == ("the", "and")
    assert run.best.epoch == 2
    scores = evaluate(run, tmp_path / "text.txt")
    assert scores["predictions"] > 100
    assert scores["loss"] == evaluate(run, tmp_path / "text.txt")["loss"]


def test_the_last_epoch_is_kept_and_more_may_follow(tmp_path: Path) -> None:
    train(small_job(tmp_path, patience=1, learning_rate=1.0), tmp_path / "run")
    longer = resumed_job(make_job("word-vectors").task, tmp_path / "run").updated({"epochs": 4})
    run = train(longer, tmp_path / "run", resume=True)
    assert [epoch.epoch for epoch in run.epochs] == [1, 2, 3, 4]
    assert run.best.epoch == 4
    again = load_run(tmp_path / "run")
    assert isinstance(again, WordVectorRun)
    assert isinstance(run, WordVectorRun)
    assert torch.equal(again.word_matrix(), run.word_matrix())


@pytest.mark.parametrize("fraction", [0.0, 0.3])
def test_what_is_held_out(fraction: float, tmp_path: Path) -> None:
    job = small_job(tmp_path, validation_fraction=fraction, min_count=1)
    train(job, tmp_path / "run")
    own = resumed_job(job.task, tmp_path / "run")
    train_part, held_out = (
        job.task.batches(own, tmp_path / "run", split) for split in ("train", "validation")
    )
    words = [sum(int(part[n]["words"]) for n in range(len(part))) for part in (train_part, held_out)]
    assert words[0] == (len(TEXT.split()) if fraction == 0 else len(TEXT.split()) - words[1])
    assert words[1] >= max(fraction, 0.01) * len(TEXT.split()) - 5


def test_another_text_may_judge(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("the king and the xylophone\n" * 3)
    job = small_job(tmp_path, validation_text=str(tmp_path / "other.txt"))
    run = train(job, tmp_path / "run")
    assert run.epochs[-1].validation.keys() == {"loss"}
    scores = evaluate(run, tmp_path / "other.txt")
    assert scores["loss"] == pytest.approx(run.epochs[-1].score, rel=0.1)  # other noise words


def test_vectors_may_begin_with_those_of_another_run(tmp_path: Path) -> None:
    first = train(small_job(tmp_path), tmp_path / "first")
    (tmp_path / "more.txt").write_text("the king and the xylophone\n" * 30)
    second = train(
        make_job("word-vectors", {"text": str(tmp_path / "more.txt"), "init_from": str(tmp_path / "first")}),
        tmp_path / "second",
    )
    assert isinstance(second, WordVectorRun)
    assert isinstance(first, WordVectorRun)
    assert second.vocabulary.words == first.vocabulary.words
    place = first.vocabulary.find("soup")
    assert torch.equal(second.word_matrix()[place], first.word_matrix()[place])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"vector_size": 12}, "vector_size is 8 there, got 12: leave it out"),
        ({"model": "glove"}, "model is 'skipgram' there, got 'glove': leave it out"),
    ],
)
def test_a_run_of_other_sizes_is_no_beginning(settings: dict[str, Any], told: str, tmp_path: Path) -> None:
    train(small_job(tmp_path), tmp_path / "first")
    settings |= {"text": str(tmp_path / "text.txt"), "init_from": str(tmp_path / "first")}
    with pytest.raises(ValueError, match=told):
        train(make_job("word-vectors", settings), tmp_path / "second")
    assert not (tmp_path / "second").exists()


def test_a_training_without_a_prediction_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("king queen\n" * 9)
    job = small_job(tmp_path, validation_text=str(tmp_path / "other.txt"), sample=0.0)
    (tmp_path / "text.txt").write_text("king\nqueen\n" * 90)
    with pytest.raises(ValueError, match="no word of the text has a neighbour in its sentence, so nothing"):
        train(job, tmp_path / "run")
    with pytest.raises(ValueError, match=r"lower min_count, or sample, which is 1e-09 and leaves words out"):
        train_word2vec([["king", "queen"]] * 90, vector_size=8, sample=1e-9)


@pytest.mark.parametrize(
    ("settings", "device", "message"),
    [
        ({"optimizer": "sgd", "momentum": 0.5}, "cpu", "knows no optimizer, momentum: leave it out"),
        ({}, "meta", "is trained on cpu, got meta"),
        ({"min_count": 1000}, "cpu", "none of the 8 distinct words occurs 1000 times"),
        ({"validation_fraction": 1.0}, "cpu", "validation_fraction must be at least 0 and below 1"),
    ],
)
def test_what_makes_no_sense_is_refused(
    settings: dict[str, Any], device: str, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        train(small_job(tmp_path, **settings), tmp_path / "run", device=device)
    assert not (tmp_path / "run").exists()


def test_a_text_of_one_sentence_has_none_to_hold_out(tmp_path: Path) -> None:
    (tmp_path / "line.txt").write_text("a b " * 500)
    settings = {"text": str(tmp_path / "line.txt"), "vector_size": 4, "epochs": 1}
    with pytest.raises(ValueError, match="too few sentences to hold one out"):
        train(make_job("word-vectors", settings), tmp_path / "run")
    run = train(make_job("word-vectors", {**settings, "validation_fraction": 0.0}), tmp_path / "run")
    assert run.epochs[0].weight == 1000


def test_a_vocabulary_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train(small_job(tmp_path), tmp_path / "run")
    (tmp_path / "run" / "vocab.json").write_text('{"words": ["a"], "counts": [3]}')
    with pytest.raises(ValueError, match=r"vocab\.json has 1 words, config\.json says 8"):
        load_run(tmp_path / "run")
