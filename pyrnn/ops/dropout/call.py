"""A call of dropout: its checks, the same on every route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from pyrnn._checks import check_probability, check_seed, wrong_type

#: By torch's own functions; the reference, which is what these are held against, has its own.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda x: x,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
}

CODES = {"none": 0, "relu": 1, "gelu": 2, "gelu_tanh": 3}  #: of them in csrc/pointwise/problem.h

Pass = Literal["forward", "backward"]


class NativeDropout(NamedTuple):
    """`pointwise::DropoutProblem` of csrc/pointwise/problem.h."""

    dtype: int
    activation: int
    count: int
    seed: int
    p: float
    x: int  # addresses
    other: int
    out: int


def as_activation(activation: Any) -> str:
    """The operators' name of an activation: "none" for None.

    Raises:
        TypeError: it is no name.
        ValueError: it is unknown.
    """
    if activation is None:
        return "none"
    if not isinstance(activation, str):
        raise wrong_type("activation", "str", activation)
    if activation not in ACTIVATIONS or activation == "none":
        known = ", ".join(repr(known) for known in ACTIVATIONS if known != "none")
        raise ValueError(f"activation must be None or one of {known}, got {activation!r}")
    return activation


def check(tensor: Tensor, other: Tensor | None, name: str, seed: Tensor | None, p: float, act: str) -> None:
    """Check a call; `other`, called `name`, is like `tensor` where it is there."""
    if not tensor.is_floating_point():
        raise TypeError(f"input must be floating point, got {tensor.dtype}; convert it with input.float()")
    as_activation(None if act == "none" else act)
    check_probability("p", p)
    if other is not None and other.shape != tensor.shape:
        raise ValueError(
            f"{name} must have the input's shape {list(tensor.shape)}, got {list(other.shape)}; "
            "expand it first"
        )
    if other is not None and (other.dtype != tensor.dtype or other.device != tensor.device):
        raise ValueError(
            f"{name} must have the input's dtype and device, {tensor.dtype} on {tensor.device}, got "
            f"{other.dtype} on {other.device}"
        )
    check_seed(seed, p, tensor, of="input")


def empty_contiguous(tensor: Tensor) -> Tensor:
    """An uninitialised tensor of the same shape, dtype and device, in row-major order."""
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)
