"""Calls of `pyrnn.ops.attention_decoder`."""

from __future__ import annotations

from typing import Any

from pyrnn import reference
from pyrnn.reference.recurrent import GATES
from tests.ops.decoders import NAMES, Decoder, torch_loop
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, WIDE, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths

_OPTIONS = ("cell", "nonlinearity", "scale", "cumulative")
_LENGTHS = ("source_lengths", "lengths")
_RESULTS = ("output", "context", "weights", "h_n", "c_n", "alignment_n")


def draw(d: Drawer) -> Call:
    cell, dtype = d.pick(tuple(GATES)), d.pick(DTYPES)
    T, B = d.pick((0, *SMALL, *SMALL, 17)), d.pick((0, *SMALL, *SMALL, 17, 33))
    S, H, A, V = d.pick((*SMALL, 17, 33)), d.pick(WIDE), d.pick(WIDE), d.pick(WIDE)
    while T * B * (H * (H + V) + (S + H) * (A + V)) > 300_000:  # the oracles would take longer
        T, B = T // 2, (B + 1) // 2
    additive, projects = d.chance(0.6), d.chance(0.6)
    A = A if projects else H
    W = d.pick((1, 3, 5, 31)) if additive and d.chance(0.5) else 0
    wants, rows, spread = d.pick((0.0, 0.4, 1.0)), GATES[cell] * H, H**-0.5
    kind, _, nonlinearity = cell.partition("_")

    def new(given: bool, shape: tuple[int, ...], scale: float = 1.0) -> Argument:
        return Argument(d.tensor(shape, dtype, scale, leaf=wants) if given else "None")

    def lengths(most: int) -> Argument:
        source = f"integers({d.seed()}, ({B},), {d.pick((0, min(1, most)))}, {most})"
        return Argument(source if d.chance(0.4) else "None")

    arguments = {
        "input": new(True, (T, B, rows)),
        "h_0": new(True, (B, H)),
        "c_0": new(cell == "lstm", (B, H)),
        "context_0": new(True, (B, V)),
        "keys": new(True, (S, B, A)),
        "values": new(True, (S, B, V)),
        "weight_hh": new(True, (rows, H), spread),
        "bias_hh": new(d.chance(0.6), (rows,), spread),
        "weight_context": new(d.chance(0.7), (rows, V), V**-0.5),
        "weight_query": new(projects, (A, H), spread),
        "score_weight": new(additive, (A,), 2 * A**-0.5),
        "weight_location": new(W > 0, (A, W), max(W, 1) ** -0.5),
        "alignment_0": new(W > 0 and d.chance(0.7), (B, S)),
        "cell": Argument(repr(kind)),
        "nonlinearity": Argument(repr(nonlinearity or "tanh")),
        "scale": Argument(repr(1.0 if additive else A**-0.5)),
        "cumulative": Argument(repr(d.chance(0.4))),
        "source_lengths": lengths(S),
        "lengths": lengths(T),
    }
    has_lengths = any(arguments[name].given != "None" for name in _LENGTHS)
    call = Call(
        "decoder",
        dtype,
        arguments,
        f"ops.attention_decoder({listed(arguments)})",
        environment(d, autocast=dtype == "torch.float32"),
        exact=_by_reference,
        theirs=_by_torch,
        results=_RESULTS if cell == "lstm" else tuple(name for name in _RESULTS if name != "c_n"),
        # What follows an end has no derivatives, and NaN * 0 is NaN.
        forgets=has_lengths,
        roundings=16.0,  # sums over all steps, of terms larger than they
        kinks=cell == "rnn_relu",
        carries=True,
        composed=True,  # of keys that are alike the gradients cancel: rounding is all that is left
        autocasts=NAMES,
    )
    # Powers of a large weight_hh would overflow in the one and not in the other.
    floats = [name for name in NAMES if arguments[name].given != "None" and name != "weight_hh"]
    kind_of_call = d.random.random()
    if kind_of_call < 0.35:

        def special(d: Drawer, name: str) -> Argument | None:
            return odd_lengths(d, B, S if name == "source_lengths" else T) if name in _LENGTHS else None

        return made_odd(d, call, [*NAMES, *_LENGTHS, *_LENGTHS], _OPTIONS, special, shrink=True)
    return made_extreme(d, call, floats, strict=False) if kind_of_call < 0.5 else call


def _by_reference(names: Names) -> Any:
    kind = names["cell"]
    return reference.attention_decoder(
        f"rnn_{names['nonlinearity']}" if kind == "rnn" else kind,
        *(names[name] for name in NAMES),
        **{name: names[name] for name in (*_LENGTHS, "scale", "cumulative")},
    )


def _by_torch(names: Names) -> Any:
    """A loop in the dtype of the call, where it has a step; else the reference."""
    if not len(names["input"]) or not names["input"].shape[1]:
        return _by_reference(names)
    tensors = {name: names[name] for name in NAMES if names[name] is not None}
    decoder = Decoder(tensors, {name: names[name] for name in _OPTIONS})
    ends = {name: None if names[name] is None else names[name].long() for name in _LENGTHS}
    return torch_loop(decoder, **ends)
