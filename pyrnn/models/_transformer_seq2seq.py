"""Transformer encoder and decoder between token vectors and the softmax.

Dimension key: S source time, T target time, B batch, E width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from pyrnn._checks import check_lengths, private_integers
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
            them. What a sequence of fewer tokens did not read is padding there, before what it reads next.
        read: [B] int64, tokens that each sequence has read, once that may differ; else None.
    """

    source: Encoded
    caches: CacheList | None = None
    read: Tensor | None = None

    @property
    def position(self) -> int:
        """Tokens that were read of each sequence, padding included."""
        return 0 if self.caches is None else cast(CacheList, self.caches[0]).position

    def after(self, caches: CacheList, T: int, lengths: Tensor | None) -> TransformerDecoderState:
        """The state once T more tokens were read, or `lengths` [B] of them."""
        read = self.read
        if lengths is not None:
            read = lengths + (self.position if read is None else read)
        elif read is not None:
            read = read + T
        return TransformerDecoderState(self.source, caches, read)

    def select(self, rows: Tensor | slice) -> TransformerDecoderState:
        """The state of some of the sequences, in the given order; [N] int64 indices may repeat."""
        return self._of(rows, self.source.select(rows))

    def select_within(self, rows: Tensor | slice) -> TransformerDecoderState:
        """`select` of as many rows, where each keeps its source."""
        return self._of(rows, self.source)

    def _of(self, rows: Tensor | slice, source: Encoded) -> TransformerDecoderState:
        if self.caches is None:
            return TransformerDecoderState(source)
        caches = self.caches.branch()
        indices = torch.arange(len(self.source.origin), device=self.source.origin.device)[rows]
        for own, other in cast("list[CacheList]", caches):
            own.reorder(indices)
            if source is not self.source:
                other.reorder(indices)
        return TransformerDecoderState(source, caches, None if self.read is None else self.read[rows])


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
        self,
        vectors: Tensor,
        state: TransformerDecoderState,
        lengths: Tensor | None = None,
        *,
        generates: bool,
        need_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, TransformerDecoderState]:
        """Decode.

        Args:
            vectors: [T, B, E].
            state: what was read before.
            lengths: [B] int64 in [0, T], of which so many are read; what stands beyond is not.
            generates: whether there is more to come; else the state that is returned is the old one.
            need_weights: whether to return weights.

        Returns:
            Outputs [T, B, E]; the weights [T, B, S] of the last layer's attention to the source, the mean
            over its heads; and the state to go on from.
        """
        (encoded,) = state.source.tensors
        options: dict[str, Any] = {}
        weights: list[Tensor] = []
        if state.caches is None:
            options["memory_key_padding_mask"] = _beyond(encoded, state.source.lengths)
        if lengths is not None:
            lengths = _checked(lengths, vectors)
            options["tgt_key_padding_mask"] = _beyond(vectors, lengths)
        caches: CacheList | None = None
        if generates:
            caches = self.decoder.new_cache() if state.caches is None else state.caches.branch()
        if need_weights:
            options["weights"] = weights
        embedded = self._embed(vectors, state.position, state.read)
        output = self.decoder(embedded, encoded, cache=caches, **options)
        told = weights[0].transpose(0, 1) if weights else None
        return output, told, state if caches is None else state.after(caches, len(vectors), lengths)

    def _embed(self, vectors: Tensor, start: int, read: Tensor | None = None) -> Tensor:
        """What the layers take, of vectors [T, B, E] that stand from `start` on, or those of each sequence
        from `read` [B] on, which is nowhere more.
        """
        scaled = vectors * math.sqrt(vectors.shape[-1])
        if read is None:
            return self.dropout(self.positions(scaled, start))
        T, _, E = scaled.shape
        table = self.positions(scaled.new_zeros(start + T, 1, E)).squeeze(1)
        return self.dropout(scaled + table[read + torch.arange(T, device=read.device).unsqueeze(1)])


def _checked(lengths: Tensor, vectors: Tensor) -> Tensor:
    """Lengths [B] where vectors [T, B, E] lie, all in [0, T]."""
    T, B, _ = vectors.shape
    own: Any = private_integers(lengths)
    check_lengths(own, B, T, vectors, of="tokens", end="T")
    return own.to(vectors.device)


def _beyond(rows: Tensor, lengths: Tensor) -> Tensor:
    """Which positions [B, S] of rows [S, B, E] are behind the end."""
    return torch.arange(len(rows), device=rows.device) >= lengths.to(rows.device).unsqueeze(1)
