"""Checkpoints are compared with what they restore, tensor by tensor, before any of it is used."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyrnn.models import LanguageModel
from pyrnn.tasks import make_job
from pyrnn.tasks.language_model import training_batches
from pyrnn.train import GradientTrainer
from pyrnn.train.checkpoint import (
    Counters,
    read_checkpoint,
    restore,
    write_checkpoint,
)

Tensors = dict[str, Tensor]
IDS = torch.arange(999) % 5

EMBEDDING, INPUT, BIAS = (
    f"optimizer/{name}" for name in ("embedding.weight", "recurrent.weight_ih_l0", "recurrent.bias_ih_l0")
)


def _trainer(**settings: Any) -> GradientTrainer:
    backend = settings.pop("backend", "pyrnn")
    sizes = {"embedding_size": 4, "hidden_size": 8, "num_layers": 1, "batch_size": 4, "bptt_steps": 8}
    job = make_job("language-model", {**sizes, **settings}).sized({"vocabulary_size": 5})
    model = LanguageModel(job.model, backend=backend)
    return GradientTrainer(job.task, model, training_batches(IDS, job), job.train)


def _written(path: Path, **settings: Any) -> tuple[Tensors, Counters]:
    trainer = _trainer(**settings)
    for _ in range(2):
        trainer.step()
    tensors, counters = trainer.state_dict(), Counters(steps=2)
    write_checkpoint(path, tensors, counters)
    return tensors, counters


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"architecture": "rnn", "precision": "bfloat16"},
        {"architecture": "transformer", "precision": "bfloat16"},
        {"architecture": "transformer", "optimizer": "sgd"},
        {"architecture": "gru", "optimizer": "sgd", "momentum": 0.5},
        {"backend": "torch"},
        {"backend": "torch", "architecture": "gru", "precision": "bfloat16"},
    ],
)
def test_what_was_written_is_what_is_expected(settings: dict[str, Any], tmp_path: Path) -> None:
    tensors, counters = _written(tmp_path / "a", **settings)
    trainer = _trainer(**settings)
    assert restore(trainer, tmp_path / "a", world=1) == counters
    assert trainer.steps_done == 2
    again = trainer.state_dict()
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def _set(name: str, change: Callable[[Tensor], Tensor]) -> Callable[[Tensors], None]:
    def damage(tensors: Tensors) -> None:
        tensors[name] = change(tensors[name])

    return damage


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (
            _set(f"{EMBEDDING}/exp_avg_sq", lambda t: t.sum()),
            r"exp_avg_sq should be \[5, 4\], is \[\]",
        ),
        (
            _set(f"{EMBEDDING}/exp_avg", lambda t: t.sum()),
            r"exp_avg should be \[5, 4\], is \[\]",
        ),
        (_set(f"{EMBEDDING}/exp_avg", lambda t: t.flatten()), r"should be \[5, 4\], is \[20\]"),
        (_set(f"{EMBEDDING}/exp_avg", Tensor.bfloat16), "should hold float32, holds bfloat16"),
        (
            _set(f"{EMBEDDING}/step", lambda t: t.expand(5, 4).contiguous()),
            r"should be \[\], is \[5, 4\]",
        ),
        (_set(f"{EMBEDDING}/step", Tensor.long), "should hold float32, holds int64"),
        (
            _set(f"{EMBEDDING}/step", lambda t: t * torch.nan),
            "weight/step holds NaN or infinity",
        ),
        (
            _set(f"{EMBEDDING}/step", torch.neg),
            "weight/step holds negative numbers",
        ),
        (
            _set(f"{INPUT}/exp_avg_sq", lambda t: t - 1),
            "weight_ih_l0/exp_avg_sq holds negative numbers",
        ),
        (
            _set(f"{INPUT}/exp_avg", lambda t: t / 0),
            "weight_ih_l0/exp_avg holds NaN or infinity",
        ),
        (_set("model/projection.bias", Tensor.double), "should hold float32, holds float64"),
        (_set("model/projection.bias", Tensor.int), "should hold float32, holds int32"),
        (_set("model/projection.bias", lambda t: t.to(torch.float8_e5m2)), "holds F8_E5M2"),
        (_set("model/projection.bias", lambda t: t * torch.nan), "bias holds NaN or infinity"),
        (
            _set("carried/0/0", lambda t: t[:, :1].contiguous()),
            r"0/0 should be \[1, 4, 8\], is \[1, 1, 8\]",
        ),
        (_set("carried/0/1", Tensor.half), "carried/0/1 should hold float32, holds float16"),
        (_set("carried/0/1", lambda t: t * torch.inf), "carried/0/1 holds NaN or infinity"),
        (_set("random/0", lambda t: t[:-1].clone()), r"random/0 should be \[5056\], is \[5055\]"),
        (_set("random/0", Tensor.float), "random/0 should hold uint8, holds float32"),
        (_set("random/0", torch.zeros_like), "does not fit its run: Invalid mt19937 state"),
        (lambda tensors: tensors.update(more=torch.zeros(2)), r"more should be absent, is \[2\]"),
        (
            lambda tensors: tensors.update({"random/1": tensors["random/0"].clone()}),
            "random/1 should be absent",
        ),
        (
            lambda tensors: tensors.pop("model/projection.bias"),
            r"projection\.bias should be \[5\], is absent",
        ),
        (
            lambda tensors: tensors.pop(f"{BIAS}/step"),
            r"bias_ih_l0/step should be \[\], is absent",
        ),
    ],
)
def test_a_tensor_that_does_not_fit_is_named_before_any_is_used(
    damage: Callable[[Tensors], None], words: str, tmp_path: Path
) -> None:
    tensors, counters = _written(tmp_path / "a")
    damage(tensors)
    write_checkpoint(tmp_path / "a", tensors, counters)
    trainer = _trainer()
    before = trainer.state_dict()
    with pytest.raises(ValueError, match=rf"{tmp_path / 'a'} .*{words}"):
        restore(trainer, tmp_path / "a", world=1)
    if "mt19937" not in words:
        after = trainer.state_dict()
        assert all(torch.equal(after[name], before[name]) for name in before)
        assert trainer.steps_done == 0


def test_a_checkpoint_of_a_gpu_goes_on_on_a_cpu(tmp_path: Path) -> None:
    tensors, counters = _written(tmp_path / "a")
    tensors["random_cuda/0"] = torch.zeros(16, dtype=torch.uint8)
    write_checkpoint(tmp_path / "a", tensors, counters)
    restore(_trainer(), tmp_path / "a", world=1)


@pytest.mark.parametrize(
    ("counters", "words"),
    [
        ("", "its counters cannot be read"),
        ("[" * 100_000, "its counters cannot be read"),
        ("[]", "expected a table of settings, got list"),
        ({"steps": -1}, "steps must not be negative, got -1"),
        ({"steps": True}, "steps must be int, got True"),
        ({"steps": 2.0}, r"steps must be int, got 2\.0"),
        ({"steps": 10**30}, "steps must be at most 9223372036854775807"),
        ({"steps": 10**6}, "is at step 1000000 of a run of "),
        ({"epoch_loss": float("nan")}, "epoch_loss must be at least .*, got nan"),
        ({"epoch_loss": float("inf")}, "epoch_loss must be at most"),
        ({"epoch_loss": 10**400}, "epoch_loss must be float"),
        ({"best_score": float("-inf")}, "best_score must be at least"),
        ({"epoch_weight": 10**400}, "epoch_weight must be float"),
        ({"epoch_seconds": -1.0}, "epoch_seconds must not be negative"),
        ({"epochs_without_improvement": -3}, "epochs_without_improvement must not be negative"),
        ({"world": 0}, "world must be at least 1"),
        ({"world": 10**18}, "was written by 1000000000000000000 processes"),
        ({"threads": -1}, "threads must be at least 1"),
        ({"torch": 3}, "torch must be str, got 3"),
        ({"more": 3}, "unknown settings more"),
    ],
)
def test_counters_that_make_no_sense_are_refused(
    counters: str | dict[str, Any], words: str, tmp_path: Path
) -> None:
    tensors, _ = _written(tmp_path / "a")
    text = counters if isinstance(counters, str) else json.dumps({"steps": 2, **counters})
    save_file(tensors, tmp_path / "a", metadata={"counters": text})
    with pytest.raises(ValueError, match=rf"{tmp_path / 'a'}.*{words}"):
        restore(_trainer(), tmp_path / "a", world=1)


def test_a_file_without_counters_is_damaged(tmp_path: Path) -> None:
    tensors, _ = _written(tmp_path / "a")
    save_file(tensors, tmp_path / "a")
    with pytest.raises(ValueError, match=r"a is damaged: its counters cannot be read"):
        read_checkpoint(tmp_path / "a")


def test_the_header_is_compared_before_tensors_are_read(tmp_path: Path) -> None:
    """A header may promise terabytes, and a hole in a file costs nothing."""
    _written(tmp_path / "a")
    with safe_open(tmp_path / "a", "pt") as file:
        metadata = file.metadata()
    header = {"__metadata__": metadata, "x": {"dtype": "F32", "shape": [2**38], "data_offsets": [0, 2**40]}}
    text = json.dumps(header).encode()
    (tmp_path / "a").write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(tmp_path / "a", 8 + len(text) + 2**40)
    with pytest.raises(ValueError, match="should be"):
        restore(_trainer(), tmp_path / "a", world=1)
