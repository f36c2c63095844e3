"""A call as source: its arguments, the expression, the settings around it, and who else can compute it."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from pyrnn import _native
from tests.attention.checking import cotangents
from tools.fuzz import values

Names = dict[str, Any]
_VOCABULARY: Names = {name: getattr(values, name) for name in values.__all__}


@dataclass(frozen=True)
class Argument:
    """Source of one argument, and what it means."""

    given: str
    plain: str | None = None  # the same without what is odd about it; None: just as given
    refuse: str = ""  # why no call with it may succeed

    @property
    def meant(self) -> str:
        return self.given if self.plain is None else self.plain


@dataclass(frozen=True)
class Environment:
    """The settings around a call."""

    isa: str
    threads: int = 1
    mode: str = "enable_grad"  # or no_grad, inference_mode
    autocast: bool = False

    @contextlib.contextmanager
    def entered(self) -> Generator[None, None, None]:
        _native.set_isa(self.isa)
        torch.set_num_threads(self.threads)
        values.seed_torch(0)
        with getattr(torch, self.mode)(), torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            yield

    def source(self) -> list[str]:
        lines = [f"pyrnn._native.set_isa({self.isa!r})", f"torch.set_num_threads({self.threads})"]
        lines.append("torch.manual_seed(0)")
        if self.mode != "enable_grad":
            lines.append(f"torch.{self.mode}().__enter__()")
        if self.autocast:
            lines.append("torch.autocast('cpu', torch.bfloat16).__enter__()")
        return lines


@dataclass(frozen=True)
class Call:
    """One call. `exact` and `theirs` compute on the arguments' values, in float64 and in the call's dtype."""

    target: str
    dtype: str
    arguments: dict[str, Argument]
    expression: str
    environment: Environment
    exact: Callable[[Names], Any] | None = None
    theirs: Callable[[Names], Any] | None = None
    another: Callable[[Names], Any] | None = None  # as `theirs`; both must be finite where ours is to be
    sizes: Callable[[Names], dict[str, float]] | None = None  # of the terms of each result's sums
    results: tuple[str, ...] = ()  # names of the results
    odd: bool = False  # whether it may be refused
    extreme: bool = False  # whether only the classes of numbers (finite or not) can be compared
    forgets: bool = False  # whether results may be finite where those of the oracles are not
    drops: bool = False  # whether an element that is dropped has a derivative of 0, whatever it was
    composed: bool = False  # whether the terms of a sum are as large as any of the call's numbers
    carries: bool = False  # whether rounding errors of one step are arguments of the next
    roundings: float = 4.0  # of the largest terms, that are allowed beside torch's error
    kinks: bool = False  # whether rounding may decide about a derivative of 0 or 1
    autocasts: tuple[str, ...] = field(default=())  # what autocast casts

    def hopeless(self, names: Names) -> str:
        """Why no call with these arguments may succeed; one that reads no numbers may take any."""
        values = [names[name] for name in self.arguments]
        if any(isinstance(each, Tensor) and not each.is_nested and each.numel() == 0 for each in values):
            return ""
        return ", ".join(argument.refuse for argument in self.arguments.values() if argument.refuse)

    def given(self) -> Names:
        """The arguments' values, as the call gets them."""
        return {**_VOCABULARY, **{n: evaluate(a.given) for n, a in self.arguments.items()}}

    def plain(self) -> Names:
        """The arguments' values, as an oracle gets them."""
        return {n: evaluate(a.meant) for n, a in self.arguments.items()}

    def wanted(self, names: Names) -> tuple[str, ...]:
        """What there are gradients for."""
        return tuple(leaves(names)) if self.environment.mode == "enable_grad" else ()

    def source(self) -> str:
        """A program that makes this call."""
        lines = ["from tools.fuzz.values import *", *self.environment.source()]
        lines += [f"{name} = {argument.given}" for name, argument in self.arguments.items()]
        lines.append(f"result = {self.expression}")
        return "\n".join(lines)

    def changed(self, **changes: Any) -> Call:
        return dataclasses.replace(self, **changes)


def evaluate(source: str) -> Any:
    """The value of an argument."""
    return eval(_compiled(source), dict(_VOCABULARY))


@functools.lru_cache(maxsize=256)  # a call's arguments are made again for every run and oracle
def _compiled(source: str) -> CodeType:
    return compile(source, "argument", "eval")


def tensors_in(result: Any) -> list[Tensor]:
    """Every tensor of a result, in order."""
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, PackedSequence):
        return [result.data]
    return [t for part in result for t in tensors_in(part)] if isinstance(result, list | tuple) else []


def leaves(names: Names) -> dict[str, Tensor]:
    """Everything that wants a gradient: arguments, and parameters of modules among them."""
    found: dict[str, Tensor] = {}
    for name, value in names.items():
        if isinstance(value, Tensor) and value.requires_grad and value.is_leaf:
            found[name] = value
        elif isinstance(value, nn.Module):
            found.update(
                {
                    f"{name}.{n}": parameter
                    for n, parameter in value.named_parameters()
                    if parameter.requires_grad
                }
            )
    return found


def numbers(result: Any, names: Names, wanted: tuple[str, ...], labels: tuple[str, ...]) -> dict[str, Tensor]:
    """Results and their gradients for the leaves `wanted`, by name; d_NAME for a gradient."""
    tensors = tensors_in(result)
    found = {labels[n] if n < len(labels) else f"result {n}": t.detach() for n, t in enumerate(tensors)}
    roots = [t for t in tensors if t.requires_grad]
    if not roots or not wanted:
        return found
    given = [
        each
        for t, each in zip(tensors, cotangents(tuple(tensors), torch.float64), strict=True)
        if t.requires_grad
    ]
    have = leaves(names)
    # Some may be None, which torch's own types leave out.
    grads: Any = torch.autograd.grad(roots, [have[name] for name in wanted], given, allow_unused=True)
    for name, grad in zip(wanted, grads, strict=True):
        found[f"d_{name}"] = torch.zeros_like(have[name]) if grad is None else grad
    return found


def converted(value: Any, dtype: torch.dtype, only: tuple[str, ...] | None = None) -> Any:
    """The value with floating tensors in `dtype`, as new leaves where they were leaves; modules in place."""
    if isinstance(value, dict):
        return {
            name: converted(each, dtype) if only is None or name in only else each
            for name, each in value.items()
        }
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.detach().to(dtype, copy=True).requires_grad_(value.requires_grad)
    if isinstance(value, nn.Module):
        return value.to(dtype)
    if isinstance(value, tuple | list):
        return type(value)(converted(each, dtype) for each in value)
    return value
