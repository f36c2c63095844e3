"""What is called: a function for each operator and layer that draws one call of it."""

from __future__ import annotations

from collections.abc import Callable

from tools.fuzz.calls import Call
from tools.fuzz.drawing import Drawer
from tools.fuzz.targets import (
    attention,
    crf,
    decoder,
    layers,
    losses,
    pointwise,
    positions,
    recurrent,
    transformers,
)

#: How often each is called, relative to the others.
_TARGETS: dict[str, tuple[Callable[[Drawer], Call], int]] = {
    "recurrent": (recurrent.draw, 6),
    "attention": (attention.draw, 8),
    "decoder": (decoder.draw, 4),
    "crf": (crf.draw, 3),
    "dropout": (pointwise.draw_dropout, 3),
    "residual_layer_norm": (pointwise.draw_residual_layer_norm, 3),
    "linear": (pointwise.draw_linear, 3),
    "linear_cross_entropy": (pointwise.draw_linear_cross_entropy, 3),
    "losses": (losses.draw, 3),
    "layers": (layers.draw, 3),
    "cells": (layers.draw_cell, 4),
    "multihead": (transformers.draw_attention, 3),
    "transformers": (transformers.draw_transformer, 1),
    "steps": (transformers.draw_steps, 1),
    "positions": (positions.draw, 1),
    "rotary_embedding": (positions.draw_rotary, 2),
}
TARGETS = tuple(_TARGETS)


def target_of(seed: str, index: int, among: tuple[str, ...] = TARGETS) -> str:
    """Which target call number `index` has."""
    weights = [_TARGETS[name][1] for name in among]
    return Drawer(f"{seed} {index}").random.choices(among, weights)[0]


def draw(seed: str, index: int, target: str) -> Call:
    """Call number `index` of `target`, a function of these three alone."""
    return _TARGETS[target][0](Drawer(f"{seed} {index} {target}"))
