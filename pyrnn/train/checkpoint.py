"""All that a training run needs to go on exactly where it was, in one file that is whole or not there.

Tensors: `model/NAME`, `optimizer/INDEX/NAME`, `state/INDEX`, the carried state of all processes' streams, and
`random/RANK` (and `random_cuda/RANK`), torch's generators. The counters stand as JSON in the file's metadata.
A file of safetensors holds numbers alone: nothing in it is executed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._configuration import from_mapping
from pyrnn._files import replacing
from pyrnn.models._bodies import state_shapes
from pyrnn.models._state import state_tensors
from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import Processes
from pyrnn.train.truncated_bptt import TruncatedBPTT


@dataclass
class Counters:
    """Where a run stands, beside its tensors.

    Args:
        steps: optimizer steps done.
        epoch_loss: sum of nats over the symbols read in this epoch.
        epoch_symbols: their number.
        epoch_seconds: seconds of training in this epoch.
        best_loss: lowest validation loss so far; None before the first validation.
        stale_epochs: epochs since then.
        finished: whether the run has ended by itself.
        world: processes that trained together.
        threads: CPU threads of each: another number may change the last bits.
        torch: its version: another may change the last bits.
    """

    steps: int = 0
    epoch_loss: float = 0.0
    epoch_symbols: int = 0
    epoch_seconds: float = 0.0
    best_loss: float | None = None
    stale_epochs: int = 0
    finished: bool = False
    world: int = 1
    threads: int = 1
    torch: str = ""


def gather_checkpoint(trainer: TruncatedBPTT) -> dict[str, Tensor]:
    """The tensors of a checkpoint, from all processes; every process calls this, the first writes it."""
    processes = trainer.processes
    tensors = {f"model/{name}": p.detach() for name, p in trainer.model.named_parameters()}
    for index, values in trainer.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer/{index}/{name}"] = value
    for index, state in enumerate(state_tensors(trainer.state)):
        tensors[f"state/{index}"] = torch.cat(processes.gather(state), dim=1)
    randoms = {"random": torch.get_rng_state()}
    if trainer.device.type == "cuda":
        randoms["random_cuda"] = torch.cuda.get_rng_state(trainer.device)
    for name, own in randoms.items():
        for rank, state in enumerate(processes.gather(own.to(trainer.device))):
            tensors[f"{name}/{rank}"] = state
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}


def write_checkpoint(path: Path, tensors: dict[str, Tensor], counters: Counters) -> None:
    """Write what `gather_checkpoint` gave.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the checkpoint before it stays.
    """
    with replacing(path) as partial:
        try:
            save_file(tensors, partial, metadata={"counters": json.dumps(asdict(counters))})
        except SafetensorError as error:
            raise OSError(f"{path} could not be written: {error}") from error


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Counters]:
    """What `write_checkpoint` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        counters = json.loads(metadata["counters"])
    except (SafetensorError, KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}; start the run anew in another folder") from error
    return tensors, from_mapping(Counters, counters, where=str(path))


def restore(trainer: TruncatedBPTT, tensors: dict[str, Tensor], counters: Counters, *, path: Path) -> None:
    """Put `trainer` and torch's generators where they were.

    Raises:
        ValueError: the checkpoint is of another model, or of another number of processes.
    """
    processes = trainer.processes
    if counters.world != processes.world:
        raise ValueError(
            f"{path} was written by {counters.world} processes, this run has {processes.world}: "
            f"resume with --nproc-per-node {counters.world}"
        )
    if not 0 < counters.steps <= trainer.total_steps:  # the first one is written after a step
        raise ValueError(f"{path} is at step {counters.steps} of a run of {trainer.total_steps}")
    trainer.steps_done = counters.steps
    try:
        _restore(trainer, tensors, processes)
    except (KeyError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} does not fit the model of its run: {error}") from error


@torch.no_grad()
def _restore(trainer: TruncatedBPTT, tensors: dict[str, Tensor], processes: Processes) -> None:
    for name, parameter in trainer.model.named_parameters():
        parameter.copy_(_shaped(tensors, f"model/{name}", parameter))
    optimizer: dict[str, Any] = trainer.optimizer.state_dict()
    parameters = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    optimizer["state"] = {
        index: {
            name.split("/")[2]: tensor
            for name, tensor in tensors.items()
            if name.startswith(f"optimizer/{index}/")
        }
        for index in range(len(parameters))
    }
    for index, values in list(optimizer["state"].items()):
        if set(values) != set(_optimizer_tensors(trainer.config)):
            raise RuntimeError(
                f"the optimizer's state of parameter {index} holds {', '.join(values) or 'nothing'}"
            )
        if any(v.dim() and v.shape != parameters[index].shape for v in values.values()):
            raise RuntimeError(f"the optimizer's state of parameter {index} has another shape")
        if not values:
            del optimizer["state"][index]
    trainer.optimizer.load_state_dict(optimizer)
    _restore_state(trainer, tensors)
    torch.set_rng_state(tensors[f"random/{processes.rank}"])
    if trainer.device.type == "cuda":
        torch.cuda.set_rng_state(tensors[f"random_cuda/{processes.rank}"], trainer.device)


def _restore_state(trainer: TruncatedBPTT, tensors: dict[str, Tensor]) -> None:
    """The carried state of this process's streams."""
    rank, world, batches = trainer.processes.rank, trainer.processes.world, trainer.batches
    shapes = state_shapes(trainer.model.config, batches.batch_size, trainer.steps_read)
    states = [_shaped(tensors, f"state/{i}", torch.empty(s, device="meta")) for i, s in enumerate(shapes)]
    share = batches.batch_size // world
    own = [s[:, rank * share :][:, :share].to(trainer.device).contiguous() for s in states]
    trainer.state = own[0] if len(own) == 1 else tuple(own)


def _optimizer_tensors(config: TrainConfig) -> tuple[str, ...]:
    """What the optimizer keeps of each parameter."""
    if config.optimizer == "adamw":
        return ("step", "exp_avg", "exp_avg_sq")
    return ("momentum_buffer",) if config.momentum else ()


def _shaped(tensors: dict[str, Tensor], name: str, like: Tensor) -> Tensor:
    if tensors[name].shape != like.shape:
        raise RuntimeError(f"{name} should be {list(like.shape)}, is {list(tensors[name].shape)}")
    return tensors[name]
