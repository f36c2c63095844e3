"""From a loss to an update: optimizer and its groups, clipping, schedule, loss scaling."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pyrnn._tensors import Expected, exactly
from pyrnn.optim import AdamW
from pyrnn.train.config import TrainConfig
from pyrnn.train.schedule import Schedule

#: The fused optimizers count their steps in one float.
_STEP = Expected((), (torch.float32,))
#: The loss's scale, and steps since it last grew.
_SCALER = Expected((2,), (torch.float64,))


class Optimization:
    """Updates the parameters of a model that require gradients.

    A step whose gradient is not finite changes nothing, and whoever reads its loss or norm sees it: the
    update is left out on the device, so no host waits for the answer.

    Args:
        model: where its parameters lie is where the optimizer keeps its state.
        config: optimizer, schedule, clipping and precision.
        total_steps: of the schedule.

    Raises:
        ValueError: no parameter requires a gradient.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, total_steps: int) -> None:
        self.schedule = Schedule(config.learning_rate, config.warmup_steps, total_steps, config.decay)
        self._config = config
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self._parameters:
            raise ValueError("there is nothing to train: no parameter of the model requires a gradient")
        self.optimizer = _optimizer(self._parameters, config)
        self._device = next(iter(self._parameters.values())).device
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=config.precision == "float16")

    def zero_grad(self) -> None:
        """Forget the gradients of the step before."""
        self.optimizer.zero_grad()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled where the precision asks for it."""
        (self._scaler.scale(loss) if self._scaler.is_enabled() else loss).backward()

    def step(self, step: int, loss: Tensor) -> Tensor:
        """Clip the gradients and update the parameters; returns the norm before clipping.

        Args:
            step: its number, which gives the learning rate.
            loss: where it is not finite the update is left out too.
        """
        self._scaler.unscale_(self.optimizer)
        norm: Tensor | None = None
        if not isinstance(self.optimizer, AdamW):  # which clips on its way
            norm = torch.nn.utils.clip_grad_norm_(self._parameters.values(), self._config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule(step)
        if self._scaler.is_enabled():
            self._scaler.step(self.optimizer)
            self._scaler.update()
        else:
            # What GradScaler tells a fused optimizer: one means that the step is to change nothing.
            finite = (loss if norm is None else norm + loss).isfinite()
            self.optimizer.found_inf = (~finite).float()  # type: ignore[attr-defined]
            self.optimizer.grad_scale = None  # type: ignore[attr-defined]
            self.optimizer.step()
        if isinstance(self.optimizer, AdamW):
            norm = self.optimizer.grad_norm
        assert norm is not None
        return norm

    def state_dict(self) -> dict[str, Tensor]:
        """`optimizer/NAME/KEY` for each parameter that was updated; `scaler` in float16."""
        tensors = {
            f"optimizer/{name}/{key}": value
            for name, parameter in self._parameters.items()
            for key, value in self.optimizer.state.get(parameter, {}).items()
            if isinstance(value, Tensor)
        }
        if self._scaler.is_enabled():
            state = self._scaler.state_dict()
            tensors["scaler"] = torch.tensor([state["scale"], state["_growth_tracker"]], dtype=torch.float64)
        return tensors

    def expected_state(self, names: Sequence[str]) -> dict[str, Expected]:
        """What `state_dict` holds; a parameter that never had a gradient has no entry among `names`."""
        updated = {name.rpartition("/")[0] for name in names}
        expected = {
            f"optimizer/{name}/{key}": _STEP if key == "step" else exactly(parameter)
            for name, parameter in self._parameters.items()
            if f"optimizer/{name}" in updated
            for key in self._keys
        }
        return expected | ({"scaler": _SCALER} if self._scaler.is_enabled() else {})

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state_dict` gave."""
        whole = self.optimizer.state_dict()
        order = [p for group in self.optimizer.param_groups for p in group["params"]]
        numbers = {id(parameter): number for number, parameter in enumerate(order)}
        whole["state"] = {
            numbers[id(parameter)]: {key: state[f"optimizer/{name}/{key}"] for key in self._keys}
            for name, parameter in self._parameters.items()
            if any(f"optimizer/{name}/{key}" in state for key in self._keys)
        }
        self.optimizer.load_state_dict(whole)
        if self._scaler.is_enabled():
            scale, growth = state["scaler"].tolist()
            self._scaler.load_state_dict(
                {**self._scaler.state_dict(), "scale": scale, "_growth_tracker": int(growth)}
            )

    @property
    def _keys(self) -> tuple[str, ...]:
        """What the optimizer keeps of each parameter."""
        if self._config.optimizer == "adamw":
            return ("step", "exp_avg", "exp_avg_sq")
        return ("momentum_buffer",) if self._config.momentum else ()


def _optimizer(parameters: Mapping[str, nn.Parameter], config: TrainConfig) -> torch.optim.Optimizer:
    groups = [{"params": list(parameters.values()), "weight_decay": config.weight_decay}]
    if config.decayed == "matrices":
        groups = [
            {"params": [p for p in parameters.values() if p.dim() > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters.values() if p.dim() <= 1], "weight_decay": 0.0},
        ]
    rate = config.learning_rate
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=config.momentum, fused=True)
    return AdamW(groups, lr=rate, betas=config.betas, fused=True, clip_norm=config.clip_norm)
