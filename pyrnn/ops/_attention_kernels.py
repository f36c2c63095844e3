"""The operators of attention below autograd: schemas, native kernels, fake kernels, vmap rules.

`pyrnn::scaled_dot_product_attention` is the public operator. `_attention_fwd` also returns the statistics of
each query's softmax (what it took off the scores, and the sum), from which `_attention_bwd` computes the
weights again; only the autograd functions call these two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyrnn import reference
from pyrnn.ops import _attention_cpu
from pyrnn.ops._attention_layout import layout_of
from pyrnn.ops._attention_problem import Call, empty_in_order, make_problem, options
from pyrnn.ops._checks import check_like, check_memory, refuse_other_layouts
from pyrnn.ops._library import autocast_disabled, define, library, loop_over_samples, refuse_gradients
from pyrnn.ops._problem import accumulation_dtype
from pyrnn.ops._support import why_not_on_cpu

_TENSORS = (
    "Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor? key_padding_mask, Tensor? lengths, "
    "Tensor? alibi_slopes, Tensor? seed"
)
_OPTIONS = (
    "float dropout_p, bool is_causal, float? scale, SymInt query_start, SymInt window_left, "
    "SymInt window_right, float softcap, str return_weights"
)
_CALL = f"{_TENSORS}, {_OPTIONS}"

attention_op = define("scaled_dot_product_attention", f"({_CALL}) -> (Tensor output, Tensor weights)")
forward_op = define("_attention_fwd", f"({_CALL}) -> (Tensor output, Tensor weights, Tensor statistics)")
backward_op = define(
    "_attention_bwd",
    f"(Tensor? g_output, Tensor? g_weights, {_TENSORS}, Tensor output, Tensor statistics, {_OPTIONS}, "
    "bool[4] needs) -> (Tensor d_query, Tensor d_key, Tensor d_value, Tensor d_mask)",
)


def by_reference(call: Call) -> reference.AttentionOutput:
    """Check the call and compute it with the reference, differentiable any number of times."""
    make_problem(call)
    check_memory(call[:8])
    with autocast_disabled(call.query.device.type):
        return reference.scaled_dot_product_attention(*call[:8], **options(call))


def why_not_native(device_type: str, dtype: torch.dtype) -> str:
    """Why no kernel computes attention for this device and dtype, in words; empty where one does."""
    return why_not_on_cpu("attention", device_type, dtype)


# ------------------------------------------------------------------------------------ native kernels


def infer(*args: Any) -> tuple[Tensor, Tensor | None]:
    """The output and, if they are asked for, the weights of a call, on the flat arguments of its schema."""
    if why_not_native(args[0].device.type, args[0].dtype):
        return _reference_in_order(*args)
    return _attention_cpu.forward(Call.for_kernels(*args), with_statistics=False)[:2]


def _attention(*args: Any) -> tuple[Tensor, Tensor]:
    """The kernel of the public operator."""
    output, weights = infer(*args)
    return output, output.new_empty(0) if weights is None else weights


def _reference_in_order(*args: Any) -> tuple[Tensor, Tensor]:
    """The reference's results, laid out as the kernels would lay them out."""
    call = Call(*args)
    output, weights = by_reference(call)
    return empty_in_order(call.query, tuple(output.shape)).copy_(output), weights.contiguous()


def forward_native(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    output, weights, statistics = _attention_cpu.forward(Call.for_kernels(*args), with_statistics=True)
    assert statistics is not None
    return output, output.new_empty(0) if weights is None else weights, statistics


def backward_native(g_output: Tensor | None, g_weights: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    call, (output, statistics), needs = Call.for_kernels(*rest[:8], *rest[10:18]), rest[8:10], rest[18]
    problem, query = layout_of(call).problem, call.query
    check_like("the forward's output", output, problem.output_shape, query.dtype, query)
    check_like("statistics", statistics, problem.statistics_shape, accumulation_dtype(query.dtype), query)
    for name, grad, shape in (
        ("the gradient of output", g_output, problem.output_shape),
        ("the gradient of weights", g_weights, problem.weights_shape),
    ):
        if grad is not None:
            check_like(name, grad, shape, query.dtype, query)
    return _attention_cpu.backward(call, g_output, g_weights, output, statistics, needs=tuple(needs))


# -------------------------------------------------------------------------------------- fake kernels


def _forward_fake(*args: Any) -> tuple[Tensor, Tensor, Tensor]:
    call = Call(*args)
    problem = make_problem(call)
    return (
        empty_in_order(call.query, problem.output_shape),
        call.query.new_empty(problem.weights_shape),
        call.query.new_empty(problem.statistics_shape, dtype=accumulation_dtype(problem.dtype)),
    )


def _backward_fake(g_output: Tensor | None, g_weights: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    return _attention_cpu.empty_gradients(Call(*rest[:8], *rest[10:18]), rest[18])


# ---------------------------------------------------------------------------------------------- vmap


def _fold(tensor: Tensor | None, in_dim: int | None, samples: int, batch: int) -> Tensor | None:
    """[samples * batch, ...] from a tensor [batch or 1, ...] with or without a mapped dimension."""
    if tensor is None:
        return None
    tensor = tensor.unsqueeze(0) if in_dim is None else tensor.movedim(in_dim, 0)
    return tensor.expand(samples, batch, *tensor.shape[2:]).flatten(0, 1)


def _folding_rule(operator: Any, *, query_at: int, tensors: int) -> Callable[..., Any]:
    """The vmap rule that makes the mapped dimension part of the batch; `tensors` arguments come first.

    With dropout each sample has its own call: what is dropped depends on the place in the batch, which must
    be the same in the derivatives, whether or not they are mapped as the forward pass was.
    """
    seed_at, mask_at, dropout_at = query_at + 7, query_at + 3, tensors

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        if in_dims[seed_at] is not None or args[dropout_at] > 0:
            return loop_over_samples(operator)(info, in_dims, *args)
        samples, query_dim = info.batch_size, in_dims[query_at]
        batch = args[query_at].shape[1 if query_dim == 0 else 0]
        folded = [
            tensor if n == seed_at else _fold(tensor, in_dim, samples, batch)
            for n, (tensor, in_dim) in enumerate(zip(args[:tensors], in_dims[:tensors], strict=True))
        ]
        results = [
            t.new_empty(samples, 0) if t.dim() == 1 else t.unflatten(0, (samples, batch))
            for t in operator(*folded, *args[tensors:])
        ]
        if operator is backward_op and results[3].dim() > 2:
            mask, mask_dim = args[mask_at], in_dims[mask_at]
            if mask.shape[1 if mask_dim == 0 else 0] != batch:  # the samples' masks were broadcast
                results[3] = results[3].sum(1, keepdim=True)
        return tuple(results), (0,) * len(results)

    return rule


# -------------------------------------------------------------------------------------- registration

library.impl("scaled_dot_product_attention", _reference_in_order, "CompositeExplicitAutograd")
library.impl("scaled_dot_product_attention", _attention, "CPU")
library.impl("_attention_fwd", forward_native, "CPU")
library.impl("_attention_bwd", backward_native, "CPU")

for _name, _fake in (
    ("scaled_dot_product_attention", lambda *args: _forward_fake(*args)[:2]),
    ("_attention_fwd", _forward_fake),
    ("_attention_bwd", _backward_fake),
):
    torch.library.register_fake(f"pyrnn::{_name}", _fake, lib=library)

torch.library.register_vmap(
    "pyrnn::scaled_dot_product_attention", _folding_rule(attention_op, query_at=0, tensors=8), lib=library
)
torch.library.register_vmap(
    "pyrnn::_attention_fwd", _folding_rule(forward_op, query_at=0, tensors=8), lib=library
)
torch.library.register_vmap(
    "pyrnn::_attention_bwd", _folding_rule(backward_op, query_at=2, tensors=12), lib=library
)

refuse_other_layouts(attention_op, forward_op, backward_op)
refuse_gradients("_attention_fwd", forward_op, "pyrnn::scaled_dot_product_attention")
refuse_gradients("_attention_bwd", backward_op, "pyrnn::scaled_dot_product_attention")
