"""Speed of one recurrent layer and of a whole training step, on this package's layers and on torch.nn's.

The two take turns in one process, because the speed of a shared machine drifts: only ratios within a run mean
much.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pyrnn.models import LanguageModel, LanguageModelConfig, recurrent_class
from pyrnn.models.backbones import Backend
from pyrnn.tasks.language_model import training_batches
from pyrnn.train import GradientTrainer, Job

BACKENDS: tuple[Backend, ...] = ("pyrnn", "torch")


@dataclass(frozen=True)
class SpeedRow:
    """Median tokens a second of both backends for one piece of work."""

    work: str
    tokens_per_second: dict[str, float]

    @property
    def ratio(self) -> float:
        """How many times torch.nn's speed this package's has."""
        return self.tokens_per_second["pyrnn"] / self.tokens_per_second["torch"]


def compare_layers(config: LanguageModelConfig, *, steps: int, batch: int, rounds: int) -> SpeedRow:
    """Forward and backward of the model's recurrent layers alone, on random input [T, B, E]."""
    theirs = _layers(config, "torch")
    ours = _layers(config, "pyrnn")
    ours.load_state_dict(theirs.state_dict())
    input = torch.randn(steps, batch, config.embedding_size, requires_grad=True)
    gradient = torch.randn(steps, batch, config.hidden_size)
    work = {
        backend: _forward_backward(layer, input, gradient)
        for backend, layer in (("pyrnn", ours), ("torch", theirs))
    }
    seconds = _alternate(work, rounds)
    speeds = {backend: steps * batch / statistics.median(seconds[backend]) for backend in BACKENDS}
    return SpeedRow(f"{config.num_layers}-layer {config.architecture.upper()}, forward + backward", speeds)


def compare_training(job: Job, ids: Tensor, *, rounds: int) -> SpeedRow:
    """Whole training steps on the text `ids` [N], both models from the same weights on the same windows."""
    batches = training_batches(ids, job)
    theirs, ours = LanguageModel(job.model, backend="torch"), LanguageModel(job.model)
    ours.load_state_dict(theirs.state_dict())
    trainers = {
        backend: GradientTrainer(job.task, model, batches, job.train)
        for backend, model in (("pyrnn", ours), ("torch", theirs))
    }
    seconds = _alternate({backend: trainers[backend].step for backend in BACKENDS}, rounds)
    window = batches.batch_size * batches.window
    speeds = {backend: window / statistics.median(seconds[backend]) for backend in BACKENDS}
    return SpeedRow("whole training step", speeds)


def _layers(config: LanguageModelConfig, backend: Backend) -> nn.Module:
    return recurrent_class(config.architecture, backend)(
        config.embedding_size, config.hidden_size, config.num_layers
    )


def _forward_backward(layer: nn.Module, input: Tensor, gradient: Tensor) -> Callable[[], None]:
    def run() -> None:
        layer.zero_grad()
        input.grad = None
        layer(input)[0].backward(gradient)

    return run


def _alternate(
    work: Mapping[str, Callable[[], object]], rounds: int, *, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds of each call of `rounds` alternations, the warm-up left out."""
    seconds: dict[str, list[float]] = {backend: [] for backend in work}
    for index in range(warm_up + rounds):
        for backend, run in work.items():
            started = time.perf_counter()
            run()
            if index >= warm_up:
                seconds[backend].append(time.perf_counter() - started)
    return seconds
