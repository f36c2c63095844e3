"""Calls of one recurrent layer, or of one step, that are a single call of C++ (csrc/recurrent/eager.cpp).

Python's part of a call costs as much as a hundred thousand multiply-adds: a step of a decoder or an agent is
over before. `EagerRecurrent` serves plain tensors on the CPU in perfect order and declines all others,
whatever is wrong with them or watches them: the operator then does the call, which gives the same bits or
says what is wrong.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from pyrnn import _native
from pyrnn._native_args import CELLS, accumulation_dtype
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
        self, cell: str, layout: int, input: Any, hx: Any, weights: tuple[Tensor | None, ...]
    ) -> tuple[Tensor, ...] | None:
        """The results of a call, or None where the operator must do it.

        Args:
            cell: as `recurrent` takes it.
            layout: `TIME_FIRST`: input [T, B, I]; `BATCH_FIRST`: [B, T, I]; `STEP`: [B, I]; or without B.
            input: anything; None is the answer to what is no such tensor.
            hx: None, h0, or a pair (h0, c0) for an LSTM: [D, B, H] each, for a step [B, H].
            weights: w_ih, w_hh, b_ih or None, b_hh or None; then those of a reverse direction.

        Returns:
            output, h_n and, for an LSTM, c_n, laid out as input and states are; for a step h and c.
        """
        if torch.compiler.is_compiling() or _native.emulated_cuda is not None:
            return None
        code, group_size = _CODES.get(cell, -1), cpu.forced_group_size
        return _native.cpu.recurrent_call(
            self._record, code, layout, _native.num_threads(), group_size, input, hx, *weights
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
        found: Any = _native.cpu.recurrent_gradients(
            code, layout, threads, cpu.forced_group_size, tuple(tensors), grads, kept, needs
        )
        if found is None:
            found = _gradients_by_operator(operator, ctx.options, tensors, grads, kept, needs)
        return None, *found

    body = {"forward": staticmethod(forward), "backward": staticmethod(backward), "__module__": __name__}
    return type("Recurrent", (Function,), body)


def _gradients_by_operator(
    operator: Operator,
    options: tuple[int, int],
    tensors: list[Tensor | None],
    grads: tuple[Tensor | None, ...],
    kept: Tensor,
    needs: tuple[bool, ...],
) -> list[Tensor | None]:
    """The gradients of an eager call by the operator: for second derivatives, or under a watcher."""
    (code, layout), (input, h0, c0, *weights) = options, tensors
    cell, directions, is_step = _NAMES[code], len(weights) // _WEIGHTS, layout == STEP
    batch_first, batched = layout == BATCH_FIRST, input.dim() == (2 if is_step else 3)  # type: ignore[union-attr]

    def batch(tensor: Tensor | None, dim: int) -> Tensor | None:
        return tensor if tensor is None or batched else tensor.unsqueeze(dim)

    def rows(tensor: Tensor | None) -> Tensor | None:  # [T, B, F] or [B, T, F]
        if is_step:
            return state(tensor)
        return batch(tensor, 0 if batch_first else 1)

    def state(tensor: Tensor | None) -> Tensor | None:  # [D, B, F]
        if is_step:
            tensor = batch(tensor, 0)
            return None if tensor is None else tensor.unsqueeze(0)
        return batch(tensor, 1)

    every: list[Tensor | None] = [None] * 10
    places = [3 + n // _WEIGHTS * 5 + n % _WEIGHTS for n in range(len(weights))]
    for place, weight in zip(places, weights, strict=True):
        every[place - 3] = weight
    all_needs = [*needs[:3], *[False] * 10]
    for place, need in zip(places, needs[3:], strict=True):
        all_needs[place] = need
    output, workspace = _kept(cell, rows(input), kept, every[1], directions, batch_first=batch_first)
    g_output, *g_states = (None, *grads) if is_step else grads
    g_h, g_c = state(g_states[0]), state(g_states[1]) if len(g_states) > 1 else None
    moving = (rows(g_output), g_h, g_c, None, rows(input), state(h0), state(c0), None, None, *every)
    compute = operator.select_backward((*moving, output, workspace))
    found = compute(*moving, output, workspace, cell, batch_first, False, 0, tuple(all_needs))
    return [
        gradient.view_as(tensor) if need and tensor is not None else None
        for gradient, tensor, need in zip(
            (*found[:3], *(found[place] for place in places)), tensors, needs, strict=True
        )
    ]


def _kept(
    cell: str, rows: Any, kept: Tensor, w_hh: Any, directions: int, *, batch_first: bool
) -> tuple[Tensor, Tensor]:
    """Output and workspace as the operator keeps them; an eager call kept the one behind the other."""
    first, second = rows.shape[:2]
    T, B = (second, first) if batch_first else (first, second)
    H, accumulate = w_hh.shape[-1], accumulation_dtype(rows.dtype)
    shape = (directions, T * B, CELLS[cell].saved, (H + 15) // 16 * 16) if CELLS[cell].saved else (0,)
    start = math.prod(shape) * accumulate.itemsize
    if kept.shape != (start + T * B * directions * H * rows.element_size(),):
        raise ValueError(
            "what the forward pass of a recurrent layer saved came back with other shapes; expected hooks on "
            "saved tensors to return tensors like those that they were given"
        )
    workspace, output = kept[:start].view(accumulate).view(shape), kept[start:].view(rows.dtype)
    output = output.view(T, B, directions * H)
    return output.transpose(0, 1).contiguous() if batch_first else output, workspace
