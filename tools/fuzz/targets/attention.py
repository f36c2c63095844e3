"""Calls of `pyrnn.ops.scaled_dot_product_attention`."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from torch import Tensor

from tests.attention.checking import of_reference, of_torch, sizes_of_terms
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths

_OPTIONS = (
    *("dropout_p", "is_causal", "scale", "enable_gqa", "query_start", "window", "softcap", "return_weights"),
)
_TENSORS = ("query", "key", "value", "attn_mask", "key_padding_mask", "lengths", "alibi_slopes")
_FEATURES = (1, 1, 2, 3, 4, 5, 7, 8, 8, 9, 16, 16, 17, 32, 33, 40, 64, 65, 80, 128)
_LONG = (15, 17, 31, 33, 63, 64, 65, 66, 127, 129, 200)
#: Of a mask in exact arithmetic: the scores are whole, and a sum is rounded as the kernels round it.
_HUGE = (-1e3, -1e4, -1e9, -1e30, 1e4, 1e9, 1e30, "min")


def draw(d: Drawer) -> Call:
    dtype = d.pick(DTYPES)
    T, S = (d.pick((0, *SMALL, *SMALL, *SMALL, d.pick(_LONG))) for _ in range(2))
    if d.chance(0.004):
        T, S = d.pick(((3, 20000), (1, 4000), (500, 40), (70, 3000)))
    D, K, B = d.pick(_FEATURES), d.pick((1, 1, 2, 3)), d.pick((0, 1, 1, 2, 2, 3, 4))
    V = D if d.chance(0.6) else d.pick(_FEATURES)
    H = K * d.pick((1, 1, 1, 2, 3))
    while B * H * T * S * (D + V) > 400_000 and not d.chance(
        0.05
    ):  # the oracles take longer than the kernels
        T, S, B = (T + 1) // 2, (S + 1) // 2, (B + 1) // 2
    lead = d.pick(((B,), (B,), (B,), (B, 1), (2, B), (1, B, 1), ()))
    lone = not lead and d.chance(0.5)  # the query has no heads
    H, K = (1, 1) if lone else (H, K)
    whole = 2 if d.chance(0.15) else 0
    wants = d.pick((0.0, 0.4, 1.0))

    def operand(rows: int, heads: int, features: int) -> Argument:
        front = tuple(1 if d.chance(0.1) else size for size in lead)
        shape = (rows, features) if lone else (*front, heads, rows, features)
        return Argument(d.tensor(shape, dtype, leaf=wants, whole=whole))

    arguments = {"query": operand(T, H, D), "key": operand(S, K, D), "value": operand(S, K, V)}
    lead = lead and _broadcast(arguments)
    H = 1 if lone else H
    arguments["attn_mask"] = Argument(_mask(d, lead, H, T, S, dtype, wants, exact=whole > 0))
    dropout_p = d.pick((0.0, 0.0, 0.0, 0.1, 0.5, 1.0))
    arguments["dropout_p"] = Argument(repr(dropout_p))
    arguments["is_causal"] = Argument(repr(d.chance(0.3)))
    arguments["scale"] = Argument(repr(0.5 if whole else d.pick((None, None, 0.3, 1.0, 2.0, -1.0, 0.0))))
    arguments["enable_gqa"] = Argument(repr(H != K or d.chance(0.2)))
    padding = d.chance(0.2)
    arguments["key_padding_mask"] = Argument(f"coins({d.seed()}, {(*lead, S)}, 0.3)" if padding else "None")
    lengths = f"integers({d.seed()}, {lead}, {d.pick((0, min(1, S)))}, {S})" if d.chance(0.25) else "None"
    arguments["lengths"] = Argument(lengths)
    arguments["query_start"] = Argument(repr(d.pick((0, 0, 0, S - T, 5, -2, 10**6))))
    windows = (None, None, None, (0, 0), (5, -1), (-1, 2), (70, 9), (1, 10**12), (-5, -5))
    arguments["window"] = Argument(repr(d.pick(windows)))
    slopes = d.pick(((), (), (), (H,), (*lead, H)))
    source = f"normal({d.seed()}, {slopes}).abs() * 0.1" if slopes and not whole else "None"
    arguments["alibi_slopes"] = Argument(source)
    arguments["softcap"] = Argument(repr(0.0 if whole else d.pick((0.0, 0.0, 0.0, 2.0, 30.0))))
    arguments["return_weights"] = Argument(repr(d.pick((None, None, "mean", "full"))))
    given = dropout_p > 0 and d.chance(0.7)
    arguments["seed"] = Argument(f"torch.tensor({d.below(2**40)})" if given else "None")
    call = Call(
        "attention",
        dtype,
        arguments,
        f"ops.scaled_dot_product_attention({listed(arguments)})",
        environment(d, autocast=dtype == "torch.float32"),
        exact=functools.partial(_exact, rounds=dtype != "torch.float64"),
        theirs=_theirs,
        another=functools.partial(_exact, rounds=False),
        sizes=_sizes,
        results=("output", "weights"),
        drops=dropout_p > 0,
        roundings=8.0 if whole else 4.0,  # torch's error may be 0 on whole numbers
        autocasts=("query", "key", "value", "attn_mask"),
    )
    kind = d.random.random()
    if kind < 0.35:
        return made_odd(
            d,
            call,
            (*_TENSORS, "query", "key", "value", "lengths", *(("seed",) if dropout_p else ())),
            (*_OPTIONS, "window"),
            _special(lead, H, S),
            shrink=True,
        )
    if kind < 0.5 and not whole:
        call = made_extreme(d, call, ("query", "key", "value", "attn_mask"))
        # An infinite value spoils its own feature alone, and a score of -inf hides its key; the reference
        # spoils the whole row.
        infinite = any("torch.inf" in call.arguments[name].given for name in ("query", "key"))
        told = not infinite and "injected" not in call.arguments["value"].given
        return call.changed(forgets=call.forgets or not told)
    return call


def _special(lead: tuple[int, ...], heads: int, S: int) -> Any:
    def special(d: Drawer, name: str) -> Argument | None:
        if name == "lengths" and len(lead) == 1:
            return odd_lengths(d, lead[0], S)
        if name == "alibi_slopes" and d.chance(0.5):
            slopes = f"normal({d.seed()}, ({heads},)).abs()"
            return Argument(f"leaf({slopes})", slopes)
        if name == "window":
            numbers = (
                "sys.maxsize",
                "-sys.maxsize - 1",
                "2**63",
                "2**62",
                "-1",
                "0",
                "3",
                "None",
                "1.5",
                "'a'",
            )
            return Argument(f"({d.pick(numbers)}, {d.pick(numbers)})")
        return None

    return special


def _broadcast(arguments: dict[str, Argument]) -> tuple[int, ...]:
    """The leading dimensions of the operands together."""
    shapes = [_shape(argument.given)[:-3] for argument in arguments.values()]
    return tuple(torch.broadcast_shapes(*shapes))


def _shape(source: str) -> tuple[int, ...]:
    """The shape that stands in the source of a tensor."""
    numbers = source[source.index(", (") + 3 :].split(")")[0]
    return tuple(int(number) for number in numbers.split(",") if number.strip())


def _mask(
    d: Drawer, lead: tuple[int, ...], H: int, T: int, S: int, dtype: str, wants: float, *, exact: bool
) -> str:
    """A mask of any kind, broadcast in any way; `exact`: of numbers far below or above all scores."""
    if d.chance(0.1 if exact else 0.5):
        return "None"
    full = (*lead, H, T, S)
    shape = tuple(1 if d.chance(0.25) else size for size in full)[d.below(3) :]
    shape = shape[max(0, len(shape) - len(full)) :]
    if exact:
        value = d.pick(_HUGE)
        number = f"torch.finfo({dtype}).min" if value == "min" else repr(value)
        zeros = f"torch.zeros({shape}, dtype={dtype})"
        where = f"coins({d.seed()}, {shape}, {d.pick((0.3, 0.8, 1.0))})"
        source = f"{zeros}.masked_fill({where}, {number})"
        if d.chance(0.3):
            source = f"({source}).masked_fill(coins({d.seed()}, {shape}, 0.2), -torch.inf)"
        return f"leaf({source})" if d.chance(wants) else source
    kind = d.pick(("bool", "bool", "float", "float", "holes"))
    if kind == "bool":
        return d.laid_out(f"coins({d.seed()}, {shape}, {d.pick((0.1, 0.7, 0.7))})", shape)
    source = d.tensor(shape, dtype)
    if kind == "holes":
        source = f"({source}).masked_fill(coins({d.seed()}, {shape}, 0.3), -torch.inf)"
    return f"leaf({source})" if d.chance(wants) else source


# ---- oracles -------------------------------------------------------------------------------------


def _flat(
    names: Names, *, rounds: bool = False
) -> tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any], tuple[int, ...], bool]:
    """Operands and options as the oracles take them: with one leading dimension, and that of the call."""
    options = {name: names[name] for name in names if name not in ("query", "key", "value")}
    operands = [names[name] for name in ("query", "key", "value")]
    lone = operands[0].dim() == 2
    operands = [t[None] if lone else t for t in operands]
    lead = torch.broadcast_shapes(*(t.shape[:-3] for t in operands))
    H, T, S = operands[0].shape[-3], operands[0].shape[-2], operands[1].shape[-2]
    B = math.prod(lead)
    flat = [t.expand(*lead, *t.shape[-3:]).reshape(B, *t.shape[-3:]) for t in operands]
    mask, padding, lengths, slopes = (
        options[name] for name in ("attn_mask", "key_padding_mask", "lengths", "alibi_slopes")
    )
    if mask is not None:
        options["attn_mask"] = mask.expand(*lead, H, T, S).reshape(B, H, T, S)
        if rounds and mask.dtype is torch.float64 and not options["softcap"]:
            options["attn_mask"] = _rounded(flat[0], flat[1], options)
    if padding is not None:
        options["key_padding_mask"] = padding.expand(*lead, S).reshape(B, S)
    if lengths is not None:
        options["lengths"] = torch.as_tensor(lengths).expand(lead).reshape(B)
    if slopes is not None:
        options["alibi_slopes"] = slopes.expand(*lead, H).reshape(B, H)
    options["query_start"] = _within(options["query_start"])
    if options["window"] is not None:
        options["window"] = tuple(map(_within, options["window"]))
    if options["dropout_p"] and options["seed"] is None:
        options["seed"] = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    return (flat[0], flat[1], flat[2]), options, lead, lone


def _within(number: Any) -> Any:
    """A place that is as far off, with room to add to it in 64 bits."""
    return max(min(int(number), 2**60), -(2**60))


def _rounded(query: Tensor, key: Tensor, options: dict[str, Any]) -> Tensor:
    """The mask in float64 such that score + mask is what the kernels' rounding of it gives, in float32.

    Only far from the scores does the rounding matter: to a sum of 1e9 and a score their difference is lost,
    and equal weights are right where exact sums would give different ones.
    """
    mask: Tensor = options["attn_mask"]
    with torch.no_grad():
        far = mask.isfinite() & (mask.abs() > 2.0**12)
        if not far.any():
            return mask
        scale = query.shape[-1] ** -0.5 if options["scale"] is None else options["scale"]
        scores = query @ key.repeat_interleave(query.shape[1] // key.shape[1], 1).mT * scale
        lost = (scores.float() + mask.float()).double() - scores - mask
        lost = torch.where(far & lost.isfinite(), lost, 0.0)
    return mask + lost


def _shaped(results: tuple[Tensor, ...], names: Names, lead: tuple[int, ...], lone: bool) -> list[Tensor]:
    shaped = [t.reshape(*lead, *t.shape[1:]) for t in results]
    if lone:
        shaped[0] = shaped[0].squeeze(-3)
        if names["return_weights"] == "full":
            shaped[1] = shaped[1].squeeze(-3)
    return shaped


def _exact(names: Names, *, rounds: bool) -> list[Tensor]:
    operands, options, lead, lone = _flat(names, rounds=rounds)
    return _shaped(of_reference(*operands, **options), names, lead, lone)


def _theirs(names: Names) -> list[Tensor]:
    operands, options, lead, lone = _flat(names)
    if not all(t.numel() for t in operands):
        return _shaped(of_reference(*operands, **options), names, lead, lone)
    return _shaped(of_torch(*operands, **options), names, lead, lone)


def _sizes(names: Names) -> dict[str, float]:
    (query, key, value), options, _, _ = _flat(names)
    if not (query.numel() and key.numel() and value.numel()):
        return {}
    sizes = sizes_of_terms((query, key, value), options)
    return {**sizes, "d_attn_mask": sizes["d_mask"]}
