"""How a model is trained: one optimizer step after another, with all that a step depends on as one state."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pyrnn._tensors import Expected, exactly
from pyrnn.data import PreparedBatches
from pyrnn.train.averaging import WeightAverage
from pyrnn.train.config import TrainConfig
from pyrnn.train.distributed import ProcessGroup
from pyrnn.train.optimization import Optimization
from pyrnn.train.task import Batches, Task

#: Seed and offset.
_CUDA_GENERATOR = Expected((16,), (torch.uint8,))

_LOWER_PRECISION = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class StepResult:
    """One optimizer step.

    Args:
        loss: the mean over all that the task weighs; a scalar that may still be computed on a GPU.
        grad_norm: norm of the gradient before clipping; likewise. None where nobody computes it.
        weight: how much that was, for instance tokens; of several processes a scalar that may still be
            computed.
        work: how much was worked through in the trainer's `unit`, where the loss is a mean over something
            else; None: that is the weight.
    """

    loss: Tensor
    grad_norm: Tensor | None
    weight: float | Tensor
    work: float | None = None

    @property
    def units(self) -> float | Tensor:
        """What speed is counted in."""
        return self.weight if self.work is None else self.work

    def figures(self) -> dict[str, float]:
        """Loss and norm as numbers, which may wait for a GPU."""
        found = {"loss": self.loss.item()}
        return found if self.grad_norm is None else {**found, "grad_norm": self.grad_norm.item()}


class Trainer(Protocol):
    """What the loop runs: anything that makes steps and can say where it is.

    Attributes:
        steps_done: optimizer steps so far.
        total_steps: of the whole run.
        epoch_steps: of one epoch.
        unit: what the work of a step counts.
    """

    steps_done: int
    total_steps: int
    epoch_steps: int
    unit: str

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        ...

    def step(self) -> StepResult:
        """Make the next step."""
        ...

    def evaluate(self, batches: Batches) -> dict[str, float]:
        """The scores of the weights that are to be kept."""
        ...

    def weights(self) -> AbstractContextManager[nn.Module]:
        """The model, within the context with the weights that are to be kept: the last or an average."""
        ...

    def end_epoch(self) -> None:
        """Told before the evaluation at an epoch's end."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """All that a bit-exact resume needs, of all processes; every process calls it."""
        ...

    def expected_state(self, steps: int, names: Sequence[str]) -> Mapping[str, Expected]:
        """What `state_dict` holds after so many steps, given the names of the tensors there are."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Go on from a state that is as expected."""
        ...


class GradientTrainer:
    """Trains any task by gradients; a `Trainer`.

    All that a step depends on is the model's parameters and buffers, the optimizer, the carried state, the
    average of the weights, torch's generators and `steps_done`: the batch and the learning rate follow from
    that. Each epoch starts with nothing carried. Of several processes each computes its shard of the batch,
    and with `accumulate` in parts: loss and gradient are those of one process that computes the whole at once
    (dropout masks differ).

    On a GPU nothing here waits for the device; a step whose loss or gradient is not finite changes no weight.

    Sources: truncated back-propagation, where the task carries a state: Williams and Peng, "An efficient
    gradient-based algorithm for on-line training of recurrent network trajectories", 1990; clipping: Pascanu
    et al., "On the difficulty of training recurrent neural networks", 2013.

    Args:
        task: says what the loss is.
        model: trained in place, on the device where it lies.
        batches: the training data, all shards together.
        config: the recipe.
        processes: those that train together.

    Raises:
        ValueError: the batch size is not a multiple of processes times `accumulate`.

    Example:
        >>> from pyrnn.tasks import make_job
        >>> from pyrnn.tasks.language_model import training_batches
        >>> job = make_job("language-model", {"batch_size": 2, "bptt_steps": 8}).sized({"vocabulary_size": 5})
        >>> batches = training_batches(torch.arange(99) % 5, job)
        >>> trainer = GradientTrainer(job.task, job.task.build(job), batches, job.train)
        >>> trainer.step().weight
        16
    """

    def __init__(
        self,
        task: Task,
        model: nn.Module,
        batches: Batches,
        config: TrainConfig,
        *,
        processes: ProcessGroup | None = None,
    ) -> None:
        self.task, self.model, self.batches, self.config = task, model, batches, config
        self.processes = processes or ProcessGroup()
        self.device = next(model.parameters()).device
        self.epoch_steps = len(batches)
        self.total_steps = min(config.epochs * len(batches), config.max_steps or sys.maxsize)
        self.unit = task.unit
        self.steps_done = 0
        world, parts = self.processes.world, config.accumulate
        first = self.processes.rank * parts
        shards = [batches.shard(first + part, world * parts) for part in range(parts)]
        self._batches: list[Batches] = [
            PreparedBatches(shard, workers=config.workers) if config.workers else shard for shard in shards
        ]
        self._first_shard = shards[0]  # all have the same sizes
        self._carried: list[tuple[Tensor, ...] | None] = [None] * parts
        self._optimization = Optimization(model, config, self.total_steps)
        self._average = WeightAverage(model, config)
        self._parallel = self.processes.parallel(model)

    @property
    def optimizer(self) -> torch.optim.Optimizer:
        """That of the trained parameters."""
        return self._optimization.optimizer

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self._optimization.schedule(self.steps_done)

    @property
    def carried(self) -> tuple[Tensor, ...] | None:
        """What the last step left for the next one, in the first part of this process."""
        return self._carried[0]

    def step(self) -> StepResult:
        """Compute the gradient of the next batch, and update the model once."""
        if self.steps_done % self.epoch_steps == 0:
            self._carried = [None] * len(self._batches)
        batches = [own[self.steps_done] for own in self._batches]
        weight = self.processes.total(sum(map(self.task.weight, batches)), self.device)
        self.model.train()
        self._optimization.zero_grad()
        shares: list[Tensor] = []
        for part, batch in enumerate(batches):
            own = {name: tensor.to(self.device, non_blocking=True) for name, tensor in batch.items()}
            with self._synchronized(last=part == len(batches) - 1):
                with self._autocast():
                    loss = self.task.loss(self._parallel, own, self._carried[part], self.config)
                share = loss.sum / _or_one(weight)
                # The average that DistributedDataParallel takes over processes is their sum / world.
                self._optimization.backward(share * self.processes.world)
            self._carried[part] = loss.carried
            shares.append(share.detach())
        total = self.processes.sum(torch.stack(shares).sum())
        grad_norm = self._optimization.step(self.steps_done, total)
        self.steps_done += 1
        self._average.after_step()
        return StepResult(total, grad_norm, weight)

    def _synchronized(self, *, last: bool) -> AbstractContextManager[Any]:
        """Gradients are exchanged in the last part of a step only."""
        parallel = self._parallel
        if last or not isinstance(parallel, DistributedDataParallel):
            return nullcontext()
        return parallel.no_sync()

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = _LOWER_PRECISION.get(self.config.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def end_epoch(self) -> None:
        """Take the weights into their average, where that is one of epochs."""
        self._average.after_epoch()

    def weights(self) -> AbstractContextManager[nn.Module]:
        """The model, within the context with its averaged weights where they are averaged."""
        return self._average.applied()

    @torch.no_grad()
    def evaluate(self, batches: Batches) -> dict[str, float]:
        """The scores of `batches`; the model is left in the mode, training or not, in which it came.

        Several processes share the batches where the batch size is a multiple of their number; else the first
        one evaluates all of them.
        """
        world, rank = self.processes.world, self.processes.rank
        even = batches.batch_size % world == 0
        was_training = self.model.training
        self.model.eval()
        try:
            with self.weights() as model:
                metrics = self.task.evaluate(model, batches.shard(rank, world) if even else batches)
        finally:
            self.model.train(was_training)
        state = metrics.state().to(self.device)
        if even or rank == 0:
            metrics.load_state(self.processes.sum(state))
        else:
            metrics.load_state(self.processes.sum(torch.zeros_like(state)))
        return metrics.compute()

    # ---- the state -----------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Tensor]:
        """The tensors of a checkpoint, on the CPU; every process calls this.

        `model/NAME`, `buffer/NAME`; `optimizer/NAME/KEY`; `average/WHICH/NAME`; `scaler`;
        `carried/SHARD/INDEX`; `random/RANK` and `random_cuda/RANK`: torch's generators.
        """
        tensors = _own_tensors(self.model)
        tensors |= self._optimization.state_dict() | self._average.state_dict()
        for part, carried in enumerate(self._carried):
            for index, tensor in enumerate(carried or ()):
                for rank, other in enumerate(self.processes.gather(tensor)):
                    tensors[f"carried/{rank * len(self._carried) + part}/{index}"] = other
        generators = {"random": torch.get_rng_state()}
        if self.device.type == "cuda":
            generators["random_cuda"] = torch.cuda.get_rng_state(self.device)
        for name, own in generators.items():
            for rank, state in enumerate(self.processes.gather(own.to(self.device))):
                tensors[f"{name}/{rank}"] = state
        return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

    def expected_state(self, steps: int, names: Sequence[str]) -> dict[str, Expected]:
        """Every tensor of a state of this trainer after so many steps.

        Of a GPU's generators a run on the CPU takes what there is among `names`: it does not use them.
        """
        world = self.processes.world
        expected = {name: exactly(tensor) for name, tensor in _own_tensors(self.model).items()}
        expected |= self._average.expected_state(steps // self.epoch_steps, names)
        expected |= self._optimization.expected_state(names)
        expected |= self._expected_carried(steps)
        expected |= {f"random/{rank}": exactly(torch.get_rng_state()) for rank in range(world)}
        on_gpu = [f"random_cuda/{rank}" for rank in range(world)]
        if self.device.type == "cuda":
            return expected | dict.fromkeys(on_gpu, exactly(torch.cuda.get_rng_state(self.device)))
        return expected | dict.fromkeys(set(on_gpu) & set(names), _CUDA_GENERATOR)

    def _expected_carried(self, steps: int) -> dict[str, Expected]:
        shapes = self.task.carried_shapes(self.model, self._first_shard, (steps - 1) % self.epoch_steps + 1)
        if shapes is None:
            return {}
        dtypes = (next(p.dtype for p in self.model.parameters() if p.is_floating_point()),)
        if self.config.precision in _LOWER_PRECISION:  # autocast's, but torch's own layers may keep theirs
            dtypes = (_LOWER_PRECISION[self.config.precision], *dtypes)
        shards = range(self.processes.world * self.config.accumulate)
        return {
            f"carried/{shard}/{index}": Expected(tuple(shape), dtypes)
            for shard in shards
            for index, shape in enumerate(shapes)
        }

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor], steps: int) -> None:
        """Take over a state whose tensors are the expected ones."""
        self.steps_done = steps
        for name, tensor in _own_tensors(self.model).items():
            tensor.copy_(state[name])
        self._optimization.load_state_dict(state)
        self._average.load_state_dict(state)
        first = self.processes.rank * len(self._batches)
        for part in range(len(self._batches)):
            prefix = f"carried/{first + part}/"
            count = sum(name.startswith(prefix) for name in state)
            own = tuple(state[f"{prefix}{index}"].to(self.device) for index in range(count))
            self._carried[part] = own or None
        torch.set_rng_state(state[f"random/{self.processes.rank}"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state[f"random_cuda/{self.processes.rank}"], self.device)


def _or_one(weight: float | Tensor) -> float | Tensor:
    """What to divide by: of nothing the loss is zero, not zero by zero."""
    return weight.masked_fill(weight == 0, 1) if isinstance(weight, Tensor) else weight or 1


def _own_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Parameters, and buffers also where `state_dict` leaves them out; shared ones once."""
    parameters = {f"model/{name}": tensor for name, tensor in model.named_parameters()}
    return parameters | {f"buffer/{name}": tensor for name, tensor in model.named_buffers()}
