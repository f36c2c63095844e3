"""A call of rotary_embedding: its checks, the same on every route, and its kernel."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pyrnn import _native
from pyrnn._checks import check_like
from pyrnn._native_args import DTYPES, accumulation_dtype, check_fields, contiguous, on_huge_pages, with_rows
from pyrnn.ops.dropout import cuda
from pyrnn.ops.dropout.call import empty_contiguous

_DIMS = 3  # that a row is found by


class NativeRotary(NamedTuple):
    """`pointwise::RotaryProblem` of csrc/pointwise/problem.h."""

    dtype: int
    size0: int
    size1: int
    size2: int
    features: int
    turned: int
    back: int
    x0: int  # strides
    x1: int
    x2: int
    table0: int
    table1: int
    table2: int
    x: int  # addresses
    table: int
    out: int


check_fields(_native.cpu, "pointwise.Rotary", NativeRotary._fields)


class Dim(NamedTuple):
    """A dimension of the rows: how many, and how far apart they and their angles lie."""

    size: int
    stride: int
    table: int


def check(input: Tensor, table: Tensor, sequence_dim: int) -> None:
    """Check a call; `sequence_dim` counts from the end."""
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}; convert it with input.float()")
    if input.dim() < 2 or not -input.dim() <= sequence_dim <= -2:
        raise ValueError(
            f"sequence_dim must be a dimension of the input before its features, got {sequence_dim} for "
            f"shape {list(input.shape)}"
        )
    T, D = input.shape[sequence_dim], input.shape[-1]
    if table.dim() != 3 or table.shape[2] != 2 or 2 * table.shape[1] > D:
        raise ValueError(
            "table must have shape [T, pairs, 2], cos and sin of each pair of features that is turned, and "
            f"at most the input's {D // 2} pairs; got {list(table.shape)}"
        )
    shape = (T, *table.shape[1:])
    check_like("table", table, shape, accumulation_dtype(input.dtype), input, "input", "[T, pairs, 2]")


def turn(input: Tensor, table: Tensor, sequence_dim: int, *, back: bool) -> Tensor:
    """The input turned by the angles of the table, or `back` by their negatives, by the kernel."""
    out = empty_contiguous(input)
    if not out.numel():
        return out
    x, table = with_rows(input), contiguous(table)
    dims = _dims_of_rows(x, table, sequence_dim)
    if len(dims) > _DIMS:  # a tensor without gaps has those before the positions, these, and those behind
        x = x.contiguous()
        dims = _dims_of_rows(x, table, sequence_dim)
    first, second, third = [Dim(1, 0, 0)] * (_DIMS - len(dims)) + dims
    problem = NativeRotary(
        dtype=DTYPES[x.dtype],
        size0=first.size,
        size1=second.size,
        size2=third.size,
        features=x.shape[-1],
        turned=2 * table.shape[1],
        back=int(back),
        x0=first.stride,
        x1=second.stride,
        x2=third.stride,
        table0=first.table,
        table1=second.table,
        table2=third.table,
        x=x.data_ptr(),
        table=table.data_ptr(),
        out=out.data_ptr(),
    )
    if out.is_cuda or _native.emulated_cuda is not None:
        cuda.launch("rotary", "pointwise.Rotary", problem, out.device)
    else:
        on_huge_pages(out)
        _native.cpu.rotary(problem, _native.num_threads())
    return out


def _dims_of_rows(x: Tensor, table: Tensor, sequence_dim: int) -> list[Dim]:
    """The fewest dimensions by whose numbers and strides every row is found, and its angles."""
    found: list[Dim] = []
    position = x.dim() + sequence_dim
    for n, (size, stride) in enumerate(zip(x.shape[:-1], x.stride()[:-1], strict=True)):
        dim = Dim(size, stride, table.stride(0) if n == position else 0)
        if size == 1:
            continue
        if found and found[-1].stride == size * stride and found[-1].table == size * dim.table:
            dim = Dim(size * found.pop().size, stride, dim.table)
        found.append(dim)
    return found
