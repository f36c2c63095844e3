"""The states of a recurrent layer at every step, as tensors of the graph of one call."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn.nn.base import CELLS
from pyrnn.reference.recurrent import Weights, step


class Trace:
    """A forward hook that runs the layer again, a step and a layer at a time, and keeps every state."""

    def __init__(self) -> None:
        self.hidden: list[list[Tensor]] = []  # T lists of L states [B, P]
        self.cells: list[list[Tensor]] = []  # T lists of L states [B, H], of an LSTM

    def __call__(
        self, layer: nn.RNNBase, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any
    ) -> tuple[Tensor, Any]:
        """What the layer's forward returned, from the new states."""
        if self.hidden:
            raise ValueError("the model calls its recurrent layer more than once; give it a single sequence")
        arguments = {**dict(zip(("input", "hx"), args, strict=False)), **kwargs}
        rows, hx = arguments.pop("input"), arguments.pop("hx", None)
        options = [name for name, value in arguments.items() if value is not None and value is not False]
        if not isinstance(rows, Tensor) or rows.dim() != 3 or options:
            got = f"a {rows.dim()}-D tensor" if isinstance(rows, Tensor) else f"a {type(rows).__name__}"
            raise ValueError(
                "the layer must be called with a 3-D tensor and no further options, for lags count from the "
                f"common end of all sequences; got {' and '.join([got, *options])}"
            )
        rows = rows.transpose(0, 1) if layer.batch_first else rows
        h, c = _first_states(layer, rows, hx)
        weights = [_weights(layer, number) for number in range(layer.num_layers)]
        for x in rows.unbind(0):
            for number, group in enumerate(weights):
                h[number], new_c = step(CELLS[layer.mode], x, h[number], c[number] if c else None, group)
                x = h[number]
                if new_c is not None:
                    c[number] = new_c
            self.hidden.append(list(h))
            if c:
                self.cells.append(list(c))
        output = torch.stack([states[-1] for states in self.hidden], dim=1 if layer.batch_first else 0)
        return output, (torch.stack(h), torch.stack(c)) if c else torch.stack(h)


@contextmanager
def stepwise(layer: nn.RNNBase) -> Generator[Trace, None, None]:
    """Within, the layer runs step by step."""
    trace = Trace()
    handle = layer.register_forward_hook(trace, with_kwargs=True)
    try:
        yield trace
    finally:
        handle.remove()


def _first_states(layer: nn.RNNBase, rows: Tensor, hx: Any) -> tuple[list[Tensor], list[Tensor]]:
    """L states h [B, P], and L states c [B, H] of an LSTM, from the layer's argument or zeros."""
    L, B, H = layer.num_layers, rows.shape[1], layer.hidden_size
    given = () if hx is None else hx if isinstance(hx, tuple) else (hx,)
    widths = (layer.proj_size or H, H) if layer.mode == "LSTM" else (H,)
    states = given or tuple(rows.new_zeros(L, B, width) for width in widths)
    # They require gradients so that a layer whose weights are frozen has a graph as well.
    h, *c = (list(state.detach().clone().requires_grad_().unbind(0)) for state in states)
    return h, c[0] if c else []


def _weights(layer: nn.RNNBase, number: int) -> Weights:
    """The weights of stacked layer `number`, by name, so that parametrizations take effect."""
    w_ih, w_hh = getattr(layer, f"weight_ih_l{number}"), getattr(layer, f"weight_hh_l{number}")
    rest = (getattr(layer, f"{name}_l{number}", None) for name in ("bias_ih", "bias_hh", "weight_hr"))
    b_ih, b_hh, w_hr = rest
    return w_ih, w_hh, b_ih, b_hh, w_hr
