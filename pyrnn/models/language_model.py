"""Language model: token vectors, recurrent or other layers, softmax over the vocabulary.

Dimension key: T time, B batch, E embedding, H hidden, L layers, V vocabulary, C classes or features.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models._feedforward import FeedForward
from pyrnn.models._head import head_loss
from pyrnn.models._transformer import CausalTransformer
from pyrnn.models.backbones import Backend, make_backbone
from pyrnn.models.configs import LanguageModelConfig
from pyrnn.models.pretrained import Pretrained
from pyrnn.models.state import CachedState, DecoderState, State, StepOutput
from pyrnn.nn.base import drop_locked
from pyrnn.nn.parts import apply_linear
from pyrnn.ops import dropout


class LanguageModel(Pretrained):
    """Predicts the next token at every step of a sequence.

    p(x_{t+1} | x_1..x_t) = softmax(W h_t + b), where h_t is the last layer's output.
    Sources: Mikolov et al., "Recurrent neural network based language model", 2010; Radford et al., "Improving
    language understanding by generative pre-training", 2018; Bengio et al., "A neural probabilistic language
    model", 2003, whose y = b + W x + U tanh(d + H x) over the vectors x of a window is the architecture
    "feedforward" with direct connections.

    With `config.condition_size` it is p(x_{t+1} | x_1..x_t, c): a vector of the class c, or W c of a feature
    vector, is read before the first token, as the control codes of Keskar et al., "CTRL: a conditional
    transformer language model for controllable generation", 2019, are. A class is the unit vector of its
    feature.

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
    recurrent: nn.Module  # the backbone is named for what it is: `recurrent`, `transformer` or `feedforward`
    transformer: nn.Module
    feedforward: nn.Module

    def __init__(self, config: LanguageModelConfig, *, backend: Backend = "pyrnn") -> None:
        super().__init__()
        self.config = config
        V, E = config.vocabulary_size, config.vector_size
        self.embedding = None if config.input == "one-hot" else nn.Embedding(V, E)
        first = V if config.input == "one-hot" else E
        self.condition = nn.Embedding(config.condition_size, first) if config.condition_size else None
        self._backbone_name, backbone = make_backbone(config, backend)
        self._backend = backend
        self.add_module(self._backbone_name, backbone)
        H = backbone.output_size if isinstance(backbone, FeedForward) else config.hidden_size
        self.bottleneck = nn.Linear(H, E, bias=False) if config.tied and H != E else None
        self.projection = nn.Linear(E if config.tied else H, V)
        if self.embedding is not None:
            if config.vector_std != 1:  # that of nn.Embedding
                nn.init.normal_(self.embedding.weight, std=config.vector_std)
            if config.tied:
                self.projection.weight = self.embedding.weight
        if self.condition is not None and config.vector_std != 1:
            nn.init.normal_(self.condition.weight, std=config.vector_std)
        if config.architecture == "transformer":  # its outputs are normed: torch's default gives large logits
            nn.init.normal_(self.projection.weight, std=config.vector_std)
            nn.init.zeros_(self.projection.bias)

    def forward(
        self,
        input: Tensor,
        state: State | CachedState | None = None,
        *,
        condition: Tensor | None = None,
        lengths: Tensor | None = None,
        targets: Tensor | None = None,
        label_smoothing: float = 0.0,
    ) -> tuple[Tensor, Any]:
        """Logits of the next token at every step, or the loss of given ones, for which no logits are held.

        Args:
            input: [T, B] int64 ids in [0, V).
            state: what an earlier call returned, to continue from it; None starts from nothing.
            condition: of texts that begin here: [B] int64 classes in [0, C), or [B, C] features; None where
                there is none, or the state has read it.
            lengths: [B] int64 in [0, T]: tokens of each sequence; what stands beyond is not read.
            targets: [T, B] int64 ids, or `pyrnn.losses.IGNORE`; then the loss is returned.
            label_smoothing: of that loss, as in `pyrnn.losses.sequence_cross_entropy`.

        Returns:
            logits [T, B, V], and the state after each sequence's last token. Beyond a length the logits mean
            nothing. With `targets`, in place of the logits the sum of -log p over targets that count.

        Raises:
            IndexError: an id outside [0, V), or a class outside [0, C).
            ValueError: a condition of another shape, beside a state, or where the model has none; or none
                where a text begins and the model needs one.
        """
        vectors = self._vectors(input)
        if condition is not None:
            if state is not None:
                raise ValueError("a state has read its condition: give one of the two")
            vectors = torch.cat([self._condition_vectors(condition, input.shape[1]), vectors])
            lengths = None if lengths is None else lengths + 1
        elif state is None:
            self._require_no_condition()
        vectors = self._drop(vectors, self.config.input_dropout)
        options = {} if lengths is None else {"lengths": lengths}
        backbone: Any = self._modules[self._backbone_name]
        output, new_state = backbone(vectors, state, **options)
        if condition is not None:
            output = output[1:]  # nothing is predicted before the first token
        if self.bottleneck is not None:
            output = self._linear(self.bottleneck, output)
        output = self._drop(output, self.config.dropout)
        if targets is None:
            return self._linear(self.projection, output), new_state
        plain = self._backend == "torch"
        return head_loss(
            self.projection, output, targets, label_smoothing=label_smoothing, plain=plain
        ), new_state

    @property
    def vocabulary_size(self) -> int:
        """V."""
        return self.config.vocabulary_size

    def start(self, source: Tensor | None = None) -> DecoderState:
        """The state before the first token, of any number of sequences: a `pyrnn.search.Decoder`'s.

        Args:
            source: what B texts are conditioned on, as `condition` of `forward`: the state then is theirs.

        Raises:
            IndexError, ValueError: as `forward`.

        Example:
            >>> import torch
            >>> model = LanguageModel(LanguageModelConfig(65, condition_size=3)).eval()
            >>> state = model.start(torch.tensor([2, 0]))
            >>> model.step(torch.tensor([1, 1]), state).logits.shape
            torch.Size([2, 65])
        """
        backbone: Any = self._modules[self._backbone_name]
        start = backbone.start() if isinstance(backbone, CausalTransformer) else None
        if source is None:
            self._require_no_condition()
            return DecoderState(start)
        vectors = self._drop(self._condition_vectors(source), self.config.input_dropout)
        return DecoderState(backbone(vectors, start)[1])

    def step(
        self,
        tokens: Tensor,
        state: DecoderState,
        *,
        lengths: Tensor | None = None,
        need_weights: bool = False,
    ) -> StepOutput:
        """Read one token of each sequence, or several at once.

        Args:
            tokens: [N] or [N, T] int64 ids in [0, V).
            state: of N sequences, or one that `start` gave.
            lengths: [N] int64 in [0, T]: tokens of each sequence; what stands beyond is not read.
            need_weights: has no effect, for there is no source to attend to.

        Returns:
            Logits [N, V], or [N, T, V] that mean nothing beyond a length; the state after the last token.

        Example:
            >>> import torch
            >>> model = LanguageModel(LanguageModelConfig(vocabulary_size=65))
            >>> output = model.step(torch.zeros(3, 10, dtype=torch.int64), model.start())
            >>> best = output.state.select(torch.tensor([2, 2]))
            >>> model.step(torch.tensor([1, 4]), best).logits.shape
            torch.Size([2, 65])
        """
        options = {} if lengths is None else {"lengths": lengths}
        if tokens.dim() == 1:
            logits, value = self(tokens.unsqueeze(0), state.value, **options)
            return StepOutput(logits.squeeze(0), DecoderState(value))
        logits, value = self(tokens.T, state.value, **options)
        return StepOutput(logits.transpose(0, 1), DecoderState(value))

    def _vectors(self, input: Tensor) -> Tensor:
        """[T, B, E], or [T, B, V] for one-hot input."""
        if self.embedding is not None:
            return self.embedding(input)
        # The backbone's, by any parameter: what users put in a part's place need not have a weight.
        floats = (p.dtype for p in self.parameters() if p.is_floating_point())
        return F.one_hot(input, self.config.vocabulary_size).to(next(floats, torch.get_default_dtype()))

    def _condition_vectors(self, condition: Tensor, B: int | None = None) -> Tensor:
        """[1, B, E], or [1, B, V] for one-hot input."""
        if self.condition is None:
            raise ValueError("the model has no condition: make it with condition_size, or give none")
        C = self.config.condition_size
        B = condition.shape[0] if B is None and condition.dim() else B
        if condition.dtype == torch.int64 and condition.shape == (B,):
            return self.condition(condition).unsqueeze(0)
        if condition.is_floating_point() and condition.shape == (B, C):
            return (condition @ self.condition.weight).unsqueeze(0)
        raise ValueError(
            f"condition must be int64 classes [B] or features [B, {C}] of each of the texts, got "
            f"{condition.dtype} of shape {list(condition.shape)}"
        )

    def _require_no_condition(self) -> None:
        if self.condition is not None:
            raise ValueError(
                "the model's texts have a condition, and none was given: pass condition to the model, or the "
                "state that start(condition) gives"
            )

    def _linear(self, module: nn.Module, rows: Tensor) -> Tensor:
        return apply_linear(module, rows) if self._backend == "pyrnn" else module(rows)

    def _drop(self, rows: Tensor, p: float) -> Tensor:
        if not (self.training and p):
            return rows
        if self.config.locked_dropout:
            return drop_locked(rows, p)
        return dropout(rows, p) if self._backend == "pyrnn" else F.dropout(rows, p)
