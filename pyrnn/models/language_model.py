"""Language model: symbol vectors, recurrent layers or a transformer, softmax over the vocabulary.

Dimension key: T time, B batch, E embedding, H hidden, L layers, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn._configuration import require_range
from pyrnn.models.backbones import Backend, Cell, make_backbone
from pyrnn.models.pretrained import Pretrained
from pyrnn.models.state import State
from pyrnn.nn.base import drop_locked

Input = Literal["embedding", "one-hot"]

_MOST_LAYERS = 1000


@dataclass(frozen=True)
class LanguageModelConfig:
    """Sizes of a `LanguageModel`.

    Args:
        vocabulary_size: V, symbols that the model knows.
        cell: "rnn" (tanh), "gru", "lstm" or "transformer". A job takes other defaults for a transformer.
        input: "embedding" looks up a learned vector of each symbol; "one-hot" feeds the symbol's unit vector
            to the first layer, whose input weights then are [G*H, V].
        embedding_size: E, width of the symbol vectors; without effect for one-hot input, and in a
            transformer, whose vectors have H.
        hidden_size: H, units of a recurrent layer; the width of a transformer.
        num_layers: L, layers stacked on one another.
        num_heads: heads of a transformer's attention, a divisor of H.
        context: symbols before its own that a position sees in each layer of a transformer.
        dropout: probability of zeroing an element between recurrent layers, or in a transformer an attention
            weight and an element of what a part computes; and of zeroing one before the softmax.
        input_dropout: probability of zeroing an element of the symbol vectors.
        locked_dropout: keep one dropout mask for all steps of a window instead of drawing one a step.
            Source: Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural
            networks", 2016. Of recurrent layers only.
        tied: use the embedding matrix as the softmax's weight; where E and H differ, a learned projection
            H -> E stands before it.
            Source: Press and Wolf, "Using the output embedding to improve language models", 2017.

    Raises:
        ValueError: a size below one, a dropout outside [0, 1), an unknown cell or input, heads that do not
            divide the width, tied weights with one-hot input, or a transformer with one-hot input or locked
            dropout.
    """

    vocabulary_size: int
    cell: Cell = "lstm"
    input: Input = "embedding"
    embedding_size: int = 64
    hidden_size: int = 256
    num_layers: int = 2
    num_heads: int = 8
    context: int = 128
    dropout: float = 0.2
    input_dropout: float = 0.0
    locked_dropout: bool = False
    tied: bool = False

    def __post_init__(self) -> None:
        sizes = ("vocabulary_size", "embedding_size", "hidden_size", "num_layers", "num_heads", "context")
        require_range(self, sizes, least=1)
        require_range(self, ("num_layers",), least=1, most=_MOST_LAYERS)
        for name in ("dropout", "input_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must lie in [0, 1), got {getattr(self, name)}")
        if self.cell not in get_args(Cell):
            raise ValueError(f"cell must be one of {', '.join(get_args(Cell))}, got {self.cell!r}")
        if self.input not in ("embedding", "one-hot"):
            raise ValueError(f"input must be 'embedding' or 'one-hot', got {self.input!r}")
        if self.tied and self.input == "one-hot":
            raise ValueError(
                "tied weights need an embedding to tie to: set input to 'embedding' or tied to false"
            )
        if self.cell == "transformer":
            self._check_transformer()

    def _check_transformer(self) -> None:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"hidden_size must be a multiple of num_heads, got {self.hidden_size} and {self.num_heads}"
            )
        if self.input == "one-hot":
            raise ValueError("a transformer has no weights for one-hot input: set input to 'embedding'")
        if self.locked_dropout:
            raise ValueError("a transformer has no locked dropout: set locked_dropout to false")

    @property
    def vector_size(self) -> int:
        """Width of the symbol vectors: E, in a transformer H."""
        return self.hidden_size if self.cell == "transformer" else self.embedding_size

    @property
    def vector_std(self) -> float:
        """Standard deviation of a fresh model's symbol vectors."""
        if self.cell == "transformer":
            return 0.02  # as GPT-2's: larger ones would drown what the layers add
        return self.vector_size**-0.5 if self.tied else 1.0  # N(0, 1) would saturate a tied softmax


class LanguageModel(Pretrained):
    """Predicts the next symbol at every step of a sequence.

    p(x_{t+1} | x_1..x_t) = softmax(W h_t + b), where h_t is the last layer's output.
    Sources: Mikolov et al., "Recurrent neural network based language model", 2010; Radford et al., "Improving
    language understanding by generative pre-training", 2018.

    Args:
        config: the sizes.
        backend: whose recurrent layers: this package's, or torch.nn's, which take no `lengths` and no locked
            dropout and are there to compare with.

    Raises:
        ValueError: a transformer or locked dropout with torch's layers.

    Example:
        >>> import torch
        >>> model = LanguageModel(LanguageModelConfig(vocabulary_size=65))
        >>> logits, state = model(torch.zeros(64, 32, dtype=torch.int64))
        >>> logits.shape
        torch.Size([64, 32, 65])
    """

    model_type = "pyrnn-language-model"
    config_class = LanguageModelConfig
    config: LanguageModelConfig
    recurrent: nn.Module  # the backbone is named for what it is: `recurrent` or `transformer`
    transformer: nn.Module

    def __init__(self, config: LanguageModelConfig, *, backend: Backend = "pyrnn") -> None:
        super().__init__()
        self.config = config
        V, H, E = config.vocabulary_size, config.hidden_size, config.vector_size
        self.embedding = None if config.input == "one-hot" else nn.Embedding(V, E)
        self._backbone_name, backbone = make_backbone(config, backend)
        self.add_module(self._backbone_name, backbone)
        self.bottleneck = nn.Linear(H, E, bias=False) if config.tied and H != E else None
        self.projection = nn.Linear(E if config.tied else H, V)
        if self.embedding is not None:
            if config.vector_std != 1:  # that of nn.Embedding
                nn.init.normal_(self.embedding.weight, std=config.vector_std)
            if config.tied:
                self.projection.weight = self.embedding.weight
        if config.cell == "transformer":  # its outputs are normed: torch's default would make bold guesses
            nn.init.normal_(self.projection.weight, std=config.vector_std)
            nn.init.zeros_(self.projection.bias)

    def forward(
        self, input: Tensor, state: State | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """Logits of the next symbol at every step.

        Args:
            input: [T, B] int64 ids in [0, V).
            state: what an earlier call returned, to continue from it; None starts from nothing.
            lengths: [B] int64 in [0, T]: symbols of each sequence; what stands beyond is not read.

        Returns:
            logits [T, B, V], and the state after each sequence's last symbol. Beyond a length the logits mean
            nothing.

        Raises:
            IndexError: an id outside [0, V).
        """
        vectors = self._drop(self._vectors(input), self.config.input_dropout)
        options = {} if lengths is None else {"lengths": lengths}
        output, new_state = self.get_submodule(self._backbone_name)(vectors, state, **options)
        if self.bottleneck is not None:
            output = self.bottleneck(output)
        return self.projection(self._drop(output, self.config.dropout)), new_state

    def _vectors(self, input: Tensor) -> Tensor:
        """[T, B, E], or [T, B, V] for one-hot input."""
        if self.embedding is not None:
            return self.embedding(input)
        # The backbone's, by any parameter: what users put in a part's place need not have a weight.
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        return F.one_hot(input, self.config.vocabulary_size).to(next(floats, torch.get_default_dtype()))

    def _drop(self, rows: Tensor, p: float) -> Tensor:
        if not (self.training and p):
            return rows
        return drop_locked(rows, p) if self.config.locked_dropout else F.dropout(rows, p)
