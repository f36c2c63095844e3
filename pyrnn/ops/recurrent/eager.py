"""Calls of one recurrent layer, or of one step, that are a single call of C++ (csrc/recurrent/eager.cpp).

Python's part of a call costs as much as a hundred thousand multiply-adds: a step of a decoder or an agent is
over before. `EagerRecurrent` serves plain tensors on the CPU in perfect order and declines all others in
words, whatever is wrong with them or watches them: the operator then does the call, which gives the same bits
or raises an error. `pyrnn.explain` asks without calling, and repeats the words.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn import _native
from pyrnn._native_args import CELLS
from pyrnn.ops._derivatives import recompute_gradients
from pyrnn.ops._operator import Operator
from pyrnn.ops.recurrent import cpu
from pyrnn.ops.recurrent.call import WEIGHT_NAMES

#: How input, output and states are laid out. Any may come without the batch.
TIME_FIRST, BATCH_FIRST, STEP = 0, 1, 2

_CODES = {name: cell.code for name, cell in CELLS.items()}
_NAMES = {code: name for name, code in _CODES.items()}
_WEIGHTS = len(WEIGHT_NAMES) - 1  # of a direction: all but the projection


class EagerRecurrent:
    """The eager form of the operator `pyrnn::recurrent`."""

    def __init__(self, operator: Operator) -> None:
        self._record: Any = _make_function(operator).apply

    def __call__(
        self,
        cell: str,
        layout: int,
        input: Any,
        hx: Any,
        weights: tuple[Tensor | None, ...],
        *,
        ask: bool = False,
    ) -> tuple[Tensor, ...] | str:
        """The results of a call, or why the operator must do it.

        Args:
            cell: as `recurrent` takes it.
            layout: `TIME_FIRST`: input [T, B, I]; `BATCH_FIRST`: [B, T, I]; `STEP`: [B, I]; or without B.
            input: anything; what is no such tensor is declined.
            hx: None, h0, or a pair (h0, c0) for an LSTM: [D, B, H] each, for a step [B, H].
            weights: w_ih, w_hh, b_ih or None, b_hh or None; then those of a reverse direction.
            ask: compute nothing: where the call would be served, the results hold no numbers.

        Returns:
            output, h_n and, for an LSTM, c_n, laid out as input and states are; for a step h and c.
        """
        if torch.compiler.is_compiling() or _native.emulated_cuda is not None:
            return "torch.compile traces the call, or the CUDA kernels are emulated"
        code, group_size = _CODES.get(cell, -1), cpu.forced_group_size
        threads = _native.cpu.asked if ask else _native.num_threads()
        return _native.cpu.recurrent_call(
            self._record, code, layout, threads, group_size, input, hx, *weights
        )


def _make_function(operator: Operator) -> type[Function]:
    """The call as autograd records it."""

    def forward(ctx: Any, options: tuple[int, int], *tensors: Tensor | None) -> tuple[Tensor, ...]:
        code, layout = options
        found = _native.cpu.recurrent_train(
            code, layout, _native.num_threads(), cpu.forced_group_size, tensors
        )
        if found is None:
            raise RuntimeError("a tensor of a recurrent layer's call was changed while the call began")
        ctx.set_materialize_grads(False)
        ctx.options = options
        ctx.save_for_backward(*tensors, found[-1])
        return found[:-1]

    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad[1:]
        if all(grad is None for grad in grads):
            return (None,) * (1 + len(needs))
        *tensors, kept = ctx.saved_tensors
        (code, layout), threads = ctx.options, _native.num_threads()
        found: Any = None
        if not torch.compiler.is_compiling():
            found = _native.cpu.recurrent_gradients(
                code, layout, threads, cpu.forced_group_size, tuple(tensors), grads, kept, needs
            )
        if found is None:  # a second derivative, or a watcher
            found = recompute_gradients(
                lambda *tensors: _by_operator(operator, ctx.options, tensors), tuple(tensors), grads, needs
            )
        return None, *found

    body = {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__}
    return type("Recurrent", (Function,), body)


def _by_operator(
    operator: Operator, options: tuple[int, int], tensors: tuple[Tensor | None, ...]
) -> tuple[Tensor, ...]:
    """The results of an eager call as the operator computes them."""
    (code, layout), (input, h0, c0, *weights) = options, tensors
    is_step, batch_first = layout == STEP, layout == BATCH_FIRST
    batched = input.dim() == (2 if is_step else 3)  # type: ignore[union-attr]
    batch_dim = 0 if is_step or batch_first else 1  # of the input

    def add(tensor: Tensor | None, dim: int) -> Tensor | None:
        if tensor is None:
            return None
        tensor = tensor if batched else tensor.unsqueeze(dim)
        return tensor.unsqueeze(0) if is_step else tensor

    def remove(tensor: Tensor, dim: int) -> Tensor:
        tensor = tensor[0] if is_step else tensor
        return tensor if batched else tensor.squeeze(dim)

    every: list[Tensor | None] = [None] * 10
    for n, weight in enumerate(weights):
        every[n // _WEIGHTS * 5 + n % _WEIGHTS] = weight
    state_dim = 0 if is_step else 1
    states = add(h0, state_dim), add(c0, state_dim)
    cell = _NAMES[code]
    output, h_n, c_n, _ = operator(
        add(input, batch_dim), *states, None, None, None, *every, cell, batch_first, False, 0
    )
    finals = (h_n, c_n) if cell == "lstm" else (h_n,)
    results = [] if is_step else [remove(output, batch_dim)]
    return (*results, *(remove(state, state_dim) for state in finals))
