"""Calls of the encodings and rotations of `pyrnn.nn.positions`, and of `pyrnn.ops.rotary_embedding`."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd

_STARTS = (0, 0, 1, 5, 1000)


def draw(d: Drawer) -> Call:
    return d.pick((_rotary, _sinusoidal, _learned, _table, _slopes))(d)


def _call(
    d: Drawer, target: str, dtype: str, arguments: dict[str, Argument], expression: str, oracle: Any
) -> Call:
    return Call(
        target, dtype, arguments, expression, environment(d), exact=oracle, theirs=oracle, results=("output",)
    )


def _rotary(d: Drawer) -> Call:
    dtype, dim = d.pick(DTYPES), 2 * d.pick((1, 2, 3, 8))
    shape = (*(d.pick((0, *SMALL)) for _ in range(1 + d.below(3))), dim + d.pick((0, 0, 1, 4)))
    arguments = {
        "rotary": Argument(f"pyrnn.nn.RotaryEmbedding({dim})"),
        "input": Argument(d.tensor(shape, dtype, leaf=0.5)),
        "start": Argument(repr(d.pick(_STARTS))),
        "sequence_dim": Argument(repr(d.below(len(shape) - 1) - d.pick((0, len(shape))))),
    }
    expression = "rotary(input, start, sequence_dim=sequence_dim)"
    call = _call(d, "rotary", dtype, arguments, expression, _turned)
    return made_odd(d, call, ("input",), ("start", "sequence_dim")) if d.chance(0.35) else call


def draw_rotary(d: Drawer) -> Call:
    """The operator itself, on a table of no angles."""
    dtype, pairs = d.pick(DTYPES), d.pick((0, *SMALL))
    shape = (*(d.pick((0, *SMALL, 17)) for _ in range(1 + d.below(4))), 2 * pairs + d.pick((0, 0, 1, 4, 33)))
    sequence_dim = d.below(len(shape) - 1) - len(shape)
    table = "torch.float64" if dtype == "torch.float64" else "torch.float32"
    arguments = {
        "input": Argument(d.tensor(shape, dtype, leaf=d.pick((0.0, 0.5, 1.0)))),
        "table": Argument(d.tensor((shape[sequence_dim], pairs, 2), table)),
        "sequence_dim": Argument(repr(sequence_dim + d.pick((0, len(shape))))),
    }
    expression = f"ops.rotary_embedding({listed(arguments)})"
    call = _call(d, "rotary_embedding", dtype, arguments, expression, _turned_by_table)
    if d.chance(0.35):
        return made_odd(d, call, ("input", "table"), ("sequence_dim",))
    return made_extreme(d, call, ("input", "table")) if d.chance(0.2) else call


def _turned_by_table(names: Names) -> Tensor:
    x, table = names["input"], names["table"]
    behind = x.dim() - 2 - int(names["sequence_dim"]) % x.dim()
    cos, sin = table.view(table.shape[0], *(1,) * behind, *table.shape[1:]).unbind(-1)
    return _turned_pairs(x, cos, sin)


def _turned_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    dim, wide = 2 * cos.shape[-1], x.to(torch.promote_types(x.dtype, cos.dtype))
    a, b = wide[..., 0:dim:2], wide[..., 1:dim:2]
    turned = torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)
    return torch.cat((turned, wide[..., dim:]), -1).to(x.dtype)


def _turned(names: Names) -> Tensor:
    x, dim, at = names["input"], names["rotary"].dim, names["sequence_dim"] % names["input"].dim()
    angles = _angles(names["start"], x.shape[at], dim // 2, dim)
    angles = angles.view(x.shape[at], *(1,) * (x.dim() - 2 - at), dim // 2)
    dtype = torch.promote_types(x.dtype, torch.float32)
    return _turned_pairs(x, angles.cos().to(dtype), angles.sin().to(dtype))


def _angles(start: int, count: int, pairs: int, dim: int) -> Tensor:
    start, count, dim = int(start), int(count), int(dim)  # a tensor counts in its own dtype
    places = torch.arange(start, start + count, dtype=torch.float64)[:, None]
    return places * 10000.0 ** (torch.arange(pairs, dtype=torch.float64) * (-2 / dim))


def _embeddings(d: Drawer, dtype: str, E: int) -> tuple[str, bool]:
    shape = (*(d.pick((0, *SMALL)) for _ in range(1 + d.below(2))), E)
    return d.tensor(shape, dtype, leaf=0.5), d.chance(0.5)


def _sinusoidal(d: Drawer) -> Call:
    dtype, E = d.pick(DTYPES), d.pick((1, 2, 3, 8))
    source, batch_first = _embeddings(d, dtype, E)
    arguments = {
        "encoding": Argument(
            f"seeded(1, pyrnn.nn.SinusoidalPositionalEncoding, {E}, batch_first={batch_first})"
        ),
        "input": Argument(source),
        "start": Argument(repr(d.pick(_STARTS))),
    }
    call = _call(d, "sinusoidal", dtype, arguments, "encoding(input, start)", _added)
    return made_odd(d, call, ("input",), ("start",)) if d.chance(0.35) else call


def _sinusoids(start: int, count: int, E: int) -> Tensor:
    E = int(E)
    angles = _angles(start, count, (E + 1) // 2, E)
    return torch.stack((angles.sin(), angles.cos()), -1).flatten(-2)[:, :E]


def _learned(d: Drawer) -> Call:
    dtype, E = d.pick(DTYPES), d.pick((1, 2, 3, 8))
    source, batch_first = _embeddings(d, dtype, E)
    made = f"pyrnn.nn.LearnedPositionalEncoding, 20, {E}, batch_first={batch_first}, dtype={dtype}"
    arguments = {
        "encoding": Argument(f"seeded({d.seed()}, {made})"),
        "input": Argument(source),
        "start": Argument(repr(d.pick((0, 1, 11)))),
    }
    call = _call(d, "learned positions", dtype, arguments, "encoding(input, start)", _added)
    return made_odd(d, call, ("input",), ("start",)) if d.chance(0.35) else call


def _added(names: Names) -> Tensor:
    encoding, x, start = names["encoding"], names["input"], names["start"]
    along = 1 if encoding.batch_first and x.dim() == 3 else 0
    if hasattr(encoding, "weight"):
        rows = encoding.weight[start : start + x.shape[along]]
    else:
        rows = _sinusoids(start, x.shape[along], encoding.embed_dim).to(x.dtype)
    return x + (rows[:, None] if x.dim() == 3 and along == 0 else rows)


def _table(d: Drawer) -> Call:
    arguments = {
        "num_positions": Argument(repr(d.pick((0, *SMALL)))),
        "embed_dim": Argument(repr(d.pick(SMALL))),
        "start": Argument(repr(d.pick(_STARTS))),
    }
    expression = "pyrnn.nn.sinusoidal_positions(num_positions, embed_dim, start=start)"
    call = _call(d, "sinusoidal_positions", "torch.float32", arguments, expression, _rows)
    odd = d.chance(0.5)
    return made_odd(d, call, ("start",), ("num_positions", "embed_dim", "start"), _number) if odd else call


def _number(d: Drawer, _: str) -> Argument:
    return Argument(d.odd_number())


def _rows(names: Names) -> Tensor:
    return _sinusoids(names["start"], names["num_positions"], names["embed_dim"])


def _slopes(d: Drawer) -> Call:
    arguments = {"num_heads": Argument(repr(d.pick(SMALL)))}
    call = _call(d, "alibi_slopes", "torch.float32", arguments, "pyrnn.nn.alibi_slopes(num_heads)", _alibi)
    return made_odd(d, call, ("num_heads",), ("num_heads",), _number) if d.chance(0.5) else call


def _alibi(names: Names) -> Tensor:
    """As the authors wrote it, for any number of heads."""

    def of_power(count: int) -> list[float]:
        first = 2.0 ** (-(2.0 ** -(math.log2(count) - 3)))
        return [first ** (h + 1) for h in range(count)]

    count = names["num_heads"]
    below = 2 ** math.floor(math.log2(count))
    slopes = of_power(below) + of_power(2 * below)[0::2][: count - below]
    return torch.tensor(slopes, dtype=torch.float64).float()
