"""The recurrent operators below autograd: schemas, native kernels, fake kernels, vmap rules.

`pyrnn::recurrent` is the public operator. `_recurrent_fwd` also returns the workspace that `_recurrent_bwd`
reads; only the autograd functions call these two.
"""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native, reference
from pyrnn.ops import _cpu, _cuda
from pyrnn.ops._checks import check_like, check_memory, private_integers, refuse_other_layouts
from pyrnn.ops._library import (
    autocast_disabled,
    define,
    library,
    loop_over_samples,
    refuse_gradients,
    register_autocast,
)
from pyrnn.ops._memory import contiguous, with_memory
from pyrnn.ops._problem import WEIGHT_NAMES, Problem, make_problem, workspace_shape
from pyrnn.ops._support import why_not_dtype

_DATA = "Tensor input, Tensor? h0, Tensor? c0, Tensor? lengths, Tensor? batch_sizes"
_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh, Tensor? w_hr"
_REVERSE = ", ".join(f"Tensor? {name}_reverse" for name in WEIGHT_NAMES)
_TENSORS = f"{_DATA}, {_WEIGHTS}, {_REVERSE}"
_CALL = f"str cell, {_TENSORS}, bool batch_first, bool return_cells, int checkpoint_every"
_OUTPUTS = "Tensor output, Tensor h_n, Tensor c_n, Tensor cells"
_GRADS = "Tensor? g_output, Tensor? g_h_n, Tensor? g_c_n, Tensor? g_cells"

recurrent_op = define("recurrent", f"({_CALL}) -> ({_OUTPUTS})")
forward_op = define("_recurrent_fwd", f"({_CALL}) -> ({_OUTPUTS}, Tensor workspace)")
backward_op = define(
    "_recurrent_bwd",
    f"(str cell, {_GRADS}, {_TENSORS}, Tensor output, Tensor workspace, "
    "bool batch_first, int checkpoint_every, bool[4] needs) -> (" + ", ".join(["Tensor"] * 13) + ")",
)


class Call(NamedTuple):
    """The arguments of `pyrnn::recurrent`, with the ten weights together."""

    cell: str
    input: Tensor
    h0: Tensor | None
    c0: Tensor | None
    lengths: Tensor | None
    batch_sizes: Tensor | None
    weights: tuple[Tensor | None, ...]  # 5*D, `WEIGHT_NAMES` of each direction
    batch_first: bool
    return_cells: bool
    checkpoint_every: int

    @classmethod
    def of(cls, *args: Any) -> Call:
        """From the flat arguments of the schema."""
        weights = args[6:16] if args[11] is not None else args[6:11]
        return cls._make((*args[:6], weights, *args[16:]))

    @classmethod
    def for_kernels(cls, *args: Any) -> Call:
        """The same, with lengths and batch sizes that nobody changes once they are checked."""
        call = cls.of(*args)
        if call.lengths is None and call.batch_sizes is None:
            return call
        lengths, batch_sizes = private_integers(call.lengths), private_integers(call.batch_sizes)
        return call._replace(lengths=lengths, batch_sizes=batch_sizes)

    def problem(self) -> Problem:
        """Check the call; its sizes."""
        return make_problem(
            *self[:6], self.weights, batch_first=self.batch_first, checkpoint_every=self.checkpoint_every
        )

    def by_reference(self) -> reference.RecurrentOutput:
        """Check the call and compute it with the reference, differentiable any number of times."""
        problem = self.problem()
        check_memory((*self[1:6], *self.weights))
        with autocast_disabled(self.input.device.type):
            return reference.recurrent(
                *self[:4],
                reference.group_weights(self.weights),
                lengths=self.lengths,
                batch_sizes=self.batch_sizes,
                batch_first=problem.batch_first,
                return_cells=self.return_cells,
            )


# ------------------------------------------------------------------------------------ native kernels


def backend_of(device_type: str) -> Literal["cpu", "cuda"] | None:
    """Whose kernels serve tensors of this device type; on meta, only their shapes are asked for."""
    if device_type == "cpu":
        return "cpu" if _native.emulated_cuda is None else "cuda"
    if device_type == "meta":
        return "cpu"
    return "cuda" if device_type == "cuda" and not _native.why_no_cuda() else None


def infer(*args: Any) -> tuple[Tensor, ...]:
    """The kernel of `pyrnn::recurrent` on CPU and CUDA, on the flat arguments of its schema."""
    call = Call.for_kernels(*args)
    backend = backend_of(call.input.device.type)
    if backend is None or why_not_dtype(backend, call.input.dtype):
        return call.by_reference()
    return _forward(call, train=False)[:4]


def forward_native(*args: Any) -> tuple[Tensor, ...]:
    """The kernel of `pyrnn::_recurrent_fwd`."""
    return _forward(Call.for_kernels(*args), train=True)


def _kernels(input: Tensor) -> Any:
    """The module with `forward` and `backward` for this input."""
    return _cuda if backend_of(input.device.type) == "cuda" else _cpu


def _forward(call: Call, *, train: bool) -> tuple[Tensor, ...]:
    problem = call.problem()
    if problem.N == 0:
        return _forward_without_steps(call, problem)
    return _kernels(call.input).forward(
        problem,
        *_ready_data(call),
        _ready_weights(call),
        return_cells=call.return_cells,
        train=train,
    )


def backward_native(
    cell: str,
    g_output: Tensor | None,
    g_h_n: Tensor | None,
    g_c_n: Tensor | None,
    g_cells: Tensor | None,
    *rest: Any,
) -> tuple[Tensor, ...]:
    tensors, (output, workspace, batch_first, checkpoint_every, needs) = rest[:15], rest[15:]
    call = Call.for_kernels(cell, *tensors, batch_first, g_cells is not None, checkpoint_every)
    problem = call.problem()
    shape, dtype = workspace_shape(problem)
    for name, kept, expected, kind in (
        ("output", output, problem.output_shape, call.input.dtype),
        ("workspace", workspace, shape, dtype),
    ):
        check_like(name, kept, expected, kind, call.input, "input", f"that of the forward's {name}")
    grads = (g_output, g_h_n, g_c_n, g_cells)
    shapes = (problem.output_shape, problem.h_shape, problem.c_shape, problem.cells_shape)
    for name, grad, expected in zip(("output", "h_n", "c_n", "cells"), grads, shapes, strict=True):
        if grad is not None:
            label, meaning = f"the gradient of {name}", "that of its tensor"
            check_like(label, grad, expected, call.input.dtype, call.input, "input", meaning)
    if problem.N == 0:
        return _backward_without_steps(call, problem, g_h_n, g_c_n, needs)
    return _kernels(call.input).backward(
        problem,
        _ready(g_output),
        _ready(g_h_n),
        _ready(g_c_n),
        _ready(g_cells),
        *_ready_data(call),
        _ready_weights(call),
        _ready(output),
        _ready(workspace),
        needs=tuple(needs),
    )


def _ready_data(call: Call) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """input, h0, c0, lengths, batch_sizes as the kernels read them: input in any strides but the last."""
    input, lengths = with_memory(call.input), call.lengths
    if lengths is not None and not input.is_cpu:
        lengths = contiguous(lengths).to(input.device, torch.int64, non_blocking=lengths.is_cpu)
    if input.stride(-1) != 1 and input.shape[-1] != 1:
        input = input.contiguous()
    return input, _ready(call.h0), _ready(call.c0), lengths, call.batch_sizes


def _ready_weights(call: Call) -> tuple[Tensor | None, ...]:
    return tuple(_ready(weight) for weight in call.weights)


def _ready(tensor: Tensor | None) -> Tensor | None:
    """The tensor laid out without gaps or overlaps."""
    return None if tensor is None else contiguous(tensor)


def _forward_without_steps(call: Call, problem: Problem) -> tuple[Tensor, ...]:
    """No token: the final state is the first, and there is nothing to launch a kernel on."""
    output, h_n, c_n, cells, workspace = _empty_outputs(call, problem)
    for state, first in ((h_n, call.h0), (c_n, call.c0)):
        state.zero_() if first is None else state.copy_(with_memory(first))
    return output, h_n, c_n, cells, workspace


def _backward_without_steps(
    call: Call, problem: Problem, g_h_n: Tensor | None, g_c_n: Tensor | None, needs: list[bool]
) -> tuple[Tensor, ...]:
    grads = [grad.zero_() for grad in _empty_gradients(call, needs)]
    for position, grad in ((1, g_h_n), (2, g_c_n)):
        if grad is not None and grads[position].numel():
            grads[position].copy_(with_memory(grad))
    return tuple(grads)


# -------------------------------------------------------------------------------------- fake kernels


def _empty_outputs(call: Call, problem: Problem) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """output, h_n, c_n, cells and the workspace, as the kernels lay them out."""
    keeps_cells = call.return_cells and problem.cell == "lstm"
    shape, dtype = workspace_shape(problem)
    new = call.input.new_empty
    return (
        new(problem.output_shape),
        new(problem.h_shape),
        new(problem.c_shape),
        new(problem.cells_shape if keeps_cells else (0,)),
        new(shape, dtype=dtype),
    )


def _empty_gradients(call: Call, needs: list[bool]) -> tuple[Tensor, ...]:
    """The thirteen results of `_recurrent_bwd`."""
    weights = call.weights + (None,) * (10 - len(call.weights))
    wanted = (*needs[:3], *[needs[3]] * 10)
    return tuple(
        call.input.new_empty(tensor.shape if tensor is not None and want else (0,))
        for tensor, want in zip((call.input, call.h0, call.c0, *weights), wanted, strict=True)
    )


def _recurrent_fake(*args: Any) -> tuple[Tensor, ...]:
    return _forward_fake(*args)[:4]


def _forward_fake(*args: Any) -> tuple[Tensor, ...]:
    call = Call.of(*args)
    return _empty_outputs(call, call.problem())


def _backward_fake(cell: str, *rest: Any) -> tuple[Tensor, ...]:
    tensors, (_, _, batch_first, checkpoint_every, needs) = rest[4:19], rest[19:]
    return _empty_gradients(Call.of(cell, *tensors, batch_first, False, checkpoint_every), needs)


# ---------------------------------------------------------------------------------------------- vmap


def _recurrent_vmap(
    info: Any, in_dims: tuple[Any, ...], *args: Any
) -> tuple[tuple[Tensor, ...], tuple[Any, ...]]:
    """Fold the mapped dimension into the batch; with mapped weights, or packed data, one call a sample."""
    call = Call.of(*args)
    if call.batch_sizes is not None or any(dim is not None for dim in in_dims[6:16]):
        return loop_over_samples(recurrent_op)(info, in_dims, *args)

    V = info.batch_size

    def fold(tensor: Tensor | None, in_dim: int | None, batch_dim: int) -> Tensor | None:
        if tensor is None:
            return None
        at_batch = (
            tensor.unsqueeze(batch_dim).expand(*tensor.shape[:batch_dim], V, *tensor.shape[batch_dim:])
            if in_dim is None
            else tensor.movedim(in_dim, batch_dim)
        )
        return at_batch.flatten(batch_dim, batch_dim + 1)

    rows_dim = 0 if call.batch_first else 1
    folded = (
        fold(tensor, in_dim, batch_dim)
        for tensor, in_dim, batch_dim in zip(call[1:5], in_dims[1:5], (rows_dim, 1, 1, 0), strict=True)
    )
    outputs = recurrent_op(call.cell, *folded, None, *args[6:])

    def unfold(tensor: Tensor, batch_dim: int) -> tuple[Tensor, int]:
        if tensor.dim() == 1:  # does not apply: nothing in every sample
            return tensor.new_empty(V, 0), 0
        return tensor.unflatten(batch_dim, (V, tensor.shape[batch_dim] // V)), batch_dim

    tensors, out_dims = zip(*map(unfold, outputs, (rows_dim, 1, 1, rows_dim)), strict=True)
    return tensors, out_dims


# -------------------------------------------------------------------------------------- registration

library.impl("recurrent", lambda *args: Call.of(*args).by_reference(), "CompositeExplicitAutograd")
for _key in ("CPU", "CUDA"):
    library.impl("recurrent", infer, _key)
    library.impl("_recurrent_fwd", forward_native, _key)
    library.impl("_recurrent_bwd", backward_native, _key)

torch.library.register_fake("pyrnn::recurrent", _recurrent_fake, lib=library)
torch.library.register_fake("pyrnn::_recurrent_fwd", _forward_fake, lib=library)
torch.library.register_fake("pyrnn::_recurrent_bwd", _backward_fake, lib=library)

torch.library.register_vmap("pyrnn::recurrent", _recurrent_vmap, lib=library)
torch.library.register_vmap("pyrnn::_recurrent_fwd", loop_over_samples(forward_op), lib=library)
torch.library.register_vmap("pyrnn::_recurrent_bwd", loop_over_samples(backward_op), lib=library)

register_autocast("recurrent", recurrent_op)
refuse_other_layouts(recurrent_op, forward_op, backward_op)
refuse_gradients("_recurrent_fwd", forward_op, "pyrnn::recurrent")
refuse_gradients("_recurrent_bwd", backward_op, "pyrnn::recurrent")
