"""The `pyrnn` operator library: what an operator registers with torch beside its kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from pyrnn._checks import check_dense
from pyrnn._dispatch import BelowAutograd

Kernel = Callable[..., Any]
VmapRule = Callable[..., tuple[Any, Any]]  # (info, in_dims, *args) -> (results, out_dims)

#: What the dispatcher calls tensors that are not dense.
_OTHER_LAYOUTS = (
    *("SparseCPU", "SparseCUDA", "SparseMeta", "SparseCsrCPU", "SparseCsrCUDA", "SparseCsrMeta"),
    *("NestedTensorCPU", "NestedTensorCUDA", "NestedTensorMeta"),
    *("QuantizedCPU", "QuantizedCUDA", "MkldnnCPU"),
)

library = torch.library.Library("pyrnn", "DEF")


def define(name: str, arguments: str, results: str) -> Kernel:
    """Add operator `pyrnn::name` and return it."""
    library.define(f"{name}({arguments}) -> ({results})", tags=(torch.Tag.pt2_compliant_tag,))
    return getattr(torch.ops.pyrnn, name).default


def names_of(schema: str) -> tuple[str, ...]:
    """Of the arguments or results of a schema, "Tensor input, Tensor? h0"."""
    return tuple(argument.split()[-1] for argument in schema.split(", "))


def count_flops(name: str, formula: Callable[[tuple[Any, ...]], int]) -> None:
    """Let torch's FlopCounterMode count `pyrnn::name` by `formula`, which is given shapes for tensors."""
    register = register_flop_formula(getattr(torch.ops.pyrnn, name))
    register(lambda *args, out_shape=None, **kwargs: formula(args))


def refuse_other_layouts(operator: Any) -> None:
    """Make an operator refuse tensors that are not dense, whichever way they come."""
    names = [argument.name for argument in operator._schema.arguments]

    def kernel(*args: Any) -> None:
        for name, value in zip(names, args, strict=False):
            if isinstance(value, Tensor):
                check_dense(name, value)

    for key in _OTHER_LAYOUTS:
        library.impl(operator, kernel, key)


def refuse_gradients(name: str, operator: Kernel, instead: str) -> None:
    """Make `pyrnn::name` raise where torch would compute silently wrong derivatives."""

    def kernel(*args: Any) -> Any:
        if torch.is_grad_enabled() and any(isinstance(a, Tensor) and a.requires_grad for a in args):
            raise RuntimeError(
                f"pyrnn::{name} has no derivative of its own; call {instead}, which has every order"
            )
        with BelowAutograd():
            return operator(*args)

    library.impl(name, kernel, "Autograd")


def loop_over_samples(operator: Kernel) -> VmapRule:
    """The vmap rule that calls `operator` for each sample in turn and stacks what it returns."""

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        if info.batch_size == 0:
            raise ValueError(
                f"{operator}: torch.vmap over a dimension of size 0 is not supported here; expected at least "
                "1"
            )
        samples = [
            operator(
                *(
                    a if d is None or not isinstance(a, Tensor) else a.select(d, n)
                    for a, d in zip(args, in_dims, strict=True)
                )
            )
            for n in range(info.batch_size)
        ]
        if isinstance(samples[0], Tensor):
            return torch.stack(samples), 0
        outputs = tuple(torch.stack(column) for column in zip(*samples, strict=True))
        return outputs, (0,) * len(outputs)

    return rule
