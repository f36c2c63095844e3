"""What stands between the token vectors and the softmax of a language model: the one place that chooses it.

It is called as `backbone(vectors [T, B, E], state, lengths=...)` and returns outputs [T, B, H] and a state. A
feed-forward network with direct connections returns more than H features.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import nn

import pyrnn.nn
from pyrnn.models._feedforward import FeedForward
from pyrnn.models._transformer import CausalTransformer
from pyrnn.models.configs import LanguageModelArchitecture, LanguageModelConfig

Backend = Literal["pyrnn", "torch"]

_CLASS_NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


def recurrent_class(cell: LanguageModelArchitecture, backend: Backend = "pyrnn") -> Callable[..., nn.Module]:
    """The layer class of a recurrent cell: this package's, or torch's of the same name and constructor.

    Example:
        >>> recurrent_class("gru"), recurrent_class("gru", "torch")
        (<class 'pyrnn.nn.recurrent.GRU'>, <class 'torch.nn.modules.rnn.GRU'>)
    """
    if backend not in ("pyrnn", "torch"):
        raise ValueError(f"backend must be 'pyrnn' or 'torch', got {backend!r}")
    if cell not in _CLASS_NAMES:
        raise ValueError(f"a recurrent cell is one of {', '.join(_CLASS_NAMES)}, got {cell!r}")
    return getattr(pyrnn.nn if backend == "pyrnn" else torch.nn, _CLASS_NAMES[cell])


def make_backbone(config: LanguageModelConfig, backend: Backend) -> tuple[str, nn.Module]:
    """The name under which a model keeps its backbone, and the backbone itself.

    Raises:
        ValueError: torch's layers cannot do what `config` asks for.
    """
    if config.architecture == "transformer":
        if backend != "pyrnn":
            raise ValueError("torch's transformer layers carry no state: use this package's")
        return "transformer", CausalTransformer(
            width=config.hidden_size,
            num_layers=config.num_layers,
            num_heads=config.num_heads,
            context=config.context,
            dropout=config.dropout,
        )
    if config.architecture == "feedforward":
        return "feedforward", FeedForward(
            config.vector_size,
            config.hidden_size,
            window=config.window,
            num_layers=config.num_layers,
            direct=config.direct_connections,
            dropout=config.dropout,
        )
    # torch warns about a single layer's dropout
    options: dict[str, object] = {"dropout": config.dropout if config.num_layers > 1 else 0.0}
    if config.locked_dropout:
        if backend == "torch":
            raise ValueError(
                "torch's layers have no locked dropout; use this package's, or locked_dropout=False"
            )
        options["locked_dropout"] = True
    features = config.vocabulary_size if config.input == "one-hot" else config.vector_size
    layers = recurrent_class(config.architecture, backend)(
        features, config.hidden_size, config.num_layers, **options
    )
    return "recurrent", layers


def state_shapes(config: LanguageModelConfig, batch_size: int, steps: int) -> list[tuple[int, ...]]:
    """Shapes of the state's tensors after `steps` tokens of each of `batch_size` sequences of one length.

    Example:
        >>> config = LanguageModelConfig(11, architecture="lstm", hidden_size=16, num_layers=2)
        >>> state_shapes(config, batch_size=4, steps=7)
        [(2, 4, 16), (2, 4, 16)]
    """
    if config.architecture == "transformer":
        heads, C = config.num_heads, min(config.context, steps)
        return [(1, batch_size, heads, C, config.hidden_size // heads)] * (2 * config.num_layers)
    if config.architecture == "feedforward":
        return [(config.window - 1, batch_size, config.vector_size)]
    return [(config.num_layers, batch_size, config.hidden_size)] * (2 if config.architecture == "lstm" else 1)
