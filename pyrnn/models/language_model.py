"""Recurrent language model: symbol vectors, stacked recurrent layers, softmax over the vocabulary.

Dimension key: T time, B batch, E embedding, H hidden, L layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import pyrnn.nn
from pyrnn.models.pretrained import Pretrained
from pyrnn.nn._base import drop_locked

Cell = Literal["rnn", "gru", "lstm"]
Backend = Literal["pyrnn", "torch"]
Input = Literal["embedding", "one-hot"]

#: h [L, B, H] of an RNN or GRU, (h, c) of an LSTM.
RecurrentState = Tensor | tuple[Tensor, Tensor]

_CLASS_NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}
_MOST_LAYERS = 1000


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of a `LanguageModel`.

    Args:
        vocabulary_size: V, symbols that the model knows.
        cell: "rnn" (tanh), "gru" or "lstm".
        input: "embedding" looks up a learned vector of each symbol; "one-hot" feeds the symbol's unit vector
            to the first layer, whose input weights then are [G*H, V].
        embedding_size: E, width of the symbol vectors; without effect for one-hot input.
        hidden_size: H, units of a recurrent layer.
        num_layers: L, recurrent layers stacked on one another.
        dropout: probability of zeroing an element between recurrent layers and before the softmax.
        input_dropout: probability of zeroing an element of the symbol vectors.
        locked_dropout: keep one dropout mask for all steps of a window instead of drawing one a step.
            Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
            networks", 2016.
        tied: use the embedding matrix as the softmax's weight; where E and H differ, a learned projection
            H -> E stands before it.
            Source: Press and Wolf, "Using the output embedding to improve language models", 2017.

    Raises:
        ValueError: a size below one, a dropout outside [0, 1), an unknown cell or input, or tied weights with
            one-hot input.
    """

    vocabulary_size: int
    cell: Cell = "lstm"
    input: Input = "embedding"
    embedding_size: int = 64
    hidden_size: int = 256
    num_layers: int = 2
    dropout: float = 0.2
    input_dropout: float = 0.0
    locked_dropout: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "embedding_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_layers > _MOST_LAYERS:
            raise ValueError(f"num_layers must be at most {_MOST_LAYERS}, got {self.num_layers}")
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.cell not in _CLASS_NAMES:
            raise ValueError(f"cell must be one of {', '.join(_CLASS_NAMES)}, got {self.cell!r}")
        if self.input not in ("embedding", "one-hot"):
            raise ValueError(f"input must be 'embedding' or 'one-hot', got {self.input!r}")
        if self.tied and self.input == "one-hot":
            raise ValueError(
                "tied weights need an embedding to tie to: set input to 'embedding' or tied to false"
            )


def recurrent_class(cell: Cell, backend: Backend = "pyrnn") -> Callable[..., nn.Module]:
    """The layer class of a cell: this package's, or torch's of the same name and constructor."""
    if backend not in ("pyrnn", "torch"):
        raise ValueError(f"backend must be 'pyrnn' or 'torch', got {backend!r}")
    return getattr(pyrnn.nn if backend == "pyrnn" else torch.nn, _CLASS_NAMES[cell])


def detach_state(state: RecurrentState) -> RecurrentState:
    """The same state without its history: where truncated BPTT cuts the graph."""
    return state.detach() if isinstance(state, Tensor) else (state[0].detach(), state[1].detach())


class LanguageModel(Pretrained):
    """Predicts the next symbol at every step of a sequence.

    p(x_{t+1} | x_1..x_t) = softmax(W h_t + b), where h_t is the last recurrent layer's output.
    Source: Mikolov et al., "Recurrent neural network based language model", 2010.

    Args:
        config: the sizes.
        backend: whose recurrent layers: this package's, or torch.nn's, which take no `lengths` and no locked
            dropout and are there to compare with.

    Raises:
        ValueError: locked dropout with torch's layers.

    Example:
        >>> model = LanguageModel(LanguageModelConfig(vocabulary_size=65))
        >>> logits, state = model(torch.zeros(64, 32, dtype=torch.int64))
        >>> logits.shape
        torch.Size([64, 32, 65])
    """

    model_type = "pyrnn-language-model"
    config_class = LanguageModelConfig
    config: LanguageModelConfig

    def __init__(self, config: LanguageModelConfig, *, backend: Backend = "pyrnn") -> None:
        super().__init__()
        self.config = config
        V, H, E = config.vocabulary_size, config.hidden_size, config.embedding_size
        one_hot = config.input == "one-hot"
        options = {
            "dropout": config.dropout if config.num_layers > 1 else 0.0
        }  # torch warns about a single layer's
        if config.locked_dropout:
            if backend == "torch":
                raise ValueError(
                    "torch's layers have no locked dropout; use this package's, or locked_dropout=False"
                )
            options["locked_dropout"] = True
        self.embedding = None if one_hot else nn.Embedding(V, E)
        self.recurrent = recurrent_class(config.cell, backend)(
            V if one_hot else E, H, config.num_layers, **options
        )
        self.bottleneck = nn.Linear(H, E, bias=False) if config.tied and H != E else None
        self.projection = nn.Linear(E if config.tied else H, V)
        if config.tied and self.embedding is not None:
            nn.init.normal_(self.embedding.weight, std=E**-0.5)  # N(0, 1) would saturate the softmax
            self.projection.weight = self.embedding.weight

    def forward(
        self, input: Tensor, state: RecurrentState | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, RecurrentState]:
        """Logits of the next symbol at every step.

        Args:
            input: [T, B] int64 ids in [0, V).
            state: what an earlier call returned, to continue from it; None starts from zeros.
            lengths: [B] int64 in [0, T]: symbols of each sequence; what stands beyond is not read.

        Returns:
            logits [T, B, V], and the state after each sequence's last symbol. Beyond a length the logits mean
            nothing.

        Raises:
            IndexError: an id outside [0, V).
        """
        vectors = self._drop(self._vectors(input), self.config.input_dropout)
        options = {} if lengths is None else {"lengths": lengths}
        output, new_state = self.recurrent(vectors, state, **options)
        if self.bottleneck is not None:
            output = self.bottleneck(output)
        return self.projection(self._drop(output, self.config.dropout)), new_state

    def _vectors(self, input: Tensor) -> Tensor:
        """[T, B, E], or [T, B, V] for one-hot input."""
        if self.embedding is not None:
            return self.embedding(input)
        return F.one_hot(input, self.config.vocabulary_size).to(self.projection.weight.dtype)

    def _drop(self, rows: Tensor, p: float) -> Tensor:
        if not (self.training and p):
            return rows
        return drop_locked(rows, p) if self.config.locked_dropout else F.dropout(rows, p)
