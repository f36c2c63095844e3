"""All that a training run needs to go on exactly where it was, in one file that is whole or not there.

Tensors: `model/NAME`, `optimizer/INDEX/NAME`, `state/INDEX`, the carried state of all processes' streams, and
`random/RANK` (and `random_cuda/RANK`), torch's generators. The counters stand as JSON in the file's metadata.
A file of safetensors holds numbers alone: nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._configuration import from_mapping, require_range
from pyrnn._files import replacing
from pyrnn._tensors import Expected, exactly, not_finite, open_tensors
from pyrnn.models.backbones import state_shapes
from pyrnn.models.state import state_tensors
from pyrnn.train.config import TrainConfig
from pyrnn.train.truncated_bptt import TruncatedBPTT

#: The fused optimizers count their steps in one float.
_STEP = Expected((), (torch.float32,))
#: Seed and offset.
_CUDA_GENERATOR = Expected((16,), (torch.uint8,))


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

    Raises:
        ValueError: a negative number, or one that is not finite.
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

    def __post_init__(self) -> None:
        require_range(self, ("steps", "epoch_symbols", "stale_epochs"), least=0)
        require_range(self, ("world", "threads"), least=1)
        require_range(self, ("epoch_seconds",), least=0.0)
        losses = ("epoch_loss",) if self.best_loss is None else ("epoch_loss", "best_loss")
        require_range(self, losses, least=0.0)


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


def read_checkpoint(
    path: Path, expected: Callable[[Counters, Sequence[str]], Mapping[str, Expected]] | None = None
) -> tuple[dict[str, Tensor], Counters]:
    """What `write_checkpoint` wrote.

    Args:
        path: the file.
        expected: what its tensors should be, given its counters and its tensors' names; asked before any is
            read. None takes them as they are.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or its tensors are not the expected ones.
    """
    with open_tensors(path) as file:
        try:
            stored = json.loads(file.metadata["counters"])
        except (KeyError, ValueError, RecursionError) as error:
            raise ValueError(f"{path} is damaged: its counters cannot be read ({error})") from error
        counters = from_mapping(Counters, stored, where=str(path))
        if expected is not None:
            file.check(expected(counters, file.names), owner="its run")
        return file.read(), counters


def restore(trainer: TruncatedBPTT, path: Path) -> Counters:
    """Put `trainer` and torch's generators where they were.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the checkpoint is damaged, of another model, recipe or number of processes, or of a
            training that diverged.
    """

    def expected(counters: Counters, names: Sequence[str]) -> Mapping[str, Expected]:
        _check_place(trainer, counters, path)
        return _expected(trainer, counters.steps, names)

    tensors, counters = read_checkpoint(path, expected)
    if wrong := not_usable(tensors):
        raise ValueError(
            f"{path} cannot be resumed: {wrong}, the training diverged or the file is damaged; "
            "start the run anew in another folder"
        )
    try:
        _restore(trainer, tensors, counters.steps)
    except RuntimeError as error:  # torch's words for a generator's state that is none
        raise ValueError(f"{path} does not fit its run: {error}") from error
    return counters


def not_usable(tensors: Mapping[str, Tensor]) -> str | None:
    """Why no training goes on from these tensors of a checkpoint, or None."""
    if name := not_finite(tensors):
        return f"{name} holds NaN or infinity"
    for name, tensor in tensors.items():
        kind = name.split("/")
        if kind[0] == "optimizer" and kind[-1] in ("step", "exp_avg_sq") and (tensor < 0).any():
            return f"{name} holds negative numbers"
    return None


def _check_place(trainer: TruncatedBPTT, counters: Counters, path: Path) -> None:
    """Refuse counters of another number of processes, or of a step that the run does not have."""
    world = trainer.processes.world
    if counters.world != world:
        raise ValueError(
            f"{path} was written by {counters.world} processes, this run has {world}: "
            f"resume with --nproc-per-node {counters.world}"
        )
    if not 0 < counters.steps <= trainer.total_steps:  # the first one is written after a step
        raise ValueError(f"{path} is at step {counters.steps} of a run of {trainer.total_steps}")


def _expected(trainer: TruncatedBPTT, steps: int, names: Sequence[str]) -> dict[str, Expected]:
    """Every tensor of a checkpoint of `trainer` after so many steps.

    Of a GPU's generators a run on the CPU takes what there is among `names`: it does not use them.
    """
    model, config, world = trainer.model, trainer.config, trainer.processes.world
    expected = {f"model/{name}": exactly(parameter) for name, parameter in model.named_parameters()}
    for index, parameter in enumerate(model.parameters()):
        for name in _optimizer_tensors(config):
            like = _STEP if name == "step" else exactly(parameter)
            expected[f"optimizer/{index}/{name}"] = like
    dtypes = (next(model.parameters()).dtype,)
    if config.precision == "bfloat16":  # autocast's, but torch's own layers may keep theirs
        dtypes = (torch.bfloat16, *dtypes)
    for index, shape in enumerate(
        state_shapes(model.config, trainer.batches.batch_size, trainer.steps_read(steps))
    ):
        expected[f"state/{index}"] = Expected(shape, dtypes)
    expected |= {f"random/{rank}": exactly(torch.get_rng_state()) for rank in range(world)}
    on_gpu = [f"random_cuda/{rank}" for rank in range(world)]
    if trainer.device.type == "cuda":
        return expected | dict.fromkeys(on_gpu, exactly(torch.cuda.get_rng_state(trainer.device)))
    return expected | dict.fromkeys(set(on_gpu) & set(names), _CUDA_GENERATOR)


@torch.no_grad()
def _restore(trainer: TruncatedBPTT, tensors: dict[str, Tensor], steps: int) -> None:
    """Take over tensors that are the expected ones."""
    rank, device = trainer.processes.rank, trainer.device
    trainer.steps_done = steps
    for name, parameter in trainer.model.named_parameters():
        parameter.copy_(tensors[f"model/{name}"])
    optimizer: dict[str, Any] = trainer.optimizer.state_dict()
    kept = _optimizer_tensors(trainer.config)
    optimizer["state"] = {
        index: {name: tensors[f"optimizer/{index}/{name}"] for name in kept}
        for index, _ in enumerate(trainer.model.parameters())
        if kept
    }
    trainer.optimizer.load_state_dict(optimizer)
    share = trainer.batches.batch_size // trainer.processes.world
    count = sum(name.startswith("state/") for name in tensors)
    own = [tensors[f"state/{i}"][:, rank * share :][:, :share].to(device).contiguous() for i in range(count)]
    trainer.state = own[0] if len(own) == 1 else tuple(own)
    torch.set_rng_state(tensors[f"random/{rank}"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(tensors[f"random_cuda/{rank}"], device)


def _optimizer_tensors(config: TrainConfig) -> tuple[str, ...]:
    """What the optimizer keeps of each parameter."""
    if config.optimizer == "adamw":
        return ("step", "exp_avg", "exp_avg_sq")
    return ("momentum_buffer",) if config.momentum else ()
