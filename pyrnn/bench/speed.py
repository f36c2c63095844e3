"""Speed of one recurrent layer and of a whole training step, on this package's layers and on torch.nn's.

The two take turns in one process, because the speed of a shared machine drifts: only ratios within a run mean
much.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn.losses import IGNORE
from pyrnn.models import LanguageModel, LanguageModelConfig, detach_state, recurrent_class
from pyrnn.models.backbones import Backend
from pyrnn.tasks.language_model import training_batches
from pyrnn.train import GradientTrainer, Job
from pyrnn.train.config import TrainConfig
from pyrnn.train.schedule import Schedule
from pyrnn.train.task import Batches

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
    ours, theirs = LanguageModel(job.model), _model_of_torch(job.model)
    ours.load_state_dict(theirs.state_dict())
    work = {
        "pyrnn": GradientTrainer(job.task, ours, batches, job.train).step,
        "torch": StepsOfTorch(theirs, batches, job.train).step,
    }
    seconds = _alternate(work, rounds)
    window = batches.batch_size * batches.window
    speeds = {backend: window / statistics.median(seconds[backend]) for backend in BACKENDS}
    return SpeedRow("whole training step", speeds)


class StepsOfTorch:
    """Training steps as one writes them with torch alone: its loss, its clipping, its fused AdamW."""

    def __init__(self, model: nn.Module, batches: Batches, config: TrainConfig) -> None:
        self._model, self._batches, self._config, self._steps = model.train(), batches, config, 0
        self._schedule = Schedule(config.learning_rate, config.warmup_steps, config.epochs * len(batches))
        options: dict[str, Any] = {"betas": config.betas, "weight_decay": config.weight_decay, "fused": True}
        self._optimizer = torch.optim.AdamW(model.parameters(), lr=config.learning_rate, **options)
        self._state: Any = None

    def step(self) -> None:
        """Make the next step."""
        batch = self._batches[self._steps]
        self._optimizer.zero_grad()
        logits, state = self._model(batch["input"], self._state)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1),
            batch["target"].flatten(),
            ignore_index=IGNORE,
            label_smoothing=self._config.label_smoothing,
        )
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), self._config.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._schedule(self._steps)
        self._optimizer.step()
        self._state = None if state is None else detach_state(state)
        self._steps += 1


class TransformerOfTorch(nn.Module):
    """The transformer of `LanguageModel` on torch's layers, by the same names.

    Torch's layers know no window, no ALiBi and no keys of the window before: a step sees the window so far.
    """

    def __init__(self, config: LanguageModelConfig) -> None:
        super().__init__()
        E, V = config.hidden_size, config.vocabulary_size
        self.embedding = nn.Embedding(V, config.vector_size)
        layer = nn.TransformerEncoderLayer(
            E, config.num_heads, 4 * E, config.dropout, "gelu", norm_first=True
        )
        encoder = nn.TransformerEncoder(layer, config.num_layers, nn.LayerNorm(E), enable_nested_tensor=False)
        self.transformer = nn.ModuleDict({"encoder": encoder})
        self.dropout = nn.Dropout(config.dropout)
        self.projection = nn.Linear(E, V)

    def forward(self, input: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Logits [T, B, V]."""
        mask = nn.Transformer.generate_square_subsequent_mask(len(input))
        output = self.transformer["encoder"](self.embedding(input), mask, is_causal=True)
        return self.projection(self.dropout(output)), state


def _model_of_torch(config: LanguageModelConfig) -> nn.Module:
    if config.architecture != "transformer":
        return LanguageModel(config, backend="torch")
    if config.tied or config.vector_size != config.hidden_size:
        raise ValueError(
            "expected a transformer whose tables are not tied, and vectors as wide as its layers"
        )
    return TransformerOfTorch(config)


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
