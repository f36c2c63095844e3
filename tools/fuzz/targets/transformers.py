"""Calls of MultiheadAttention and of the Transformer and its layers, ours from the start or accelerated."""

from __future__ import annotations

import functools
from typing import Any

import torch

from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import LAYER_DTYPES, SMALL, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd
from tools.fuzz.targets._modules import by_reference, by_torch_or_reference
from tools.fuzz.targets.layers import ACCELERATED

_HEADS = ((8, 2), (6, 3), (4, 1), (16, 4), (33, 3), (64, 4), (20, 2))


def _own(d: Drawer, E: int, H: int) -> dict[str, str]:
    """Options that torch's layers lack, as source."""
    if d.chance(0.6):
        return {}
    own: dict[str, str] = {"causal": repr(d.chance(0.5))}
    own["window"] = repr(d.pick((None, (2, 0), (3, -1), (0, 0), (1, 2))))
    own["alibi"] = repr(d.chance(0.3))
    if d.chance(0.4) and E // H >= 2:
        own["rotary"] = f"pyrnn.nn.RotaryEmbedding({E // H // 2 * 2})"
    return own


def _mask(d: Drawer, shape: tuple[int, ...], dtype: str, *, causal: bool = False) -> str:
    """A mask as torch's layers take it: True forbids."""
    if d.chance(0.4):
        return "None"
    kind = d.pick(("bool", "float", "holes", "causal" if causal else "bool"))
    if kind == "bool":
        return f"coins({d.seed()}, {shape}, {d.pick((0.3, 0.3, 0.8))})"
    if kind == "causal":
        return d.pick(
            (
                f"torch.ones({shape}, dtype=torch.bool).triu(1)",
                f"nn.Transformer.generate_square_subsequent_mask({shape[0]}, dtype={dtype})",
            )
        )
    source = f"normal({d.seed()}, {shape}, {dtype})"
    return source if kind == "float" else f"{source}.masked_fill(coins({d.seed()}, {shape}, 0.3), -torch.inf)"


def draw_attention(d: Drawer) -> Call:
    (E, H), dtype = d.pick(_HEADS), d.pick(LAYER_DTYPES)
    B, T, S = d.pick(SMALL), d.pick((*SMALL, 17)), d.pick((*SMALL, 17, 65))
    batched, batch_first = d.chance(0.8), d.chance(0.5)
    kind = d.pick(("self", "memory", "three"))
    S = T if kind == "self" else S
    widths = d.pick(((None, None), (5, 3), (None, 3))) if kind == "three" else (None, None)
    own = _own(d, E, H)
    options: dict[str, Any] = {
        "bias": d.chance(0.8),
        "batch_first": batch_first,
        "dropout": d.pick((0.0, 0.0, 0.2)),
    }
    if kind == "three":
        options |= {"kdim": widths[0], "vdim": widths[1]}
    if not own:
        options |= {"add_bias_kv": d.chance(0.2), "add_zero_attn": d.chance(0.2)}
    training, accelerated, wants = d.chance(0.7), not own and d.chance(0.2), d.pick((0.0, 0.5, 1.0))
    said = ", ".join([*(f"{n}={v!r}" for n, v in options.items()), *(f"{n}={v}" for n, v in own.items())])
    made = f"{'nn' if accelerated else 'pyrnn.nn'}.MultiheadAttention, {E}, {H}, {said}"

    def operand(length: int, width: int | None) -> Argument:
        batch = (B, length) if batch_first else (length, B)
        return Argument(
            d.tensor((*batch, width or E) if batched else (length, width or E), dtype, leaf=wants)
        )

    arguments = {
        "layer": Argument(f"seeded({d.seed()}, {made}, dtype={dtype}, training={training})"),
        "query": operand(T, None),
    }
    if kind != "self":
        arguments["key"] = operand(S, widths[0])
    if kind == "three":
        arguments["value"] = operand(S, widths[1])
    shape = (T, S) if d.chance(0.6) else ((B if batched else 1) * H, T, S)
    call_options = {
        "key_padding_mask": _mask(d, (B, S) if batched else (S,), dtype),
        "need_weights": repr(d.chance(0.5)),
        "attn_mask": _mask(d, shape, dtype, causal=T == S and len(shape) == 2),
        "average_attn_weights": repr(d.chance(0.5)),
    }
    arguments |= {name: Argument(source) for name, source in call_options.items()}
    key = "query" if kind == "self" else "key"
    value = "value" if kind == "three" else key
    run = f"layer(query, {key}, {value}, {listed(call_options)})"
    drops = training and options["dropout"] > 0
    call = Call(
        "MultiheadAttention",
        dtype,
        arguments,
        ACCELERATED.format(run) if accelerated else run,
        environment(d),
        exact=functools.partial(_attend, key=key, value=value, torchs=not own and not drops),
        theirs=functools.partial(_attend, key=key, value=value, torchs=not own and not drops),
        composed=True,
        roundings=16.0,
        results=("output", "weights"),
        drops=drops,
    )
    odds = ("key_padding_mask", "attn_mask", *(n for n in ("query", "key", "value") if n in arguments))
    chosen = d.random.random()
    if chosen < 0.35:
        return made_odd(d, call, odds, ("need_weights", "average_attn_weights"))
    if chosen < 0.42:  # to a query that is NaN torch's fast path gives numbers
        oracle = functools.partial(_attend, key=key, value=value, torchs=False)
        call = made_extreme(d, call.changed(exact=oracle, theirs=oracle), odds[2:])
        # A weight too small for the dtype is 0 and has no derivative, whatever its value is.
        return call.changed(forgets=call.forgets or "injected" in call.arguments[value].given)
    return call


def _attend(names: Names, *, key: str, value: str, torchs: bool) -> Any:
    chosen = ("key_padding_mask", "need_weights", "attn_mask", "average_attn_weights")

    def run(n: Names) -> Any:
        output, weights = n["layer"](n["query"], n[key], n[value], **{name: n[name] for name in chosen})
        return (output,) if weights is None else (output, weights)

    return by_torch_or_reference(names, run, torchs=torchs)


# ---- Transformer ---------------------------------------------------------------------------------

_STACKS = ("TransformerEncoderLayer", "TransformerDecoderLayer", "Transformer")


def draw_transformer(d: Drawer) -> Call:
    name, (E, H), dtype = d.pick(_STACKS), d.pick(_HEADS), d.pick(LAYER_DTYPES)
    B, T, S, F = d.pick((1, 2, 3)), d.pick(SMALL), d.pick(SMALL), d.pick((1, 7, 16, 33))
    options: dict[str, Any] = {
        "dropout": d.pick((0.0, 0.0, 0.2)),
        "batch_first": d.chance(0.5),
        "norm_first": d.chance(0.5),
        "bias": d.chance(0.8),
    }
    activation = d.pick(("nn.functional.relu", "'relu'", "'gelu'", "nn.GELU('tanh')", "torch.tanh"))
    own = _own(d, E, H) if name != "Transformer" else {}
    training, accelerated, wants = d.chance(0.7), not own and d.chance(0.2), d.pick((0.0, 0.5, 1.0))
    said = ", ".join([*(f"{n}={v!r}" for n, v in options.items()), *(f"{n}={v}" for n, v in own.items())])
    sizes = f"{E}, {H}, 1, 2, {F}" if name == "Transformer" else f"{E}, {H}, {F}"
    made = f"{'nn' if accelerated else 'pyrnn.nn'}.{name}, {sizes}, {said}, activation={activation}"
    batched = d.chance(0.8)

    def operand(length: int) -> Argument:
        batch = (B, length) if options["batch_first"] else (length, B)
        return Argument(d.tensor((*batch, E) if batched else (length, E), dtype, leaf=wants))

    def padding(length: int) -> Argument:
        return Argument(_mask(d, (B, length) if batched else (length,), dtype) if d.chance(0.5) else "None")

    arguments = {
        "layer": Argument(f"seeded({d.seed()}, {made}, dtype={dtype}, training={training})"),
        "src": operand(S),
        "src_mask": Argument(_mask(d, (S, S), dtype, causal=True)),
        "src_key_padding_mask": padding(S),
    }
    names = ["src_mask", "src_key_padding_mask"]
    if name != "TransformerEncoderLayer":
        arguments |= {"tgt": operand(T), "tgt_mask": Argument(_mask(d, (T, T), dtype, causal=True))}
        arguments |= {"tgt_key_padding_mask": padding(T), "memory_key_padding_mask": padding(S)}
        names += ["tgt_mask", "tgt_key_padding_mask", "memory_key_padding_mask"]
    if name == "TransformerDecoderLayer":
        names = names[2:]
        del arguments["src_mask"], arguments["src_key_padding_mask"]
    inputs = {"TransformerEncoderLayer": ["src"], "TransformerDecoderLayer": ["tgt", "src"]}.get(
        name, ["src", "tgt"]
    )
    run = f"layer({', '.join(inputs)}, {listed(dict.fromkeys(names))})"
    drops = training and options["dropout"] > 0
    oracle = functools.partial(_transform, inputs=inputs, masks=names, torchs=not own and not drops)
    call = Call(
        name,
        dtype,
        arguments,
        ACCELERATED.format(run) if accelerated else run,
        environment(d),
        exact=oracle,
        theirs=oracle,
        composed=True,
        roundings=16.0,
        results=("output",),
        drops=drops,
        kinks="relu" in activation,
    )
    chosen = d.random.random()
    if chosen < 0.35:
        return made_odd(d, call, (*inputs, *names), ())
    return call


def _transform(names: Names, *, inputs: list[str], masks: list[str], torchs: bool) -> Any:
    def run(n: Names) -> Any:
        return n["layer"](*(n[each] for each in inputs), **{each: n[each] for each in masks})

    return by_torch_or_reference(names, run, torchs=torchs)


# ---- caches --------------------------------------------------------------------------------------


def draw_steps(d: Drawer) -> Call:
    """A causal encoder in parts, with a cache that is changed between them, against whole sequences."""
    (E, H), dtype = d.pick(_HEADS), d.pick(LAYER_DTYPES)
    B, T = d.pick(SMALL), d.pick((2, 3, 5, 8, 9, 17))
    window = d.pick((None, None, None, (2, 0), (0, 0), (9, -1)))
    own = {"causal": "True", "window": repr(window), "alibi": repr(d.chance(0.3))}
    if d.chance(0.4) and E // H >= 2:
        own["rotary"] = f"pyrnn.nn.RotaryEmbedding({E // H // 2 * 2})"
    said = ", ".join(f"{name}={value}" for name, value in own.items())
    made = f"pyrnn.nn.TransformerEncoderLayer, {E}, {H}, 16, 0.0, batch_first=True, {said}, dtype={dtype}"
    if d.chance(0.3):
        made = f"lambda: pyrnn.nn.TransformerEncoder({made.replace(', ', '(', 1)}), 2)"
    arguments = {
        "layer": Argument(f"seeded({d.seed()}, {made})"),
        "input": Argument(d.tensor((B, T, E), dtype, leaf=d.pick((0.0, 1.0)))),
        "steps": Argument(repr(_steps(d, B, T, truncates=window is None))),
    }
    return Call(
        "steps with a cache",
        dtype,
        arguments,
        "in_steps(layer, input, steps)",
        environment(d),
        exact=_whole,
        theirs=_whole,
        composed=True,
        roundings=16.0,
        results=("output",),
        kinks=True,
    )


def _steps(d: Drawer, B: int, T: int, *, truncates: bool) -> list[Any]:
    """Steps as `in_steps` takes them; a window forgets some, and then none are taken back."""
    steps: list[Any] = []
    kept = 0
    while T:
        steps.append(min(T, d.pick((1, 1, 1, 2, 5))))
        T, kept = T - steps[-1], kept + steps[-1]
        if d.chance(0.15):
            steps.append(("reorder", [d.below(B) for _ in range(B)]))
        if truncates and d.chance(0.15):
            kept = d.below(kept + 1)
            steps.append(("truncate", kept))
    return steps


def _whole(names: Names) -> Any:
    """Every step on all tokens before it once more."""

    def run(n: Names) -> Any:
        input, outputs, at = n["input"], [], 0
        past = input[:, :0]
        for step in n["steps"]:
            if isinstance(step, int):
                past = torch.cat((past, input[:, at : at + step]), 1)
                outputs.append(n["layer"](past)[:, past.shape[1] - step :])
                at += step
            elif step[0] == "reorder":
                past = past[step[1]]
            else:
                past = past[:, : step[1]]
        return torch.cat(outputs, 1)

    return by_reference(names, run)
