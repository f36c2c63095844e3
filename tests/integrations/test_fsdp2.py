"""FSDP2 (fully_shard): two processes share the parameters, each layer and the model around it sharded."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

import pyrnn
from tests.integrations.model import assert_close, losses, twins
from tests.integrations.processes import train_half, two_processes


def train(rank: int, path: Path) -> None:
    _, ours = twins()
    mesh = init_device_mesh("cpu", (2,))
    for layer in (ours.encoder, ours.block, ours.cell, ours):
        fully_shard(layer, mesh=mesh)
    assert isinstance(ours.encoder, pyrnn.LSTM)
    assert isinstance(ours.encoder, nn.LSTM)
    assert isinstance(ours.encoder, FSDPModule)
    seen: list[str] = []
    ours.cell.register_forward_hook(lambda *_: seen.append("cell"))
    train_half(ours, rank, path)
    assert len(seen) == 6 * 6


def test_two_processes(tmp_path: Path) -> None:
    two_processes(train, tmp_path / "losses")
    theirs, _ = twins()
    assert_close(torch.load(tmp_path / "losses"), losses(theirs))
