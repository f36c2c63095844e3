"""Calls of `pyrnn.ops.dropout`, `residual_layer_norm`, `linear` and `linear_cross_entropy`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrnn.reference.dropout import ACTIVATIONS
from pyrnn.reference.dropout import dropout as reference_dropout
from pyrnn.reference.residual_layer_norm import residual_layer_norm as reference_norm
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, WIDE, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd

_ACTIVATIONS = (None, None, "relu", "gelu", "gelu_tanh")


def draw_dropout(d: Drawer) -> Call:
    dtype, wants = d.pick(DTYPES), d.pick((0.0, 0.5, 1.0))
    shape = tuple(d.pick((0, *SMALL, 17, 33)) for _ in range(d.below(5)))
    if d.chance(0.02):
        shape = (d.pick((2**14 - 1, 2**14 + 33, 3 * 2**14 + 1)),)
    p, activation = d.pick((0.0, 0.1, 0.5, 0.9, 1.0, 1e-9)), d.pick(_ACTIVATIONS)
    residual = Argument(d.tensor(shape, dtype, leaf=wants)) if d.chance(0.5) else Argument("None")
    arguments = {
        "input": Argument(d.tensor(shape, dtype, leaf=wants)),
        "p": Argument(repr(p)),
        "training": Argument(repr(d.chance(0.8))),
        "residual": residual,
        "activation": Argument(repr(activation)),
        "seed": Argument(f"torch.tensor({d.below(2**50) - 2**49})" if d.chance(0.6) else "None"),
    }
    call = Call(
        "dropout",
        dtype,
        arguments,
        f"ops.dropout({listed(arguments)})",
        environment(d),
        exact=_dropout,
        theirs=_dropout,
        results=("output",),
        drops=p > 0,
        kinks=activation == "relu",
    )
    kind = d.random.random()
    if kind < 0.35:
        return made_odd(
            d,
            call,
            ("input", "residual", "seed"),
            ("p", "training", "activation"),
            shrink=activation is not None,
        )
    return made_extreme(d, call, ("input", "residual")) if kind < 0.5 else call


def _drawn(names: Names) -> tuple[float, Tensor | None]:
    """The probability of a call, and its seed."""
    p, seed = float(names["p"]) if names["training"] else 0.0, names["seed"]
    if p > 0 and seed is None:
        seed = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    return p, seed


def _dropout(names: Names) -> Tensor:
    p, seed = _drawn(names)
    residual, input = names["residual"], names["input"]
    input = input if residual is None else input.to(torch.promote_types(input.dtype, residual.dtype))
    return reference_dropout(input, residual, seed, p, names["activation"] or "none")


def draw_residual_layer_norm(d: Drawer) -> Call:
    dtype, wants = d.pick(DTYPES), d.pick((0.0, 0.5, 1.0))
    E = d.pick((0, *WIDE)) if d.chance(0.98) else d.pick((1025, 4099))
    shape = (*(d.pick((0, *SMALL, 17, 33)) for _ in range(d.below(4))), E)
    p = d.pick((0.0, 0.1, 0.5, 1.0))
    arguments = {
        "input": Argument(d.tensor(shape, dtype, leaf=wants)),
        "residual": Argument(d.tensor(shape, dtype, leaf=wants)),
        "weight": Argument(d.tensor((E,), dtype, leaf=wants)) if d.chance(0.7) else Argument("None"),
        "bias": Argument(d.tensor((E,), dtype, leaf=wants)) if d.chance(0.7) else Argument("None"),
        "eps": Argument(repr(d.pick((1e-5, 1e-5, 0.1, 1e-12)))),
        "p": Argument(repr(p)),
        "training": Argument(repr(d.chance(0.8))),
        "seed": Argument(f"torch.tensor({d.below(2**50) - 2**49})" if d.chance(0.6) else "None"),
    }
    call = Call(
        "residual_layer_norm",
        dtype,
        arguments,
        f"ops.residual_layer_norm({listed(arguments)})",
        environment(d),
        exact=_exact_norm,
        theirs=_residual_layer_norm,
        results=("normed", "summed"),
        drops=p > 0,
    )
    kind, tensors = d.random.random(), ("input", "residual", "weight", "bias")
    if kind < 0.35:
        return made_odd(d, call, (*tensors, "seed"), ("eps", "p", "training"))
    return made_extreme(d, call, tensors) if kind < 0.5 else call


def _residual_layer_norm(names: Names) -> tuple[Tensor, Tensor]:
    p, seed = _drawn(names)
    input, residual, weight, bias = (names[name] for name in ("input", "residual", "weight", "bias"))
    return reference_norm(input, residual, weight, bias, seed, float(names["eps"]), p)


def _exact_norm(names: Names) -> tuple[Tensor, Tensor]:
    """By deviations: torch's own derivative, of rows of one or two features, is far from exact in float64."""
    summed = _residual_layer_norm(names)[1]
    deviation = summed - summed.mean(-1, keepdim=True)
    normed = deviation * (deviation.square().mean(-1, keepdim=True) + float(names["eps"])).rsqrt()
    weight, bias = names["weight"], names["bias"]
    normed = normed if weight is None else normed * weight
    return normed if bias is None else normed + bias, summed


def draw_linear(d: Drawer) -> Call:
    dtype, wants = d.pick(DTYPES), d.pick((0.0, 0.5, 1.0))
    I, O = d.pick((0, *WIDE)), d.pick((0, *WIDE))  # noqa: E741
    shape = (*(d.pick((0, *SMALL, 17)) for _ in range(d.below(4))), I)
    if d.chance(0.004):
        I, O, shape = 256, 513, (300, 256)  # noqa: E741  where another library may multiply
    activation = d.pick(_ACTIVATIONS)
    bias = Argument(d.tensor((O,), dtype, leaf=wants)) if d.chance(0.7) else Argument("None")
    arguments = {
        "input": Argument(d.tensor(shape, dtype, leaf=wants)),
        "weight": Argument(d.tensor((O, I), dtype, max(I, 1) ** -0.5, leaf=wants)),
        "bias": bias,
        "activation": Argument(repr(activation)),
    }
    call = Call(
        "linear",
        dtype,
        arguments,
        f"ops.linear({listed(arguments)})",
        environment(d, autocast=dtype == "torch.float32"),
        exact=_linear,
        theirs=_linear,
        results=("output",),
        kinks=activation == "relu",
        autocasts=("input", "weight", "bias"),
    )
    kind = d.random.random()
    if kind < 0.35:
        return made_odd(d, call, ("input", "weight", "bias"), ("activation",))
    return made_extreme(d, call, ("input", "weight", "bias")) if kind < 0.5 else call


def _linear(names: Names) -> Any:
    return ACTIVATIONS[names["activation"] or "none"](
        F.linear(names["input"], names["weight"], names["bias"])
    )


def draw_linear_cross_entropy(d: Drawer) -> Call:
    dtype, wants = d.pick(DTYPES), d.pick((0.0, 0.5, 1.0))
    H, V = d.pick((0, *WIDE)), d.pick((1, 2, 3, 17, 65))
    shape = tuple(d.pick((0, *SMALL, 17)) for _ in range(d.below(4)))
    targets = f"integers({d.seed()}, {shape}, 0, {V - 1})"
    ignored = d.pick((-100, -100, V - 1))
    if d.chance(0.4):
        targets = f"{targets}.masked_fill(coins({d.seed()}, {shape}, 0.3), {ignored})"
    weights = d.pick(("None", "None", f"normal({d.seed()}, {shape}).abs() + 0.1"))
    arguments = {
        "input": Argument(d.tensor((*shape, H), dtype, leaf=wants)),
        "weight": Argument(d.tensor((V, H), dtype, max(H, 1) ** -0.5, leaf=wants)),
        "targets": Argument(targets),
        "bias": Argument(d.tensor((V,), dtype, leaf=wants)) if d.chance(0.7) else Argument("None"),
        "weights": Argument(weights),
        "ignore_index": Argument(repr(ignored)),
        "reduction": Argument(repr(d.pick(("mean", "sum")))),
        "label_smoothing": Argument(repr(d.pick((0.0, 0.0, 0.1, 1.0)))),
    }
    call = Call(
        "linear_cross_entropy",
        dtype,
        arguments,
        f"ops.linear_cross_entropy({listed(arguments)})",
        environment(d, autocast=dtype == "torch.float32"),
        exact=_linear_cross_entropy,
        theirs=_linear_cross_entropy,
        results=("loss",),
        composed=True,  # of rows of weights that are alike the gradients cancel
        autocasts=("input", "weight", "bias"),
    )
    kind, tensors = d.random.random(), ("input", "weight", "bias")
    if kind < 0.35:
        options = ("ignore_index", "reduction", "label_smoothing")
        return made_odd(d, call, (*tensors, "targets", "weights"), options)
    return made_extreme(d, call, tensors) if kind < 0.5 else call


def _linear_cross_entropy(names: Names) -> Tensor:
    """Rows that do not count are taken out first."""
    x, targets, weights = names["input"], names["targets"].flatten(), names["weights"]
    alive = targets != names["ignore_index"]
    rows = x.reshape(len(targets), x.shape[-1])[alive]
    logits = F.linear(rows, names["weight"], names["bias"])
    logits = logits if logits.dtype is torch.float64 else logits.float()
    losses = F.cross_entropy(
        logits,
        targets[alive],
        reduction="none",
        ignore_index=-(10**6),
        label_smoothing=names["label_smoothing"],
    )
    shares = torch.ones_like(losses) if weights is None else weights.flatten()[alive].to(losses.dtype)
    total = (losses * shares).sum()
    return total if names["reduction"] == "sum" or not len(rows) else total / shares.sum()
