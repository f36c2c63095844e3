"""Hugging Face Trainer: a PreTrainedModel with our layers trains, is saved and loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
from tests.integrations.model import Model, assert_close, batches, losses, twins

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own, of many kinds


def test_a_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import transformers

    class Config(transformers.PretrainedConfig):
        model_type = "tests-of-pyrnn"

    class Pretrained(transformers.PreTrainedModel):
        config_class = Config

        def __init__(self, config: Config) -> None:
            super().__init__(config)
            self.inner = Model()
            self.post_init()

        def forward(self, tokens: Tensor, labels: Tensor) -> Any:
            logits = self.inner(tokens)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    theirs, ours = twins()
    model = Pretrained(Config())
    model.inner = ours
    rows = [
        {"tokens": tokens, "labels": label}
        for batch in batches()
        for tokens, label in zip(*batch, strict=True)
    ]
    arguments = transformers.TrainingArguments(
        str(tmp_path / "run"), num_train_epochs=1, per_device_train_batch_size=4, learning_rate=0.1,
        lr_scheduler_type="constant", optim="sgd", logging_steps=1, report_to=[], save_strategy="no",
        use_cpu=True, max_grad_norm=0.0, train_sampling_strategy="sequential",
    )  # fmt: skip
    trainer = transformers.Trainer(model, arguments, train_dataset=rows)  # type: ignore[arg-type]
    trainer.train()
    told = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    torch.testing.assert_close(told, losses(theirs), rtol=0, atol=2e-3)  # its log is rounded

    trainer.save_model(str(tmp_path / "model"))
    loaded = Pretrained.from_pretrained(tmp_path / "model").eval()
    assert not pyrnn.accelerate(loaded).kept
    tokens = batches()[0][0]
    assert_close(loaded.inner(tokens), ours.eval()(tokens))
