"""All that a training run needs to go on exactly where it was, in one file that is whole or not there.

The file holds the tensors of a trainer's `state_dict`; the counters stand as JSON in its metadata. It knows
no model. A file of safetensors holds numbers alone: nothing in it is executed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from pyrnn._configuration import LARGEST, from_mapping, require_range
from pyrnn._files import atomic_write
from pyrnn._tensors import Expected, TensorFile, not_finite, open_tensors
from pyrnn.train.trainer import Trainer


@dataclass
class Counters:
    """Where a run stands, beside its tensors.

    Args:
        steps: optimizer steps done.
        epoch_loss: sum of the losses of this epoch, each times its weight.
        epoch_weight: sum of the weights.
        epoch_units: sum of the work in the trainer's unit.
        epoch_seconds: seconds of training in this epoch.
        best_score: the objective's best value so far; None before the first validation.
        epochs_without_improvement: epochs since then.
        finished: whether the run has ended by itself.
        world: processes that trained together.
        threads: CPU threads of each: another number may change the last bits.
        torch: its version: another may change the last bits.

    Raises:
        ValueError: a negative count, or a number that is not finite.
    """

    steps: int = 0
    epoch_loss: float = 0.0
    epoch_weight: float = 0.0
    epoch_units: float = 0.0
    epoch_seconds: float = 0.0
    best_score: float | None = None
    epochs_without_improvement: int = 0
    finished: bool = False
    world: int = 1
    threads: int = 1
    torch: str = ""

    def __post_init__(self) -> None:
        require_range(self, ("steps", "epochs_without_improvement"), least=0)
        require_range(self, ("world", "threads"), least=1)
        require_range(self, ("epoch_weight", "epoch_units", "epoch_seconds"), least=0.0)
        scores = ("epoch_loss",) if self.best_score is None else ("epoch_loss", "best_score")
        require_range(self, scores, least=-LARGEST)


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], counters: Counters) -> None:
    """Write what a trainer's `state_dict` gave.

    Raises:
        OSError: the folder cannot be written, or the disk is full; the checkpoint before it stays.
    """
    with atomic_write(path) as partial:
        try:
            save_file(
                dict(tensors), partial, metadata={"counters": json.dumps(asdict(counters), allow_nan=False)}
            )
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
        counters = _counters_of(file, path)
        if expected is not None:
            file.check(expected(counters, file.names), owner="its run")
        return file.read(), counters


def read_counters(path: Path) -> Counters:
    """What `write_checkpoint` wrote beside the tensors.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged.
    """
    with open_tensors(path) as file:
        return _counters_of(file, path)


def _counters_of(file: TensorFile, path: Path) -> Counters:
    try:
        stored = json.loads(file.metadata["counters"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: its counters cannot be read ({error})") from error
    return from_mapping(Counters, stored, where=str(path))


def restore(trainer: Trainer, path: Path, *, world: int) -> Counters:
    """Put `trainer` and torch's generators where they were.

    Args:
        trainer: has made no step yet.
        path: the file.
        world: processes that train together now.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the checkpoint is damaged, of another model, recipe or number of processes, or of a
            training that diverged.
    """

    def expected(counters: Counters, names: Sequence[str]) -> Mapping[str, Expected]:
        if counters.world != world:
            raise ValueError(
                f"{path} was written by {counters.world} processes, this run has {world}: "
                f"resume with --nproc-per-node {counters.world}"
            )
        if not 0 < counters.steps <= trainer.total_steps:  # the first one is written after a step
            raise ValueError(
                f"{path} is at step {counters.steps} of a run of {trainer.total_steps}: a run can go on for "
                "longer than it was to, not end before the step where it is"
            )
        return trainer.expected_state(counters.steps, names)

    tensors, counters = read_checkpoint(path, expected)
    if wrong := not_usable(tensors):
        raise ValueError(
            f"{path} cannot be resumed: {wrong}, the training diverged or the file is damaged; "
            "start the run anew in another folder"
        )
    try:
        trainer.load_state_dict(tensors, counters.steps)
    except RuntimeError as error:  # torch's words for a generator's state that is none
        raise ValueError(f"{path} does not fit its run: {error}") from error
    return counters


def not_usable(tensors: Mapping[str, Tensor]) -> str | None:
    """Why no training goes on from these tensors of a checkpoint, or None. Buffers may hold anything."""
    if name := not_finite({name: t for name, t in tensors.items() if not name.startswith("buffer/")}):
        return f"{name} holds NaN or infinity"
    for name, tensor in tensors.items():
        kind = name.split("/")
        if kind[0] == "optimizer" and kind[-1] in ("step", "exp_avg_sq") and (tensor < 0).any():
            return f"{name} holds negative numbers"
    return None
