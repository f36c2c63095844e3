"""GloVe by `pyrnn train word-vectors --model glove`, from a text to vectors."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.tasks import evaluate, find_task, load_run, make_job
from pyrnn.tasks.word_vectors import WordVectorRun
from pyrnn.train import resumed_job, train
from pyrnn.train.run_folder import CHECKPOINT
from tests.train.small_runs import KillAt, Killed, command, result_of

SMALL = {"model": "glove", "vector_size": 8, "min_count": 1, "window": 3, "epochs": 4, "checkpoint_every": 1}


def _text(folder: Path) -> Path:
    draw = random.Random(1)
    topics = (["cat", "dog", "cow", "hen"], ["red", "blue", "green", "grey"])
    lines = [" ".join([*draw.choices(draw.choice(topics), k=6), "and"]) for _ in range(300)]
    path = folder / "text.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def _job(folder: Path, **settings: Any) -> Any:
    return make_job("word-vectors", {"text": str(_text(folder)), "batch_size": 16, **SMALL, **settings})


def test_a_run_keeps_words_counts_and_vectors(tmp_path: Path) -> None:
    run = train(_job(tmp_path, epochs=30, learning_rate=0.2), tmp_path / "run")
    assert isinstance(run, WordVectorRun)
    kept = {path.name for path in (tmp_path / "run").iterdir()}
    assert kept == {
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "pairs.bin",
        CHECKPOINT,
        "vocab.json",
    }
    assert run.vocabulary.words[0] == "and"
    losses = [epoch.score for epoch in run.epochs]
    assert losses[-1] < 0.1 * losses[0]
    again = load_run(tmp_path / "run")
    assert isinstance(again, WordVectorRun)
    model: Any = again.model
    assert torch.equal(again.word_matrix(), model.words + model.contexts)
    assert torch.equal(again.word_matrix(), run.word_matrix())
    told = evaluate(again, str(tmp_path / "text.txt"))
    assert told["loss"] == pytest.approx(losses[-1], rel=1e-5)


@pytest.mark.parametrize("combination", ["mean", "word"])
def test_what_a_words_vector_is_made_of(tmp_path: Path, combination: str) -> None:
    run: Any = train(_job(tmp_path, combination=combination), tmp_path / "run")
    w, c = run.model.words, run.model.contexts
    assert torch.equal(run.word_matrix(), w if combination == "word" else (w + c) / 2)


def test_a_run_that_is_stopped_ends_with_the_same_bits(tmp_path: Path) -> None:
    job = _job(tmp_path)
    train(job, tmp_path / "whole")
    expected = result_of(tmp_path / "whole")
    blocks = expected[2]["steps"] // 4
    assert blocks == 3
    for again, moment in enumerate((1, blocks, blocks + 2, -2)):
        with pytest.raises(Killed):
            train(job, tmp_path / "killed", resume=bool(again), reporter=KillAt(moment))
    train(resumed_job(find_task("word-vectors"), tmp_path / "killed"), tmp_path / "killed", resume=True)
    assert result_of(tmp_path / "killed") == expected


def test_a_run_that_is_killed_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    job = _job(tmp_path, epochs=12)
    train(job, tmp_path / "whole")
    shown = {"text": job.data.text, "batch_size": 16, **SMALL, "epochs": 12}
    arguments = [part for k, v in shown.items() for part in (f"--{k.replace('_', '-')}", str(v))]
    folder = tmp_path / "killed"
    with subprocess.Popen(
        command(folder, *arguments, "--threads", "1", task="word-vectors"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        until = time.monotonic() + 60
        while not (folder / CHECKPOINT).exists() and time.monotonic() < until:
            time.sleep(0.005)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    train(resumed_job(find_task("word-vectors"), folder), folder, resume=True)
    assert result_of(folder) == result_of(tmp_path / "whole")


def test_the_memory_changes_nothing(tmp_path: Path) -> None:
    results = []
    for memory_mib in (1 / 16, 64.0):
        train(_job(tmp_path, memory_mib=memory_mib), tmp_path / str(memory_mib))
        results.append(result_of(tmp_path / str(memory_mib)))
    assert results[0] == results[1]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"negative": 7}, "negative is no setting of glove, got 7: leave it out"),
        ({"shared_negatives": True}, "shared_negatives is no setting of glove"),
        ({"model": "cbow", "x_max": 5.0}, "x_max is no setting of cbow, got 5.0: leave it out"),
        ({"x_max": 0.0}, "x_max must be above 0 and finite, got 0.0"),
        ({"window": 0}, "window must be at least 1, got 0"),
        ({"alpha": -0.5}, "alpha must not be negative, got -0.5"),
        ({"memory_mib": 0.01}, "memory_mib must be at least 0.0625, got 0.01"),
        ({"sides": "right"}, "sides must be one of 'both', 'left', got 'right'"),
        ({"validation_fraction": 0.2}, "validation_fraction is no setting of glove"),
        ({"learning_rate": 20.0}, r"learning_rate must lie in \(0, 10\], got 20.0"),
    ],
)
def test_what_does_not_belong_to_it_is_refused(tmp_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        train(_job(tmp_path, **settings), tmp_path / "run")
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_text_without_pairs_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one\ntwo\nthree\n")
    job = make_job("word-vectors", {"text": str(tmp_path / "words.txt"), **SMALL})
    with pytest.raises(ValueError, match="a text of 3 tokens has no two of them in one sentence"):
        train(job, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_damaged_file_of_counts_is_refused_in_words(tmp_path: Path) -> None:
    job = _job(tmp_path)
    with pytest.raises(Killed):
        train(job, tmp_path / "run", reporter=KillAt(2))
    path = tmp_path / "run" / "pairs.bin"
    path.write_bytes(b"\xff" * len(path.read_bytes()))
    with pytest.raises(
        ValueError, match=r"pairs.bin is damaged: ids must lie in \[0, 9\), and counts be above 0"
    ):
        train(resumed_job(find_task("word-vectors"), tmp_path / "run"), tmp_path / "run", resume=True)


def test_its_defaults_are_its_own() -> None:
    glove, other = make_job("word-vectors", {"model": "glove"}), make_job("word-vectors")
    assert (glove.model.window, glove.train.learning_rate, glove.train.epochs) == (10, 0.05, 25)
    assert (other.model.window, other.train.learning_rate, other.train.epochs) == (5, 0.025, 5)
