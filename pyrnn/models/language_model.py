"""Recurrent language model: embedding, stacked recurrent layers, projection to the vocabulary.

Dimension key: T time, B batch, H hidden, L layers, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

import pyrnn.nn

Cell = Literal["rnn", "gru", "lstm"]
Backend = Literal["pyrnn", "torch"]

#: h [L, B, H] of an RNN or GRU, (h, c) of an LSTM.
RecurrentState = Tensor | tuple[Tensor, Tensor]

_CLASS_NAMES = {"rnn": "RNN", "gru": "GRU", "lstm": "LSTM"}


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of a `LanguageModel`.

    Args:
        vocabulary_size: V.
        cell: "rnn" (tanh), "gru" or "lstm".
        embedding_size: width of the symbol vectors.
        hidden_size: H.
        num_layers: L.
        dropout: probability of zeroing an element between layers and before the projection.
        tied: use the embedding matrix as the projection's weight; needs `embedding_size == hidden_size`.
            Source: Press and Wolf, "Using the output embedding to improve language models", 2017.

    Raises:
        ValueError: a size below one, a dropout outside [0, 1), an unknown cell, or tied sizes that differ.
    """

    vocabulary_size: int
    cell: Cell = "lstm"
    embedding_size: int = 64
    hidden_size: int = 256
    num_layers: int = 2
    dropout: float = 0.2
    tied: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary_size", "embedding_size", "hidden_size", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}")
        if self.cell not in _CLASS_NAMES:
            raise ValueError(f"cell must be one of {', '.join(_CLASS_NAMES)}, got {self.cell!r}")
        if self.tied and self.embedding_size != self.hidden_size:
            raise ValueError(
                "tied weights need embedding_size equal to hidden_size, "
                f"got {self.embedding_size} and {self.hidden_size}"
            )


def recurrent_class(cell: Cell, backend: Backend = "pyrnn") -> Callable[..., nn.Module]:
    """The layer class of a cell: this package's, or torch's of the same name and constructor."""
    if backend not in ("pyrnn", "torch"):
        raise ValueError(f"backend must be 'pyrnn' or 'torch', got {backend!r}")
    return getattr(pyrnn.nn if backend == "pyrnn" else torch.nn, _CLASS_NAMES[cell])


def detach_state(state: RecurrentState) -> RecurrentState:
    """The same state without its history: where truncated BPTT cuts the graph."""
    return state.detach() if isinstance(state, Tensor) else (state[0].detach(), state[1].detach())


class LanguageModel(nn.Module):
    """Predicts the next symbol at every step of a sequence.

    p(x_{t+1} | x_1..x_t) = softmax(W h_t + b), where h_t is the last recurrent layer's output.
    Source: Mikolov et al., "Recurrent neural network based language model", 2010.

    Args:
        config: the sizes.
        recurrent: layer class with the constructor of `torch.nn.LSTM`; this package's by default.

    Example:
        >>> model = LanguageModel(LanguageModelConfig(vocabulary_size=65))
        >>> logits, state = model(torch.zeros(64, 32, dtype=torch.int64))
        >>> logits.shape
        torch.Size([64, 32, 65])
    """

    def __init__(
        self, config: LanguageModelConfig, *, recurrent: Callable[..., nn.Module] | None = None
    ) -> None:
        super().__init__()
        self.config = config
        recurrent = recurrent or recurrent_class(config.cell)
        between = (
            config.dropout if config.num_layers > 1 else 0.0
        )  # torch warns about dropout in a single layer
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        self.recurrent = recurrent(
            config.embedding_size, config.hidden_size, config.num_layers, dropout=between
        )
        self.projection = nn.Linear(config.hidden_size, config.vocabulary_size)
        if config.tied:
            nn.init.normal_(
                self.embedding.weight, std=config.hidden_size**-0.5
            )  # N(0, 1) would saturate the softmax
            self.projection.weight = self.embedding.weight

    def forward(self, input: Tensor, state: RecurrentState | None = None) -> tuple[Tensor, RecurrentState]:
        """Logits of the next symbol at every step.

        Args:
            input: [T, B] int64 ids in [0, V).
            state: what an earlier call returned, to continue from it; None starts from zeros.

        Returns:
            logits [T, B, V] and the state after the last step.
        """
        output, new_state = self.recurrent(self.embedding(input), state)
        return self.projection(self.dropout(output)), new_state
