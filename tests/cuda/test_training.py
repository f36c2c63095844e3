"""Training on a GPU: what it has of its own beside the layers: generators, processes, checkpoints."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch

from pyrnn.search import SamplingConfig, generate_text
from pyrnn.tasks import evaluate
from pyrnn.train import train
from tests.train.small_runs import (
    KillAt,
    Killed,
    command,
    flags,
    load_text_run,
    losses,
    result_of,
    resume,
    small_job,
)

CUDA = torch.device("cuda")

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="a model is trained on CUDA tensors")


@pytest.mark.parametrize("architecture", ["gru", "lstm", "transformer"])
def test_the_losses_are_those_of_the_cpu(architecture: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, architecture=architecture, dropout=0.0, epochs=1)
    train(job, tmp_path / "gpu", device=CUDA)
    train(job, tmp_path / "cpu")
    assert losses(tmp_path / "gpu") == pytest.approx(losses(tmp_path / "cpu"), rel=1e-3)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"architecture": "gru", "precision": "bfloat16", "tied": True},
        {"architecture": "rnn", "optimizer": "sgd", "momentum": 0.9, "locked_dropout": True},
        {"architecture": "transformer", "input_dropout": 0.1},
    ],
    ids=["lstm", "gru-bfloat16", "rnn-sgd", "transformer"],
)
def test_killed_and_resumed(settings: dict[str, Any], tmp_path: Path) -> None:
    job = small_job(tmp_path, **settings)
    train(job, tmp_path / "whole", device=CUDA)
    for again, moment in enumerate((5, -1, 40)):
        with pytest.raises(Killed):
            train(job, tmp_path / "run", resume=bool(again), device=CUDA, reporter=KillAt(moment))
    resume(tmp_path / "run", device=CUDA)
    assert result_of(tmp_path / "run") == result_of(tmp_path / "whole")


@pytest.mark.parametrize("architecture", ["lstm", "transformer"])
def test_a_model_is_used_where_it_lies(architecture: str, tmp_path: Path) -> None:
    job = small_job(tmp_path, architecture=architecture, epochs=1)
    train(job, tmp_path / "run", device=CUDA)
    run = load_text_run(tmp_path / "run")
    config = SamplingConfig(max_tokens=20)
    assert [len(t) for t in generate_text(run.model.to(CUDA), run.tokenizer, ["the", "a"], config)] == [
        20,
        20,
    ]
    on_gpu = evaluate(run, job.data.text)["loss"]
    run.model.cpu()
    assert on_gpu == pytest.approx(evaluate(run, job.data.text)["loss"], rel=1e-4)


# The first one proves the calls of NCCL, the second that they add.
@pytest.mark.timeout(150)
@pytest.mark.parametrize("processes", [1, 2])
def test_processes_of_torchrun(processes: int, tmp_path: Path) -> None:
    if torch.cuda.device_count() < processes:
        pytest.skip(f"{processes} processes need as many GPUs, here are {torch.cuda.device_count()}")
    settings = {"dropout": 0.0, "epochs": 1}
    job = small_job(tmp_path, **settings)
    train(job, tmp_path / "alone", device=CUDA)
    arguments = command(tmp_path / "run", *flags(job, **settings), "--device", "cuda", processes=processes)
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "run") == pytest.approx(losses(tmp_path / "alone"), rel=1e-4)
    resumed = subprocess.run(
        command(tmp_path / "run", "--resume", "--device", "cuda", processes=processes),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert resumed.returncode == 0, resumed.stderr
