"""Layers by somebody else: torch's classes on our parameters, or our layers on the reference's operators."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import Any

import torch
from torch import Tensor, nn

from pyrnn import ops, reference
from pyrnn.reference.dropout import ACTIVATIONS
from pyrnn.reference.dropout import dropout as reference_dropout
from pyrnn.swap.layers import OURS
from tests.attention.checking import of_reference
from tools.fuzz.calls import Names, tensors_in
from tools.fuzz.values import seed_torch

_TORCHS = {ours: torchs for torchs, ours in OURS.items()}


def by_torch(names: Names, run: Callable[[Names], Any]) -> Any:
    """The call with every layer in `names`, which is the oracle's alone, turned into torch's."""
    for value in names.values():
        if isinstance(value, nn.Module):
            for module in value.modules():
                module.__class__ = _TORCHS.get(type(module), type(module))
    return run(names)


def by_reference(names: Names, run: Callable[[Names], Any]) -> Any:
    """The call with our layers, and the reference's operators inside them."""
    for value in names.values():
        if isinstance(value, nn.Module):
            for module in value.modules():
                module.__class__ = OURS.get(type(module), type(module))
    with _reference_operators():
        return run(names)


def by_torch_or_reference(names: Names, run: Callable[[Names], Any], *, torchs: bool) -> Any:
    """By torch where it has such calls (`torchs`) and its results are numbers, else by the reference.

    To a query that sees no key torch gives NaN.
    """
    if torchs:
        result = by_torch(names, run)
        if all(t.isfinite().all() for t in tensors_in(result)):
            return result
        seed_torch(0)
    return by_reference(names, run)


@contextlib.contextmanager
def _reference_operators() -> Generator[None, None, None]:
    ours = {name: getattr(ops, name) for name in _REFERENCES}
    for name, operator in _REFERENCES.items():
        setattr(ops, name, operator)
    try:
        yield
    finally:
        for name, operator in ours.items():
            setattr(ops, name, operator)


def _recurrent(*args: Any, checkpoint_every: int = 0, **options: Any) -> Any:
    return reference.recurrent(*args, **options)


def _attention(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Any:
    options |= dict(zip(("attn_mask", "dropout_p", "is_causal", "scale"), args, strict=False))
    options.setdefault("dropout_p", 0.0)
    if options["dropout_p"] > 0 and options.get("seed") is None:
        options["seed"] = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    results = of_reference(query, key, value, **options)
    return results[0] if len(results) == 1 else results


def _dropout(
    input: Tensor, p: float = 0.5, training: bool = True, *, residual: Any = None, activation: Any = None
) -> Tensor:
    p, seed = p if training else 0.0, None
    if p > 0:
        seed = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    return reference_dropout(input, residual, seed, p, activation or "none")


def _linear(input: Tensor, weight: Tensor, bias: Any = None, activation: Any = None) -> Tensor:
    return ACTIVATIONS[activation or "none"](nn.functional.linear(input, weight, bias))


_REFERENCES: dict[str, Any] = {
    "recurrent": _recurrent,
    "scaled_dot_product_attention": _attention,
    "dropout": _dropout,
    "linear": _linear,
}
