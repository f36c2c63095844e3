"""Recurrent encoder and decoder: deep, residual, with attention or a fixed vector between them.

Dimension key: S source time, T target time, B batch, E embedding, H hidden, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyrnn.models._encoded import Encoded
from pyrnn.models.backbones import recurrent_class
from pyrnn.models.configs import Seq2SeqConfig
from pyrnn.models.state import State, select_along, state_of, state_tensors
from pyrnn.nn import AttentionDecoder
from pyrnn.nn.attention_decoder import AttentionState, Memory
from pyrnn.nn.parts import apply_linear
from pyrnn.ops import dropout


@dataclass(frozen=True)
class RecurrentDecoderState:
    """What a recurrent decoder has read of each sequence: a value.

    Args:
        layers: h and c [1, B, H] of each layer in turn.
        attending: context [B, H] and alignment [B, S] of the layer that attends.
        source: keys and values of what it attends to; None where a fixed vector is all that is known.
    """

    layers: tuple[tuple[Tensor, ...], ...]
    attending: tuple[Tensor, ...] = ()
    source: Encoded | None = None

    def select(self, rows: Tensor | slice) -> RecurrentDecoderState:
        """The state of some of the sequences, in the given order; [N] int64 indices may repeat."""
        source = None if self.source is None else self.source.select(rows)
        return replace(self.select_within(rows), source=source)

    def select_within(self, rows: Tensor | slice) -> RecurrentDecoderState:
        """`select` of as many rows, where each keeps its source."""
        return RecurrentDecoderState(
            tuple(tuple(select_along(part, 1, rows) for part in layer) for layer in self.layers),
            tuple(select_along(part, 0, rows) for part in self.attending),
            self.source,
        )


class RecurrentEncoder(nn.Module):
    """Recurrent layers over a source; the lowest reads it from both ends if asked.

    With `residual` each layer above the second adds its input to its output, as in GNMT. Source: Wu et al.,
    "Google's neural machine translation system", 2016, sections 3.1 and 3.2.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        make: Any = recurrent_class(config.architecture)
        H, ways = config.hidden_size, 2 if config.bidirectional else 1
        first = make(config.embedding_size, H // ways, bidirectional=config.bidirectional)
        self.layers = nn.ModuleList([first, *(make(H, H) for _ in range(config.num_layers - 1))])
        self.dropout, self.residual = config.dropout, config.residual

    def forward(self, vectors: Tensor, lengths: Tensor) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
        """Outputs [S, B, H] of the uppermost layer, and the last states, [1, B, H] each, of every layer."""
        x, states = vectors, []
        for number, layer in enumerate(self.layers):
            output, state = layer(_drop(self, x) if number else x, lengths=lengths)
            states.append(tuple(_side_by_side(part) for part in state_tensors(cast(State, state))))
            x = x + output if self.residual and number else output
        return x, states


class RecurrentDecoder(nn.Module):
    """Recurrent layers over a target, the lowest of which attends to the source at every step.

    The layers above it are given the contexts, too, as in GNMT (section 3 there); what goes to the softmax is
    tanh(W [h; context]) of Luong et al. 2015, eq. 5. Without attention the layers begin with the encoder's
    last states and know nothing else: Sutskever et al., "Sequence to sequence learning with neural networks",
    2014; Cho et al., "Learning phrase representations using RNN encoder-decoder", 2014.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        make: Any = recurrent_class(config.architecture)
        E, H, above = config.embedding_size, config.hidden_size, config.num_layers - 1
        self.attends = config.attention != "none"
        if config.attention == "none":
            self.first: nn.Module = make(E, H)
        else:
            self.first = AttentionDecoder(
                E,
                H,
                H,
                cell=config.architecture,
                attention=config.attention,
                input_feeding=config.input_feeding,
            )
        self.layers = nn.ModuleList(make(2 * H if self.attends else H, H) for _ in range(above))
        self.combination = nn.Linear(2 * H, H) if self.attends else None
        self.dropout, self.residual = config.dropout, config.residual

    def start(
        self, encoded: Tensor, lengths: Tensor, states: list[tuple[Tensor, ...]]
    ) -> RecurrentDecoderState:
        """The state before the first token, from what the encoder gave."""
        if not isinstance(self.first, AttentionDecoder):
            return RecurrentDecoderState(tuple(states))
        memory = self.first.prepare(encoded, lengths)
        begin = self.first.start(memory)
        attending = tuple(part for part in (begin.context, begin.alignment) if part is not None)
        return RecurrentDecoderState(
            tuple(states), attending, Encoded.of((memory.keys, memory.values), lengths)
        )

    def forward(
        self, vectors: Tensor, state: RecurrentDecoderState, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, RecurrentDecoderState]:
        """Outputs [T, B, H], attention weights [T, B, S] or None, and the state behind the last token."""
        output, context, weights, first, attending = self._attend(vectors, state, lengths)
        states, x = [first], output
        for layer, before in zip(self.layers, state.layers[1:], strict=True):
            given = _drop(self, x)
            given = given if context is None else torch.cat([given, context], dim=-1)
            output, after = layer(given, state_of(before), lengths=lengths)
            states.append(state_tensors(cast(State, after)))
            x = x + output if self.residual else output
        if self.combination is not None:
            assert context is not None
            x = torch.tanh(apply_linear(self.combination, _drop(self, torch.cat([x, context], dim=-1))))
        return x, weights, RecurrentDecoderState(tuple(states), attending, state.source)

    def _attend(self, vectors: Tensor, state: RecurrentDecoderState, lengths: Tensor | None) -> Any:
        """The lowest layer: outputs, contexts, weights, its last h and c, and what it attended with."""
        before = state.layers[0]
        if not isinstance(self.first, AttentionDecoder):
            output, after = self.first(vectors, state_of(before), lengths=lengths)
            return output, None, None, state_tensors(after), ()
        assert state.source is not None
        keys, values = state.source.tensors
        memory = Memory(keys, values, state.source.lengths)
        h, *c = (part[0] for part in before)
        context, *alignment = state.attending
        begin = AttentionState(h, c[0] if c else None, context, alignment[0] if alignment else None)
        output, contexts, weights, end = self.first(vectors, memory, begin, lengths=lengths)
        layer = tuple(part.unsqueeze(0) for part in (end.h, end.c) if part is not None)
        attending = tuple(part for part in (end.context, end.alignment) if part is not None)
        return output, contexts, weights, layer, attending


def _drop(module: Any, x: Tensor) -> Tensor:
    return dropout(x, module.dropout, module.training)


def _side_by_side(state: Tensor) -> Tensor:
    """[1, B, H] of the states [D, B, H / D] of a layer's directions."""
    return state.transpose(0, 1).flatten(1).unsqueeze(0)
