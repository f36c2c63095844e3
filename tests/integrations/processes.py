"""Two processes that train one model."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import spawn

from tests.integrations.model import batches, loss_of


def two_processes(target: Callable[..., Any], *args: Any) -> None:
    """Run `target(rank, *args)` in two processes of one gloo group."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    spawn(_one, (port, target, args), nprocs=2)


def _one(rank: int, port: int, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    dist.init_process_group("gloo", rank=rank, world_size=2)
    try:
        target(rank, *args)
    finally:
        dist.destroy_process_group()
    # torch's DistributedDataParallel never frees its group, whose threads may still hold the tensor of the
    # last reduction: freeing it while the interpreter ends aborts the process. So the interpreter does not.
    os._exit(0)


def train_half(model: nn.Module, rank: int, path: Path) -> None:
    """Train on this process's half of each batch, and let the first write the mean losses to `path`."""
    optimizer, told = torch.optim.SGD(model.parameters(), 0.1), []
    for tokens, classes in batches():
        half = slice(2 * rank, 2 * rank + 2)
        loss = loss_of(model, (tokens[half], classes[half]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach() / 2
        dist.all_reduce(mean)
        told.append(mean.item())
    if rank == 0:
        torch.save(told, path)
