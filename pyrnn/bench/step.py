"""One step of one side of a comparison: a forward pass, and the backward pass where the case trains."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyrnn.bench.harness import Candidate


class Step:
    """Runs `forward`, then its backward pass from `gradient`, and keeps the last results for comparison.

    With several `inputs` each step takes the next ones, so that a large cache does not hold what it reads.

    Args:
        forward: the inputs to a sequence of results, of which the first is the output.
        inputs: what `forward` takes, once or more often.
        gradient: of the loss with respect to the output; None: the forward pass alone, without gradients.
        parameters: what else receives gradients.
    """

    def __init__(
        self,
        forward: Callable[..., Sequence[Tensor]],
        inputs: Sequence[tuple[Tensor, ...]],
        *,
        gradient: Tensor | None,
        parameters: Sequence[Tensor] = (),
    ) -> None:
        self.forward, self.gradient, self.parameters = forward, gradient, parameters
        self.inputs, self._all_inputs = inputs[0], itertools.cycle(inputs)
        self.results: list[Tensor] = []

    def drop_gradients(self) -> None:
        """Training starts each step without gradients, as after `zero_grad(set_to_none=True)`."""
        for tensor in (*self.inputs, *self.parameters):
            tensor.grad = None

    def run(self) -> None:
        """One step."""
        self.inputs = next(self._all_inputs)
        with torch.set_grad_enabled(self.gradient is not None):
            self.results = [*self.forward(*self.inputs)]
            if self.gradient is not None:
                self.results[0].backward(self.gradient)

    def compared(self) -> list[Tensor]:
        """Results of the last step, and the gradients when training."""
        gradients = [x.grad for x in (*self.inputs, *self.parameters) if x.grad is not None]
        return self.results + gradients

    def candidate(self) -> Candidate:
        """For the harness."""
        return Candidate(self.run, self.drop_gradients if self.gradient is not None else lambda: None)
