"""DistributedDataParallel: two processes train as one with torch's layers, also with a static graph."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.integrations.model import assert_close, losses, twins
from tests.integrations.processes import train_half, two_processes


def train(rank: int, path: Path, static_graph: bool) -> None:
    _, ours = twins()
    train_half(DistributedDataParallel(ours, static_graph=static_graph), rank, path)


@pytest.mark.parametrize("static_graph", [False, True])
def test_two_processes(static_graph: bool, tmp_path: Path) -> None:
    two_processes(train, tmp_path / "losses", static_graph)
    theirs, _ = twins()
    assert_close(torch.load(tmp_path / "losses"), losses(theirs))
