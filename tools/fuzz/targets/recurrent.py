"""Calls of `pyrnn.ops.recurrent`."""

from __future__ import annotations

from typing import Any

from pyrnn import reference
from pyrnn.reference.recurrent import GATES
from tests.helpers import Layer, torch_recurrent
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, WIDE, Drawer
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths

_WEIGHTS = ("w_ih", "w_hh", "b_ih", "b_hh", "w_hr")
_OPTIONS = ("cell", "batch_first", "return_cells", "checkpoint_every")
_RESULTS = ("output", "h_n", "c_n", "cells")


def draw(d: Drawer) -> Call:
    cell, dtype = d.pick(tuple(GATES)), d.pick(DTYPES)
    T, B = (d.pick((0, *SMALL, *SMALL, 17, 33)) for _ in range(2))
    I, H = d.pick(WIDE), d.pick(WIDE)  # noqa: E741
    while T * B * H * (I + H) > 300_000:  # the oracles would take longer than the kernels
        T, B = T // 2, (B + 1) // 2
    if d.chance(0.003):
        T, B, I, H = d.pick((300, 1000, 3000)), 2, 3, d.pick((1, 4))  # noqa: E741
    P = d.pick((1, H, 2 * H, max(H // 2, 1))) if cell == "lstm" and d.chance(0.3) else None
    D, packed, batch_first = 1 + d.chance(0.35), d.chance(0.15) and T > 0 and B > 0, d.chance(0.4)
    wants = d.pick((0.0, 0.4, 1.0))
    spread, rows = H**-0.5, GATES[cell] * H
    sizes = sorted((1 + d.below(B) for _ in range(T)), reverse=True) if packed else []
    B = sizes[0] if packed else B
    shape = (sum(sizes), I) if packed else (B, T, I) if batch_first else (T, B, I)
    arguments = {"cell": Argument(repr(cell)), "input": _new(d, shape, dtype, 1.0, wants)}
    states = packed or d.chance(0.6)
    arguments["h0"] = _new(d, (D, B, P or H), dtype, 1.0, wants) if states else Argument("None")
    has_c0 = cell == "lstm" and d.chance(0.6)
    arguments["c0"] = _new(d, (D, B, H), dtype, 1.0, wants) if has_c0 else Argument("None")
    has = {"b_ih": d.chance(0.7), "b_hh": d.chance(0.7), "w_hr": P is not None}
    shapes = {
        "w_ih": (rows, I),
        "w_hh": (rows, P or H),
        "b_ih": (rows,),
        "b_hh": (rows,),
        "w_hr": (P or 0, H),
    }
    for suffix in ("", "_r")[:D]:
        for name in _WEIGHTS:
            scale = spread * min(1.0, (H / I) ** 0.5) if name == "w_ih" else spread
            given = has.get(name, True)
            arguments[name + suffix] = (
                _new(d, shapes[name], dtype, scale, wants) if given else Argument("None")
            )
    lengths, batch_sizes = "None", repr(None)
    if packed:
        batch_sizes = f"torch.tensor({sizes})"
    elif d.chance(0.4):
        lengths = f"integers({d.seed()}, ({B},), {d.pick((0, min(1, T)))}, {T})"
        lengths = f"({lengths}).int()" if d.chance(0.2) else lengths
    cuts = d.chance(0.3)
    mask = d.laid_out(f"coins({d.seed()}, {shape[:-1]}, {d.pick((0.1, 0.5, 1.0))})", shape[:-1])
    arguments.update(
        lengths=Argument(lengths),
        reset=Argument(mask if cuts else "None"),
        batch_sizes=Argument(batch_sizes),
        batch_first=Argument(repr(batch_first)),
        return_cells=Argument(repr(d.chance(0.3))),
        checkpoint_every=Argument(repr(d.pick((0, 0, 0, 1, 2, 4, 100)))),
    )
    group = "({}, {}, {}, {}, {})"
    weights = ", ".join(group.format(*(name + suffix for name in _WEIGHTS)) for suffix in ("", "_r")[:D])
    call = Call(
        "recurrent",
        dtype,
        arguments,
        f"ops.recurrent(cell, input, h0, c0, ({weights},), lengths=lengths, batch_sizes=batch_sizes, "
        "reset=reset, batch_first=batch_first, return_cells=return_cells, checkpoint_every=checkpoint_every)",
        environment(d, autocast=dtype == "torch.float32"),
        exact=_by_reference,
        theirs=_by_torch,
        results=_RESULTS,
        # What follows an end has no derivatives, and NaN * 0 is NaN.
        forgets=packed or cuts or lengths != "None",
        roundings=16.0,  # sums over all steps, of terms larger than they
        kinks=cell == "rnn_relu",
        carries=True,
        autocasts=tuple(name for name in arguments if name not in ("lengths", "batch_sizes", "reset")),
    )
    # Powers of a large w_hh would overflow in the one and not in the other.
    floats = [name for name in ("input", "h0", "c0", *_WEIGHTS) if name in arguments and name != "w_hh"]
    kind = d.random.random()
    if kind < 0.35:
        tensors = [name for name in arguments if name not in _OPTIONS]

        def special(d: Drawer, name: str) -> Argument | None:
            return odd_lengths(d, B, T) if name == "lengths" and not packed else None

        return made_odd(d, call, [*tensors, "lengths", "lengths"], _OPTIONS, special, shrink=True)
    return made_extreme(d, call, floats, strict=False) if kind < 0.5 else call


def _new(d: Drawer, shape: tuple[int, ...], dtype: str, scale: float, wants: float) -> Argument:
    return Argument(d.tensor(shape, dtype, scale, leaf=wants))


def _groups(names: Names) -> tuple[Any, ...]:
    suffixes = ("", "_r") if "w_ih_r" in names else ("",)
    return tuple(tuple(names[name + suffix] for name in _WEIGHTS) for suffix in suffixes)


def _by_reference(names: Names) -> Any:
    return reference.recurrent(
        names["cell"],
        names["input"],
        names["h0"],
        names["c0"],
        _groups(names),
        lengths=names["lengths"],
        batch_sizes=names["batch_sizes"],
        reset=names["reset"],
        batch_first=bool(names["batch_first"]),
        return_cells=bool(names["return_cells"]),
    )


def _by_torch(names: Names) -> Any:
    """torch's layer where it has such calls, else the reference."""
    groups, lengths, h0 = _groups(names), names["lengths"], names["h0"]
    w_ih, w_hh, b_ih, b_hh, w_hr = groups[0]
    H = w_ih.shape[0] // GATES[names["cell"]]
    refused = (
        names["return_cells"]
        or names["batch_sizes"] is not None
        or names["reset"] is not None
        or not names["input"].numel()
        or (lengths is not None and not bool(lengths.all()))
        or (w_hr is not None and w_hh.shape[1] >= H)
        or (b_ih is None) != (b_hh is None)
        or (names["cell"] == "lstm" and (h0 is None) != (names["c0"] is None))
    )
    if refused:
        return _by_reference(names)
    layer = Layer(names["cell"], names["input"], h0, names["c0"], groups)
    return torch_recurrent(
        layer, lengths=None if lengths is None else lengths.long(), batch_first=names["batch_first"]
    )
