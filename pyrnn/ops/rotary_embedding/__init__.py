"""Rotary position embedding: the public operator, its passes, its route."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from pyrnn._checks import as_integer, check_all_dense, refuse_derivative
from pyrnn._native_args import require_readable_storage
from pyrnn.ops._library import Kernel, VmapRule, loop_over_samples
from pyrnn.ops._operator import Operator, Part, Route, Spec
from pyrnn.ops.dropout.call import empty_contiguous
from pyrnn.ops.rotary_embedding.call import check, turn
from pyrnn.reference.rotary_embedding import rotary_embedding as reference

Tensors = tuple[Tensor | None, ...]


def rotary_embedding(input: Tensor, table: Tensor, *, sequence_dim: int = -2) -> Tensor:
    """Turn pairs of features by the angles of their positions, in one pass over memory.

    out[2i] = x[2i] cos a - x[2i + 1] sin a; out[2i + 1] = x[2i] sin a + x[2i + 1] cos a, where cos a and sin
    a are table[t, i] at position t. Features behind the table's pairs stay as they are.

    The backward pass turns the gradient by the negative angles. The kernel computes the first derivative;
    higher ones, and forward-mode ones, differentiate `pyrnn.reference.rotary_embedding`, which torch.compile
    is given too: it merges the passes with those around them.

    Args:
        input: [..., D] with T positions at `sequence_dim`, float32, float64 or bfloat16, on CUDA also
            float16, for the kernels; any other floating dtype or device takes the reference. torch.autocast
            changes nothing. Views at any strides are read where they lie.
        table: [T, pairs, 2] with pairs <= D / 2, cos and sin, float32, or float64 for a float64 input: the
            rows of these positions out of any table, as `pyrnn.nn.RotaryEmbedding` makes them from any start
            on. It has no derivative.
        sequence_dim: which dimension of the input counts the positions; not the last one.

    Returns:
        A contiguous tensor of the input's shape.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point; `sequence_dim` is no
            integer.
        ValueError: shapes, dtypes, devices or the dimension do not fit, the table requires a gradient, or the
            storage of a tensor does not hold all of it.

    Source: Su et al., RoFormer: Enhanced Transformer with Rotary Position Embedding (2021), equation 34.

    Example:
        >>> import torch
        >>> from pyrnn.ops import rotary_embedding
        >>> quarter = torch.tensor([[[0.0, 1.0]]])  # cos and sin of pi / 2
        >>> rotary_embedding(torch.tensor([[1.0, 2.0, 3.0]]), quarter)
        tensor([[-2.,  1.,  3.]])
    """
    check_all_dense(_TENSORS, (input, table), required=2)
    sequence_dim = as_integer("sequence_dim", sequence_dim)
    if (
        0 <= sequence_dim < input.dim()
    ):  # from the end, so that torch.vmap may put a dimension before all others
        sequence_dim -= input.dim()
    refuse_derivative("table", table)
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # type: ignore[attr-defined]
        check(input, table, sequence_dim)
        return reference(input, table, sequence_dim)
    return _operator(input, table, sequence_dim)


def rotary_embedding_route(input: Tensor) -> Route:
    """Who computes `rotary_embedding` for this input, under the transforms active now.

    Example:
        >>> import torch
        >>> from pyrnn.ops import rotary_embedding_route
        >>> rotary_embedding_route(torch.zeros(1)).path
        'native'
    """
    return _operator.route(input)


# -------------------------------------------------------------------------------------------- kernels


def _forward(input: Tensor, table: Tensor, sequence_dim: int) -> Tensor:
    check(input, table, sequence_dim)
    return turn(input, table, sequence_dim, back=False)


def _backward(grad: Tensor, table: Tensor, sequence_dim: int, needs: Any) -> Tensor:
    """The gradient of the input from that of the output."""
    check(grad, table, sequence_dim)
    return turn(grad, table, sequence_dim, back=True)


def _reference(input: Tensor, table: Tensor, sequence_dim: int) -> Tensor:
    check(input, table, sequence_dim)
    require_readable_storage((input, table))
    return reference(input, table, sequence_dim)


def _fake_forward(input: Tensor, table: Tensor, sequence_dim: int) -> Tensor:
    check(input, table, sequence_dim)
    return empty_contiguous(input)


def _fake_backward(grad: Tensor, table: Tensor, sequence_dim: int, needs: Any) -> Tensor:
    return _fake_forward(grad, table, sequence_dim)


def _keep(tensors: Tensors, options: tuple[Any, ...]) -> Tensors:
    return tensors[1:]


def _restore(grads: Tensors, kept: Tensors) -> Tensors:
    """The derivative is the same at any input, also at the gradient."""
    return grads[0], kept[0]


def _vmap(part: Part, operator: Kernel) -> VmapRule:
    """One call for all samples, which share the table; one for each where they do not."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        if in_dims[1] is not None:
            return loop_over_samples(operator)(info, in_dims, *args)
        return operator(args[0].movedim(in_dims[0], 0), *args[1:]), 0

    return rule


_TENSORS = ("input", "table")

_operator = Operator(
    Spec(
        name="rotary_embedding",
        tensors="Tensor input, Tensor table",
        options="int sequence_dim",
        results="Tensor output",
        differentiable=(0,),
        kept="Tensor table",
        keep=_keep,
        restore=_restore,
        devices=("cpu", "cuda"),
        autocasts=False,
        infer=_forward,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        vmap=_vmap,
    )
)
