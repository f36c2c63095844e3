"""A call of residual_layer_norm: its checks, the same on every route, and its kernels."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from pyrnn import _native
from pyrnn._checks import check_like, check_probability, check_seed
from pyrnn._native_args import DTYPES, addresses, check_fields, number_of, on_huge_pages
from pyrnn.ops.dropout import cuda
from pyrnn.ops.dropout.call import Pass

_SLICE, _MOST_SLICES = 32, 128  # rows of a slice, at least, and slices of a call


class NativeResidualNorm(NamedTuple):
    """`pointwise::ResidualNormProblem` of csrc/pointwise/problem.h."""

    dtype: int
    rows: int
    features: int
    slices: int
    seed: int
    p: float
    eps: float
    x: int  # addresses
    residual: int
    weight: int
    bias: int
    out: int
    summed: int
    mean: int
    rstd: int
    g: int
    g_summed: int
    d_x: int
    d_residual: int
    partial: int
    d_weight: int
    d_bias: int


check_fields(_native.cpu, "pointwise.ResidualNorm", NativeResidualNorm._fields)
_TENSORS = NativeResidualNorm._fields[7:]
_CPU = {"forward": _native.cpu.residual_norm_forward, "backward": _native.cpu.residual_norm_backward}


def check(
    input: Tensor,
    residual: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    seed: Tensor | None,
    eps: float,
    p: float,
) -> None:
    """Check a call."""
    if not input.is_floating_point():
        raise TypeError(f"input must be floating point, got {input.dtype}; convert it with input.float()")
    if not input.dim():
        raise ValueError("input must have a last dimension to normalise over, got a scalar")
    if not eps >= 0:
        raise ValueError(f"eps must not be negative, got {eps}")
    check_probability("p", p)
    check_like("residual", residual, input.shape, input.dtype, input, "input", "the input's")
    for name, tensor in (("weight", weight), ("bias", bias)):
        if tensor is not None:
            check_like(name, tensor, input.shape[-1:], input.dtype, input, "input", "[E]")
    check_seed(seed, p, input, of="input")


def slices_of(rows: int) -> int:
    """Slices of the rows, each of which is summed before they are added in their order."""
    return max(1, min(_MOST_SLICES, (rows + _SLICE - 1) // _SLICE))


def run(
    which: Pass, like: Tensor, seed: Tensor | None, eps: float, p: float, tensors: dict[str, Tensor | None]
) -> None:
    """One pass by a kernel, on contiguous tensors by their names in the problem; `like` is of their shape."""
    features = like.shape[-1]
    rows = like.numel() // features
    problem = NativeResidualNorm(
        DTYPES[like.dtype],
        rows,
        features,
        slices_of(rows),
        number_of(seed) if seed is not None and p > 0 else 0,
        p,
        eps,
        *addresses(tensors.get(name) for name in _TENSORS),
    )
    if like.is_cuda or _native.emulated_cuda is not None:
        cuda.launch(f"residual_norm_{which}", "pointwise.ResidualNorm", problem, like.device)
        return
    for name in ("out", "summed", "d_x", "d_residual"):
        if (tensor := tensors.get(name)) is not None:
            on_huge_pages(tensor)
    _CPU[which](problem, _native.num_threads())
