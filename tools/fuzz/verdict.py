"""Whether numbers are right: the project's rule, with a second opinion where luck may have decided.

A kernel is right when error <= 2 torch's error + 4 eps scale, where scale is the size of the terms of the
sums. The largest of a few errors is a matter of luck: a call that breaks the rule by little is repeated on
other numbers, and fails if the largest errors of all of them together break it too. Where rounding may flip a
derivative, and where rounding errors of one step or layer are arguments of the next, what a relative change
of the arguments by a few eps does to the exact result is allowed as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.fuzz.calls import Call, Names, converted, leaves, numbers
from tools.fuzz.values import other_numbers, seed_torch

Results = dict[str, Tensor]
#: Beyond so many times the bound it is no question of luck.
GROSS = 50.0
_OTHERS = 12
#: Roundings of float64, which is its own oracle: whose they are is not known.
_OF_DOUBLES = 400.0


class Wrong(Exception):
    """A result that is not what it should be."""

    def __init__(self, symptom: str, details: str = "") -> None:
        super().__init__(symptom)
        self.symptom, self.details = symptom, details


class NoOracle(Exception):
    """Nobody can say what the result of this call should be."""


@dataclass
class Error:
    """Of one tensor, and of a few such tensors together."""

    ours: float
    theirs: float
    size: float
    roundings: float

    def bound(self, dtype: torch.dtype) -> float:
        eps = torch.finfo(dtype).eps
        tiny = 64 * torch.finfo(torch.float64 if dtype is torch.float64 else torch.float32).tiny
        roundings = _OF_DOUBLES if dtype is torch.float64 else self.roundings
        return 2 * self.theirs + roundings * eps * self.size + tiny


def plain_of(call: Call) -> Names:
    """What the oracles compute on."""
    plain = call.plain()
    if call.environment.autocast:
        plain = converted(plain, torch.bfloat16, only=call.autocasts)
    return plain


def check(call: Call, ours: Results, repeat: Callable[[], Results]) -> None:
    """Raise `Wrong` unless these results of a call are right; `repeat` makes the call again."""
    if any(argument.refuse for argument in call.arguments.values()):
        raise NoOracle  # a call that reads no numbers may take such an argument, an oracle would read it
    dtype = torch.bfloat16 if call.environment.autocast else getattr(torch, call.dtype.removeprefix("torch."))
    if call.extreme:
        check_classes(call, ours, dtype)
        return
    errors = errors_of(call, ours)
    suspects = [name for name, error in errors.items() if not error.ours <= error.bound(dtype)]
    if not suspects:
        return
    for name in suspects:
        worst = errors[name].ours / errors[name].bound(dtype)
        if math.isnan(worst) or (worst > GROSS and not call.kinks):
            raise Wrong(f"wrong numbers: {name}", _told(errors[name], dtype))
    for shift in range(1, _OTHERS + 1):
        with other_numbers(shift):
            for name, error in errors_of(call, repeat()).items():
                pooled = errors[name]
                pooled.ours, pooled.theirs = max(pooled.ours, error.ours), max(pooled.theirs, error.theirs)
                pooled.size = max(pooled.size, error.size)
    if call.kinks or call.composed or call.carries:
        _allow_for_changes(call, errors, dtype)
    for name in suspects:
        if not errors[name].ours <= errors[name].bound(dtype):
            raise Wrong(f"inaccurate: {name}", _told(errors[name], dtype))


def errors_of(call: Call, ours: Results) -> dict[str, Error]:
    """The errors of our results and of torch's, and the sizes of the terms."""
    exact, theirs = _compared(call, ours), _theirs(call)
    seed_torch(0)  # the sizes are those of the terms that this call's dropout left
    sizes = call.sizes(plain_of(call)) if call.sizes is not None else {}
    found = {}
    largest = max((t.abs().max().item() for t in exact.values() if t.numel()), default=0.0)
    for name, ideal in exact.items():
        mine, other = ours[name], theirs[name]
        _check_shape(name, mine, ideal)
        if not ideal.numel() or not ideal.abs().max() < torch.finfo(mine.dtype).max / 64:
            continue  # nothing to compare, or too large for the call's dtype
        error, torchs = ((each.double() - ideal).abs().max().item() for each in (mine, other))
        size = max(largest if call.composed else ideal.abs().max().item(), told := sizes.get(name, 0.0))
        if not (math.isfinite(size) and math.isfinite(told)):
            raise NoOracle
        found[name] = Error(error, torchs if math.isfinite(torchs) else 0.0, size, call.roundings)
    return found


def check_classes(call: Call, ours: Results, dtype: torch.dtype) -> None:
    """Finite where the oracle is finite, not where it is not; both in float64 and in the call's dtype.

    Where the oracle overflows in the one and not in the other, either is right.
    """
    most = torch.finfo(dtype).max
    exact, theirs = _compared(call, ours), _theirs(call)
    arguments = plain_of(call)
    floats = [t for t in arguments.values() if isinstance(t, Tensor) and t.is_floating_point()]
    infinite, spoilt = (any(bool(is_so(t).any()) for t in floats) for is_so in (torch.isinf, _is_bad))
    spoils = spoilt and (call.composed or call.drops)
    if call.composed and not spoils:  # of terms that cancel in the oracle the rounding errors may overflow
        size = max((t.abs().double().max().item() for t in floats if t.numel()), default=0.0)
        spoils = size**3 * torch.finfo(dtype).eps > most
    others = {} if call.another is None else _by(call, call.another, plain_of(call))
    for name, ideal in exact.items():
        mine, other = ours[name], theirs[name]
        _check_shape(name, mine, ideal)
        finite = ideal.isfinite() & (ideal.abs() < most / 64) & other.isfinite()
        if name in others:
            finite = finite & others[name].isfinite()
        lost = finite & ~mine.isfinite()
        own = arguments.get(name.removeprefix("d_")) if name.startswith("d_") else None
        if own is not None:  # the oracles put zeros for such numbers, whose derivative is 0 then
            lost = lost & own.isfinite()
        derived = name.startswith("d_")
        if lost.any() and not (derived and spoils):
            raise Wrong(f"not finite where the oracle is: {name}", f"{int(lost.sum())} of {lost.numel()}")
        hidden = ~ideal.isfinite() & ~other.isfinite() & mine.isfinite()
        # 0 times infinity may be left out, and is NaN to the oracles.
        if hidden.any() and not (call.forgets or call.drops or (infinite and (derived or call.composed))):
            raise Wrong(f"finite where the oracle is not: {name}", f"{int(hidden.sum())} of {hidden.numel()}")


def _is_bad(tensor: Tensor) -> Tensor:
    return ~tensor.isfinite()


def _check_shape(name: str, mine: Tensor, ideal: Tensor) -> None:
    if mine.is_nested:
        raise NoOracle
    if mine.shape != ideal.shape:
        raise Wrong(f"wrong shape: {name}", f"{list(mine.shape)}, expected {list(ideal.shape)}")


def _compared(call: Call, ours: Results) -> Results:
    """The exact results; an odd leaf may have no gradient of ours that they could be compared with."""
    exact = _exact(call)
    return {n: t for n, t in exact.items() if n in ours or not call.odd or not n.startswith("d_")}


def _exact(call: Call) -> Results:
    return _by(call, call.exact, converted(plain_of(call), torch.float64))


def _theirs(call: Call) -> Results:
    return _by(call, call.theirs, plain_of(call))


def _by(call: Call, oracle: Callable[[Names], object] | None, names: Names) -> Results:
    if oracle is None:
        raise NoOracle
    seed_torch(0)
    with getattr(torch, call.environment.mode)():
        result = oracle(names)
    return numbers(result, names, call.wanted(names), call.results)


def _allow_for_changes(call: Call, errors: dict[str, Error], dtype: torch.dtype) -> None:
    """Widen the bounds by what tiny changes of the arguments do to the exact results."""
    exact = _exact(call)
    for change in range(6):
        generator = torch.Generator().manual_seed(change)

        def rounded(tensor: Tensor, generator: torch.Generator = generator) -> Tensor:
            noise = torch.rand(tensor.shape, generator=generator, dtype=torch.float64) * 2 - 1
            return tensor * (1 + 4 * torch.finfo(dtype).eps * noise)

        names = converted(plain_of(call), torch.float64)
        with torch.no_grad():
            for tensor in (*leaves(names).values(), *(t for t in names.values() if isinstance(t, Tensor))):
                if tensor.dtype is torch.float64:
                    tensor.set_(rounded(tensor))  # type: ignore[call-overload]
        for name, moved in _by(call, call.exact, names).items():
            if name in errors:
                errors[name].theirs += (moved - exact[name]).abs().max().item()


def _told(error: Error, dtype: torch.dtype) -> str:
    return (
        f"error {error.ours:.3g}, bound {error.bound(dtype):.3g} (torch's error {error.theirs:.3g}, "
        f"size of the terms {error.size:.3g})"
    )
