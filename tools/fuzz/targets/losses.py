"""Calls of `pyrnn.losses`."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrnn.losses import IGNORE
from tools.fuzz.calls import Argument, Call, Names
from tools.fuzz.drawing import DTYPES, SMALL, Drawer, listed
from tools.fuzz.targets._common import environment, made_extreme, made_odd, odd_lengths


def draw(d: Drawer) -> Call:
    return d.pick((_sequence_loss, _cross_entropy, _cross_entropy, _last_step))(d)


def _common(d: Drawer, T: int, B: int, dtype: str) -> dict[str, Argument]:
    shape = d.pick(((T,), (T, 1), (T, B)))
    weights = d.pick(
        (
            "None",
            "None",
            f"normal({d.seed()}, {shape}).abs()",
            f"coins({d.seed()}, {shape}, 0.7)",
            f"leaf(normal({d.seed()}, {shape}, {dtype}).abs() + 0.1)",
        )
    )
    lengths = d.pick(("None", "None", f"integers({d.seed()}, ({B},), 0, {T})"))
    lengths = f"({lengths}).tolist()" if lengths != "None" and d.chance(0.3) else lengths
    return {
        "weights": Argument(weights),
        "lengths": Argument(lengths),
        "reduction": Argument(repr(d.pick(("mean", "sum", "none")))),
    }


def _finished(
    d: Drawer, call: Call, floats: tuple[str, ...], options: tuple[str, ...], T: int, B: int
) -> Call:
    kind = d.random.random()
    if kind < 0.35:
        tensors = tuple(name for name in call.arguments if name not in options)

        def special(d: Drawer, name: str) -> Argument | None:
            return odd_lengths(d, B, T) if name == "lengths" else None

        return made_odd(d, call, tensors, options, special)
    return made_extreme(d, call, floats) if kind < 0.5 else call


def _sequence_loss(d: Drawer) -> Call:
    T, B, dtype = d.pick((0, *SMALL)), d.pick((0, *SMALL)), d.pick(DTYPES)
    arguments = {"divergence": Argument(d.tensor((T, B), dtype, leaf=0.7)), **_common(d, T, B, dtype)}
    call = Call(
        "sequence_loss",
        dtype,
        arguments,
        f"losses.sequence_loss({listed(arguments)})",
        environment(d),
        exact=_loss,
        theirs=_loss,
        sizes=_loss_sizes,
        results=("loss",),
    )
    return _finished(d, call.changed(odd=True), ("divergence",), ("reduction",), T, B)


def _cross_entropy(d: Drawer) -> Call:
    T, B, V, dtype = d.pick((0, *SMALL)), d.pick((0, *SMALL)), d.pick((1, 2, 3, 17, 65)), d.pick(DTYPES)
    targets = f"integers({d.seed()}, ({T}, {B}), 0, {V - 1})"
    if d.chance(0.4):
        targets = f"{targets}.masked_fill(coins({d.seed()}, ({T}, {B}), 0.3), losses.IGNORE)"
    arguments = {
        "logits": Argument(d.tensor((T, B, V), dtype, leaf=0.7)),
        "targets": Argument(targets),
        **_common(d, T, B, dtype),
        "label_smoothing": Argument(repr(d.pick((0.0, 0.0, 0.1, 1.0)))),
    }
    call = Call(
        "cross_entropy",
        dtype,
        arguments,
        f"losses.sequence_cross_entropy({listed(arguments)})",
        environment(d),
        exact=_entropy,
        theirs=_entropy,
        sizes=_entropy_sizes,
        results=("loss",),
    )
    return _finished(d, call.changed(odd=True), ("logits",), ("reduction", "label_smoothing"), T, B)


def _last_step(d: Drawer) -> Call:
    T, B = d.pick(SMALL), d.pick((0, *SMALL))
    lengths = d.pick(("None", f"integers({d.seed()}, ({B},), 0, {T})"))
    arguments = {
        "T": Argument(repr(T)),
        "lengths": Argument(lengths),
        "batch": Argument(d.pick(("None", repr(B)))),
    }
    call = Call(
        "last_step_weights",
        "torch.float32",
        arguments,
        f"losses.last_step_weights({listed(arguments)})",
        environment(d),
        exact=_ends,
        theirs=_ends,
        results=("weights",),
    )
    if d.chance(0.5):
        return call

    def special(d: Drawer, name: str) -> Argument | None:
        return odd_lengths(d, B, T) if name == "lengths" else None

    return made_odd(d, call, ("lengths",), ("T", "batch"), special)


# ---- oracles: the written sums -------------------------------------------------------------------


def _terms(names: Names, divergence: Tensor, masked: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Terms [T, B] and their weights, zeros where masked."""
    T, B = divergence.shape
    alive, shares = torch.ones(T, B, dtype=torch.bool), torch.ones(T, B, dtype=divergence.dtype)
    weights, lengths = names["weights"], names["lengths"]
    if weights is not None:
        weights = weights.view(T, -1).expand(T, B) if T and B else weights.new_ones(T, B)
        alive = alive & (weights != 0)
        shares = weights.to(divergence.dtype)
    if lengths is not None:
        alive = alive & (torch.arange(T)[:, None] < torch.as_tensor(lengths, dtype=torch.int64))
    if masked is not None:
        alive = alive & ~masked
    return torch.where(alive, divergence, 0.0), torch.where(alive, shares, 0.0)


def _reduced(names: Names, terms: Tensor, shares: Tensor) -> Tensor:
    products = terms * shares
    if names["reduction"] == "none":
        return products
    return products.sum() / shares.sum() if names["reduction"] == "mean" else products.sum()


def _loss(names: Names) -> Tensor:
    return _reduced(names, *_terms(names, names["divergence"]))


def _entropy(names: Names) -> Tensor:
    """Masked logits are left out before the softmax: its derivative makes NaN of any there."""
    logits, targets = names["logits"], names["targets"]
    _, shares = _terms(names, torch.zeros(targets.shape, dtype=logits.dtype), targets == IGNORE)
    alive = shares != 0
    logits = torch.where(alive[..., None], logits, 0.0)
    flat = torch.where(alive, targets, 0).flatten()
    divergence = F.cross_entropy(
        logits.flatten(0, 1), flat, reduction="none", label_smoothing=names["label_smoothing"]
    )
    return _reduced(names, *_terms(names, divergence.view_as(targets), targets == IGNORE))


def _loss_sizes(names: Names) -> dict[str, float]:
    size = _size(names["divergence"], names)
    return {"loss": size, "d_weights": size}


def _entropy_sizes(names: Names) -> dict[str, float]:
    logits = names["logits"]
    return {"loss": 4 * _size(logits, names), "d_logits": 1.0, "d_weights": 4 * _size(logits, names)}


def _size(tensor: Tensor, names: Names) -> float:
    """As large as the sum of the terms may become; that of their number if they are averaged over few."""
    largest = tensor.detach().double().abs().max().item() if tensor.numel() else 0.0
    return (largest + 1) * (1 if names["reduction"] != "sum" else max(tensor.shape[0] * tensor.shape[1], 1))


def _ends(names: Names) -> Any:
    T, lengths, batch = names["T"], names["lengths"], names["batch"]
    ends = torch.full((batch or 1,), T) if lengths is None else torch.as_tensor(lengths)
    if lengths is None and batch == 0:
        ends = torch.zeros(0)
    return (torch.arange(1, T + 1)[:, None] == ends).to(torch.get_default_dtype())
