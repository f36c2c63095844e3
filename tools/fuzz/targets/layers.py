"""Calls of RNN, GRU, LSTM and their cells, ours from the start or accelerated."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import LAYER_DTYPES, SMALL, WIDE, Drawer
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths
from tools.fuzz.targets._modules import by_torch, by_torch_or_reference

ACCELERATED = "(pyrnn.accelerate(layer), {})[1]"


def draw(d: Drawer) -> Call:
    name, dtype = d.pick(("RNN", "GRU", "LSTM")), d.pick(LAYER_DTYPES)
    T, B, I, H = d.pick((*SMALL, 17)), d.pick(SMALL), d.pick(WIDE), d.pick(WIDE)  # noqa: E741
    options: dict[str, Any] = {
        "num_layers": d.pick((1, 1, 2, 3)),
        "bias": d.chance(0.8),
        "batch_first": d.chance(0.5),
        "dropout": d.pick((0.0, 0.0, 0.3)),
        "bidirectional": d.chance(0.4),
    }
    own: dict[str, Any] = {}
    if name == "RNN":
        options["nonlinearity"] = d.pick(("tanh", "tanh", "relu"))
    if name == "LSTM" and H > 1 and d.chance(0.3):
        options["proj_size"] = d.pick((1, H // 2, H - 1))
    if d.chance(0.3):
        own = {"checkpoint_every": d.pick((1, 3, 100)), "locked_dropout": d.chance(0.5)}
    training = d.chance(0.7)
    layout = d.pick(("batched", "batched", "batched", "unbatched", "packed"))
    lengths = layout == "packed" or (layout == "batched" and d.chance(0.4))
    cells = name == "LSTM" and layout != "packed" and d.chance(0.2)
    accelerated = not own and not cells and d.chance(0.2)
    listed = ", ".join(f"{key}={value!r}" for key, value in {**options, **own}.items())
    made = (
        f"{'nn' if accelerated else 'pyrnn'}.{name}, {I}, {H}, {listed}, dtype={dtype}, training={training}"
    )
    wants = d.pick((0.0, 0.5, 1.0))
    batch = (B, T) if options["batch_first"] else (T, B)
    arguments = {
        "layer": Argument(f"seeded({d.seed()}, {made})"),
        "input": Argument(d.tensor((T, I) if layout == "unbatched" else (*batch, I), dtype, leaf=wants)),
    }
    lead = options["num_layers"] * (1 + options["bidirectional"])
    has_state = d.chance(0.5)
    if has_state:
        rows = (lead,) if layout == "unbatched" else (lead, B)
        arguments["h0"] = Argument(d.tensor((*rows, options.get("proj_size") or H), dtype, leaf=wants))
        if name == "LSTM":
            arguments["c0"] = Argument(d.tensor((*rows, H), dtype, leaf=wants))
    if lengths:
        least = 1 if layout == "packed" else d.pick((0, 1))
        source = f"integers({d.seed()}, ({B},), {least}, {T})"
        arguments["lengths"] = Argument(d.pick((source, f"({source}).tolist()")))
    cuts = layout != "packed" and not accelerated and d.chance(0.2)
    if cuts:
        steps = (T,) if layout == "unbatched" else batch
        arguments["reset"] = Argument(d.laid_out(f"coins({d.seed()}, {steps}, {d.pick((0.2, 0.7))})", steps))
    drops = training and options["dropout"] > 0 and options["num_layers"] > 1
    call = Call(
        name,
        dtype,
        arguments,
        _expression(layout, options["batch_first"], arguments, cells=cells, accelerated=accelerated),
        environment(d),
        exact=functools.partial(
            _run_by_torch, layout=layout, able=not (own or cells), drops=drops, cells=cells
        ),
        theirs=functools.partial(
            _run_by_torch, layout=layout, able=not (own or cells), drops=drops, cells=cells
        ),
        composed=True,
        results=("output", "h_n", "c_n", "cells"),
        kinks=options.get("nonlinearity") == "relu",
        forgets=lengths or cuts,
        drops=drops,
        roundings=16.0,
    )
    kind = d.random.random()
    tensors = [each for each in arguments if each != "layer"]
    if layout == "packed":  # what torch's packing refuses is no refusal of ours
        tensors = [each for each in tensors if each not in ("input", "lengths")]
    if kind < 0.35:

        def special(d: Drawer, each: str) -> Argument | None:
            return odd_lengths(d, B, T) if each == "lengths" and layout == "batched" else None

        return (
            made_odd(d, call, tensors, (), special, shrink=layout != "packed" and not drops)
            if tensors
            else call
        )
    floats = [each for each in tensors if each not in ("lengths", "reset")]
    return made_extreme(d, call, floats, strict=False) if kind < 0.45 and floats else call


def _expression(
    layout: str, batch_first: bool, arguments: dict[str, Argument], *, cells: bool, accelerated: bool
) -> str:
    state = "(h0, c0)" if "c0" in arguments else "h0" if "h0" in arguments else "None"
    options = ", return_cells=True" if cells else ""
    rows = "input"
    if layout == "packed":
        rows = f"pack(input, lengths, batch_first={batch_first}, enforce_sorted=False)"
    elif "lengths" in arguments:
        options += ", lengths=lengths"
    if "reset" in arguments:
        options += ", reset=reset"
    run = f"layer({rows}, {state}{options})"
    return ACCELERATED.format(run) if accelerated else run


def _state(names: Names) -> Any:
    return (names["h0"], names["c0"]) if "c0" in names else names.get("h0")


def _run_by_torch(names: Names, *, layout: str, able: bool, drops: bool, cells: bool) -> Any:
    layer, lengths = names["layer"], names.get("lengths")
    batch_first = layer.batch_first
    options: dict[str, Any] = {"return_cells": True} if cells else {}
    if names.get("reset") is not None:
        options["reset"], able = names["reset"], False
    if lengths is None:
        return _by(names, lambda n: n["layer"](n["input"], _state(n), **options), able)
    lengths = torch.as_tensor(lengths, dtype=torch.int64)
    if layout == "packed":
        return _by(names, lambda n: n["layer"](_packed(n["input"], lengths, batch_first), _state(n)), able)
    if able and not drops and bool(lengths.all()):
        return by_torch(names, lambda n: _through_packing(n, lengths, batch_first))
    return _by(names, lambda n: n["layer"](n["input"], _state(n), lengths=lengths, **options), False)


def _by(names: Names, run: Callable[[Names], Any], able: bool) -> Any:
    return by_torch(names, run) if able else by_torch_or_reference(names, run, torchs=False)


def _packed(input: torch.Tensor, lengths: torch.Tensor, batch_first: bool) -> Any:
    return pack_padded_sequence(input, lengths, batch_first, enforce_sorted=False)


def _through_packing(names: Names, lengths: torch.Tensor, batch_first: bool) -> Any:
    output, state = names["layer"](_packed(names["input"], lengths, batch_first), _state(names))
    T = names["input"].shape[1 if batch_first else 0]
    return pad_packed_sequence(output, batch_first, total_length=T)[0], state


# ---- cells ---------------------------------------------------------------------------------------


def draw_cell(d: Drawer) -> Call:
    name, dtype = d.pick(("RNNCell", "GRUCell", "LSTMCell")), d.pick(LAYER_DTYPES)
    B, I, H, wants = d.pick((0, *SMALL)), d.pick(WIDE), d.pick(WIDE), d.pick((0.0, 0.5, 1.0))  # noqa: E741
    options: dict[str, Any] = {"bias": d.chance(0.8)}
    if name == "RNNCell":
        options["nonlinearity"] = d.pick(("tanh", "relu"))
    accelerated = d.chance(0.2)
    listed = ", ".join(f"{key}={value!r}" for key, value in options.items())
    rows = () if d.chance(0.2) else (B,)
    made = f"{'nn' if accelerated else 'pyrnn'}.{name}, {I}, {H}, {listed}, dtype={dtype}"
    arguments = {
        "layer": Argument(f"seeded({d.seed()}, {made})"),
        "input": Argument(d.tensor((*rows, I), dtype, leaf=wants)),
    }
    if d.chance(0.7):
        arguments["h0"] = Argument(d.tensor((*rows, H), dtype, leaf=wants))
        if name == "LSTMCell":
            arguments["c0"] = Argument(d.tensor((*rows, H), dtype, leaf=wants))
    state = "(h0, c0)" if "c0" in arguments else "h0" if "h0" in arguments else "None"
    run = f"layer(input, {state})"
    call = Call(
        name,
        dtype,
        arguments,
        ACCELERATED.format(run) if accelerated else run,
        environment(d),
        exact=_cell,
        theirs=_cell,
        composed=True,
        results=("h", "c"),
        kinks=options.get("nonlinearity") == "relu",
    )
    kind, tensors = d.random.random(), [each for each in arguments if each != "layer"]
    if kind < 0.35:
        return made_odd(d, call, tensors, (), shrink=True)
    return made_extreme(d, call, tensors, strict=False) if kind < 0.45 else call


def _cell(names: Names) -> Any:
    return by_torch(names, lambda n: n["layer"](n["input"], _state(n)))
