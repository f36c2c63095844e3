"""Calls of `pyrnn.ops.crf_log_partition`."""

from __future__ import annotations

from typing import Any

from pyrnn import reference
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths

_TENSORS = ("emissions", "transitions", "start", "end")


def draw(d: Drawer) -> Call:
    dtype, T, B = d.pick(DTYPES), d.pick((0, *SMALL, *SMALL, 17)), d.pick((0, *SMALL, *SMALL, 17, 33))
    C, wants, scale = d.pick((*SMALL, 9, 17, 33, 65)), d.pick((0.0, 0.4, 1.0)), d.pick((0.1, 1.0, 1.0, 8.0))

    def new(given: bool, *shape: int) -> Argument:
        return Argument(d.tensor(shape, dtype, scale, leaf=wants) if given else "None")

    lengths = f"integers({d.seed()}, ({B},), {d.pick((0, min(1, T)))}, {T})" if d.chance(0.5) else "None"
    arguments = {
        "emissions": new(True, T, B, C),
        "transitions": new(True, C, C),
        "start": new(d.chance(0.6), C),
        "end": new(d.chance(0.6), C),
        "lengths": Argument(lengths),
    }
    call = Call(
        "crf",
        dtype,
        arguments,
        f"ops.crf_log_partition({listed(arguments)})",
        environment(d),
        exact=_by_reference,
        theirs=_by_reference,
        forgets=lengths != "None",
        roundings=16.0,  # sums over all steps, of terms larger than they
    )
    kind_of_call = d.random.random()
    floats = [name for name in _TENSORS if arguments[name].given != "None"]
    if kind_of_call < 0.35:

        def special(d: Drawer, name: str) -> Argument | None:
            return odd_lengths(d, B, T) if name == "lengths" else None

        return made_odd(d, call, [*_TENSORS, "lengths", "lengths"], (), special, shrink=True)
    return made_extreme(d, call, floats, strict=False) if kind_of_call < 0.5 else call


def _by_reference(names: Names) -> Any:
    return reference.crf_log_partition(*(names[name] for name in (*_TENSORS, "lengths")))
