"""AdamW with clipping: the norm of all gradients, and one pass over memory for the update of everything."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._checks import as_number
from pyrnn.ops import Route

#: Members of a group's state as torch's `_init_group` fills them in.
_Lists = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]


class AdamW(torch.optim.AdamW):
    r"""`torch.optim.AdamW`, which clips the gradient on the way in.

    With the gradient g, clipped to the norm c over all parameters together where `clip_norm` is given,

        g <- g min(1, c / (|g| + 1e-6))
        m <- m + (1 - beta1) (g - m),  v <- beta2 v + (1 - beta2) g^2
        p <- (1 - lr decay) p - lr / (1 - beta1^t) m / (sqrt(v / (1 - beta2^t)) + eps)

    Arguments, groups, state and `state_dict` are those of torch's class, so schedules, checkpoints and hooks
    stay as they are; the numbers are torch's up to rounding. On the CPU a step is one call: a read of the
    gradients for the norm, whose bits depend on no number of threads, and a pass that reads gradient,
    parameter and both moments once. The gradients themselves are not changed. What that call does not take
    is done by torch's functions, which clip the gradients in place; `route` says why.

    With `clip_norm`, a step whose norm is not finite changes nothing: no parameter, no moment, no count.

    Args:
        params: as torch takes them: parameters, pairs of name and parameter, or groups. The kernels take
            contiguous float32, float64 and bfloat16 on the CPU.
        lr: rate; a group may have its own, as of all that follows but the last.
        betas: decay rates of the two moments.
        eps: added to the root of the second.
        weight_decay: decoupled from the gradient.
        amsgrad: divide by the largest second moment so far; left to torch.
        maximize: go up instead of down.
        foreach: as in torch, for what is left to it.
        capturable: likewise.
        differentiable: not offered: the update is recorded by no graph.
        fused: as in torch, for what is left to it; also whether `torch.amp.GradScaler` leaves unscaling and
            the question whether to step to this optimizer.
        clip_norm: largest norm of the gradient, positive; None does not clip.

    Attributes:
        grad_norm: a scalar, the norm of the last step's gradient before clipping; None without `clip_norm`.

    Raises:
        TypeError: `clip_norm` is no number, or as torch's class.
        ValueError: `clip_norm` is not positive, `differentiable` is set, or as torch's class.

    Sources: Loshchilov and Hutter, "Decoupled weight decay regularization", 2019, algorithm 2; clipping:
    Pascanu et al., "On the difficulty of training recurrent neural networks", 2013, algorithm 1.

    Example:
        >>> weight = torch.nn.Parameter(torch.tensor([3.0, 4.0]))
        >>> optimizer = AdamW([weight], lr=0.1, clip_norm=1.0)
        >>> weight.square().sum().backward()
        >>> optimizer.step()
        >>> optimizer.grad_norm, weight.detach()
        (tensor(10.), tensor([2.8970, 3.8960]))
        >>> optimizer.route().path
        'native'
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        clip_norm: float | None = None,
    ) -> None:
        if differentiable:
            raise ValueError(
                "pyrnn.optim.AdamW records no graph of its update: expected differentiable=False; use "
                "torch.optim.AdamW for that"
            )
        self.clip_norm = None if clip_norm is None else as_number("clip_norm", clip_norm)
        if self.clip_norm is not None and not 0 < self.clip_norm < math.inf:
            raise ValueError(f"clip_norm must be positive and finite, or None, got {clip_norm}")
        self.grad_norm: Tensor | None = None
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            maximize=maximize,
            foreach=foreach,
            capturable=capturable,
            fused=fused,
        )

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles."""
        own = {"clip_norm": self.clip_norm, "grad_norm": self.grad_norm}
        return {**super().__getstate__(), **own}

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update every parameter that has a gradient.

        Args:
            closure: computes the loss anew, with its gradients, and returns it.

        Returns:
            What the closure returned, or None.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        norm = self._call(_native.num_threads())
        if isinstance(norm, str):
            self._leave_to_torch()
            return loss
        self.grad_norm = None if self.clip_norm is None else torch.tensor(norm, dtype=torch.float32)
        return loss

    def route(self) -> Route:
        """Who makes the next step, from the gradients that there are now, and why.

        The state of parameters that have none yet is made, as a step would.
        """
        declined = self._call(_native.cpu.asked)
        if isinstance(declined, str):
            return Route("reference", f"torch's functions: {declined}")
        return Route("native", "CPU kernels: one call for all parameters")

    def _call(self, threads: int) -> float | str | None:
        """The norm of a step that was made, or why it is left to torch."""
        if torch.compiler.is_compiling():
            return "the step is compiled"
        groups: list[tuple[Any, ...]] = []
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if any(p.grad.is_sparse for p in parameters):
            return "a gradient is sparse"
        for parameter in parameters:
            if parameter.is_cpu and parameter.dtype not in _native.DTYPES["cpu"]:
                return f"there is no kernel for {parameter.dtype} on the CPU"
        for group in self.param_groups:
            if group["amsgrad"] or group["capturable"]:
                return "amsgrad and capturable have no kernel"
            params, grads, moments, squares, _, steps = self._members(group)
            numbers = (group["lr"], *group["betas"], group["eps"], group["weight_decay"])
            if any(isinstance(number, Tensor) and not number.is_cpu for number in numbers):
                return "a number of a group does not lie on the CPU"
            members = list(zip(params, grads, moments, squares, steps, strict=True))
            groups.append((*map(float, numbers), bool(group["maximize"]), members))
        # What torch.amp.GradScaler says to a fused optimizer.
        found_inf, scale = getattr(self, "found_inf", None), getattr(self, "grad_scale", None)
        if not all(tensor is None or tensor.is_cpu for tensor in (found_inf, scale)):
            return "the gradients' scale does not lie on the CPU"
        skip = found_inf is not None and bool(found_inf)
        clip = -1.0 if self.clip_norm is None else self.clip_norm
        norm = _native.cpu.adamw(groups, clip, 1.0 if scale is None else float(scale), skip, threads)
        if not isinstance(norm, str) and threads != _native.cpu.asked:
            for *_, members in groups:
                for parameter, *_ in members:
                    torch.autograd.graph.increment_version(parameter)
        return norm

    def _members(self, group: dict[str, Any]) -> _Lists:
        """Parameters with gradients, those, and their state, which is made where it is not there yet."""
        found: _Lists = ([], [], [], [], [], [])
        self._init_group(group, *found)
        return found

    def _leave_to_torch(self) -> None:
        """The same step by torch's functions: without looking at the device's numbers where it is fused."""
        if self.clip_norm is not None:
            scale, before = getattr(self, "grad_scale", None), getattr(self, "found_inf", None)
            parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
            if scale is not None:
                for parameter in parameters:
                    parameter.grad.div_(scale)
            norm = self.grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self.clip_norm)
            found = (~norm.isfinite()).float()
            found = found if before is None else torch.maximum(found, before.to(found.device))
            if not all(group["fused"] for group in self.param_groups):
                if not found.item():
                    _torch_step(self)
                return
            self.found_inf, self.grad_scale = found, None
            try:
                _torch_step(self)
            finally:
                self.found_inf, self.grad_scale = before, scale
            return
        _torch_step(self)


#: Without its wrappers, which call the hooks of `step` and switch autograd: those of ours have done so.
_torch_step: Callable[[torch.optim.AdamW], Any] = inspect.unwrap(torch.optim.AdamW.step)
