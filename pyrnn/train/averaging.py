"""The weights that are validated and kept: the last ones, or an average of many."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pyrnn._tensors import Expected, exactly
from pyrnn.train.config import TrainConfig


class WeightAverage:
    """An exponential moving average over steps, a mean over the last epochs, or neither.

    Parameters are averaged; buffers are those of the last step.

    Args:
        model: whose parameters.
        config: `ema_decay` or `average_epochs`.
    """

    def __init__(self, model: nn.Module, config: TrainConfig) -> None:
        self._model = model
        self._decay, self._epochs = config.ema_decay, config.average_epochs
        self._moving: dict[str, Tensor] = {}
        self._ends: list[dict[str, Tensor]] = []  # of the last epochs, the newest last
        if self._decay:
            self._moving = self._copy()

    def _copy(self) -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in self._model.named_parameters()}

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the moving average."""
        if self._decay:
            now = [p.detach() for p in self._model.parameters()]
            for average, value in zip(self._moving.values(), now, strict=True):
                average.lerp_(value, 1 - self._decay)

    def after_epoch(self) -> None:
        """Take in the weights at an epoch's end."""
        if self._epochs > 1:
            self._ends = [*self._ends, self._copy()][-self._epochs :]

    @contextmanager
    def applied(self) -> Generator[nn.Module, None, None]:
        """The model with the averaged weights, which are exchanged for its own again afterwards."""
        average = self._moving if self._decay else self._mean()
        if not average:
            yield self._model
            return
        own = self._copy()
        self._set(average)
        try:
            yield self._model
        finally:
            self._set(own)

    def _mean(self) -> dict[str, Tensor]:
        if not self._ends:
            return {}
        return {name: torch.stack([end[name] for end in self._ends]).mean(0) for name in self._ends[0]}

    @torch.no_grad()
    def _set(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._model.named_parameters():
            parameter.copy_(values[name])

    def state_dict(self) -> dict[str, Tensor]:
        """`average/moving/NAME`, or `average/INDEX/NAME` of the last epochs."""
        tensors = {f"average/moving/{name}": tensor for name, tensor in self._moving.items()}
        for index, end in enumerate(self._ends):
            tensors |= {f"average/{index}/{name}": tensor for name, tensor in end.items()}
        return tensors

    def expected_state(self, epochs_done: int, names: Sequence[str]) -> dict[str, Expected]:
        """What `state_dict` holds after so many epochs, given the names of the tensors there are.

        There may be more ends than epochs: a run that ended within one, and then went on, has two of that.
        """
        kept: list[str | int] = ["moving"] if self._decay else []
        if self._epochs > 1:
            ends = {name.split("/")[1] for name in names if name.startswith("average/")} - {"moving"}
            kept += range(min(max(epochs_done, len(ends)), self._epochs))
        return {
            f"average/{which}/{name}": exactly(parameter)
            for which in kept
            for name, parameter in self._model.named_parameters()
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        parameters = dict(self._model.named_parameters())

        def read(which: str) -> dict[str, Tensor]:
            return {name: state[f"average/{which}/{name}"].to(p.device) for name, p in parameters.items()}

        kept = {key.split("/")[1] for key in state if key.startswith("average/")}
        if self._decay:
            self._moving = read("moving")
        self._ends = [read(str(index)) for index in range(len(kept - {"moving"}))]
