"""Lightning: a LightningModule with our layers trains as with torch's, its checkpoint is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from tests.integrations.model import assert_close, batches, loss_of, losses, twins

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, of many kinds


def test_a_fit(tmp_path: Path) -> None:
    import lightning

    class Task(lightning.LightningModule):
        def __init__(self, model: nn.Module) -> None:
            super().__init__()
            self.model, self.told = model, []

        def training_step(self, batch: Any, _: int) -> Tensor:
            loss = loss_of(self.model, batch)
            self.told.append(loss.item())
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.1)

    theirs, ours = twins()
    task = Task(ours)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path,
    )  # fmt: skip
    data: Any = batches()
    trainer.fit(task, DataLoader(data, batch_size=None, shuffle=False))
    assert_close(task.told, losses(theirs))

    trainer.save_checkpoint(tmp_path / "model.ckpt")
    _, fresh = twins()
    loaded = Task.load_from_checkpoint(tmp_path / "model.ckpt", model=fresh)
    tokens = data[0][0]
    assert torch.equal(loaded.model(tokens), ours(tokens))
