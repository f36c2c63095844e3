"""Transformer encoder and decoder between token vectors and the softmax.

Dimension key: S source time, T target time, B batch, E width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pyrnn.models._encoded import Encoded
from pyrnn.models._transformer import EXPANSION
from pyrnn.models.configs import Seq2SeqConfig
from pyrnn.nn import (
    CacheList,
    SinusoidalPositionalEncoding,
    TransformerDecoder,
    TransformerDecoderLayer,
    TransformerEncoder,
    TransformerEncoderLayer,
)


@dataclass(frozen=True)
class TransformerDecoderState:
    """What a Transformer's decoder has read of each sequence: a value.

    Args:
        source: the encoder's outputs [S, B, E].
        caches: of each layer, its own keys and the source's; None before the first token. A step branches
            them.
    """

    source: Encoded
    caches: CacheList | None = None

    def select(self, rows: Tensor | slice) -> TransformerDecoderState:
        """The state of some of the sequences, in the given order; [N] int64 indices may repeat."""
        source = self.source.select(rows)
        if self.caches is None:
            return TransformerDecoderState(source)
        caches = self.caches.branch()
        indices = torch.arange(len(self.source.origin), device=self.source.origin.device)[rows]
        for own, other in cast("list[CacheList]", caches):
            own.reorder(indices)
            if source is not self.source:
                other.reorder(indices)
        return TransformerDecoderState(source, caches)


class TransformerCoder(nn.Module):
    """An encoder, and a decoder that attends to its outputs.

    Source: Vaswani et al., "Attention is all you need", 2017. With `norm_first`: Xiong et al., "On layer
    normalization in the transformer architecture", 2020.
    """

    def __init__(self, config: Seq2SeqConfig) -> None:
        super().__init__()
        E, first = config.hidden_size, config.norm_first
        options = (E, config.num_heads, EXPANSION * E, config.dropout)
        self.positions = SinusoidalPositionalEncoding(E)
        self.dropout = nn.Dropout(config.dropout)
        self.encoder = TransformerEncoder(
            TransformerEncoderLayer(*options, norm_first=first),
            config.num_layers,
            nn.LayerNorm(E) if first else None,
        )
        self.decoder = TransformerDecoder(
            TransformerDecoderLayer(*options, norm_first=first, causal=True),
            config.num_layers,
            nn.LayerNorm(E) if first else None,
        )
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def encode(self, vectors: Tensor, lengths: Tensor) -> TransformerDecoderState:
        """The state before the first token, from vectors [S, B, E] of sources with `lengths` [B]."""
        padding = _beyond(vectors, lengths)
        encoded = self.encoder(self._embed(vectors, 0), src_key_padding_mask=padding)
        return TransformerDecoderState(Encoded.of((encoded,), lengths))

    def forward(
        self, vectors: Tensor, state: TransformerDecoderState, *, generates: bool
    ) -> tuple[Tensor, TransformerDecoderState]:
        """Outputs [T, B, E], and the state to go on from; where nothing `generates` it is the old one."""
        (encoded,) = state.source.tensors
        caches = None
        if generates:
            caches = self.decoder.new_cache() if state.caches is None else state.caches.branch()
        start = 0 if state.caches is None else cast(CacheList, state.caches[0]).position
        padding = _beyond(encoded, state.source.lengths) if state.caches is None else None
        output = self.decoder(
            self._embed(vectors, start), encoded, memory_key_padding_mask=padding, cache=caches
        )
        return output, TransformerDecoderState(state.source, caches) if generates else state

    def _embed(self, vectors: Tensor, start: int) -> Tensor:
        return self.dropout(self.positions(vectors * math.sqrt(vectors.shape[-1]), start))


def _beyond(rows: Tensor, lengths: Tensor) -> Tensor:
    """Which positions [B, S] of rows [S, B, E] are behind the end."""
    return torch.arange(len(rows), device=rows.device) >= lengths.to(rows.device).unsqueeze(1)
