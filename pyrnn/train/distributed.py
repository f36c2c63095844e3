"""The processes that train one model together: torchrun starts them, torch.distributed joins them."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class ProcessGroup:
    """This process among all: number `rank` of `world`. Not `joined`, every method returns its argument."""

    rank: int = 0
    world: int = 1
    joined: bool = False

    @property
    def is_first(self) -> bool:
        """Whether this process writes the files and talks to the user."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place."""
        if self.joined:
            dist.all_reduce(tensor)
        return tensor

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor of this shape, in the order of the ranks."""
        if not self.joined:
            return [tensor]
        parts = [torch.empty_like(tensor) for _ in range(self.world)]
        dist.all_gather(parts, tensor.contiguous())
        return parts

    def total(self, number: float, device: torch.device) -> float | Tensor:
        """The sum of a number over all processes: of one the number itself, of several a float32 scalar."""
        return self.sum(torch.tensor(number, dtype=torch.float32, device=device)) if self.joined else number

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether any process has the flag."""
        return bool(self.sum(torch.tensor(float(flag), device=device))) if self.joined else flag

    def wait(self) -> None:
        """Return when every process has come here."""
        if self.joined:
            dist.barrier()

    def parallel(self, model: nn.Module) -> nn.Module:
        """A module with `model`'s weights whose backward pass averages the gradients of all processes."""
        return DistributedDataParallel(model) if self.joined else model


def local_device(device: torch.device) -> torch.device:
    """Where this process computes: `device`, but for "cuda" the GPU of its number among torchrun's here.

    Raises:
        ValueError: processes without a GPU of their own.
    """
    here = _number_of("LOCAL_WORLD_SIZE", 1)
    if device.type != "cuda" or not _has_launcher():
        return device
    index: Any = device.index  # may be None, which torch's own type leaves out
    if index is None:
        device = torch.device("cuda", _number_of("LOCAL_RANK", 0))
    elif here > 1:
        raise ValueError(f"{device} would be the GPU of {here} processes; write cuda, and each takes its own")
    if device.index >= torch.cuda.device_count():
        raise ValueError(
            f"{here} processes need as many GPUs, and torch sees {torch.cuda.device_count()}: start fewer "
            "(--nproc-per-node), or compute on the CPU"
        )
    return device


@contextmanager
def process_group(device: torch.device) -> Generator[ProcessGroup, None, None]:
    """Join the processes that torchrun started: gloo on CPUs, NCCL on GPUs. Without torchrun there is one.

    Args:
        device: what `local_device` gave.

    Raises:
        ValueError: the environment of a launcher is incomplete, or its numbers do not fit together.
        RuntimeError: the others cannot be reached.
    """
    if not _has_launcher():
        yield ProcessGroup()
        return
    _check_environment()
    if device.type == "cuda":
        torch.cuda.set_device(device)
        dist.init_process_group("nccl", device_id=device)
    else:
        dist.init_process_group("gloo")
    try:
        yield ProcessGroup(dist.get_rank(), dist.get_world_size(), joined=True)
    finally:
        dist.destroy_process_group()


def _has_launcher() -> bool:
    """Whether a launcher started this process, which may be the only one."""
    return dist.is_torchelastic_launched() or _number_of("WORLD_SIZE", 1) > 1


def _check_environment() -> None:
    """Refuse what torch would wait for without an end."""
    rank, world = _number_of("RANK", None), _number_of("WORLD_SIZE", None)
    if not 0 <= rank < world:
        raise ValueError(f"RANK is {rank} of WORLD_SIZE {world} processes: start them with torchrun")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if not os.environ.get(name):
            raise ValueError(
                f"WORLD_SIZE is {world}, and {name} is not set: start the processes with torchrun"
            )


def _number_of(name: str, default: int | None) -> int:
    """What the environment says, or `default` where it says nothing and may.

    Raises:
        ValueError: it says no number, or nothing.
    """
    text = os.environ.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ValueError(
            f"the environment variable {name} should be a number, set by torchrun; it is {text!r}: unset it, "
            "or start the processes with torchrun"
        )
    return int(text)
