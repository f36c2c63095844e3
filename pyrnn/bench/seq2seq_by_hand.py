"""Translators and a batched beam as one writes them with torch alone, on the weights of a `Seq2Seq`.

Dimension key: N sources, K hypotheses of each, R = N K rows, S source tokens, E or H features, V vocabulary.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn.models import Seq2Seq, Source


class ByHand(Protocol):
    """A decoder with a state of its own."""

    def begin(self, width: int, steps: int) -> None:
        """Forget all tokens, for `width` hypotheses of each source and so many steps."""
        ...

    def step(self, tokens: Tensor) -> Tensor:
        """Logits [R, V] behind tokens [R]."""
        ...

    def reorder(self, rows: Tensor) -> None:
        """Let row `rows[r]` be row r from now on; a source's rows stay with it."""
        ...


class RecurrentByHand:
    """`nn.LSTMCell` on [token; context], additive attention, tanh(W [h; context]), the softmax's weights."""

    def __init__(self, model: Seq2Seq, source: Source) -> None:
        decoder: Any = model.decoder
        layer = decoder.first
        self.embedding, self.projection, self.combination = (
            model.embedding,
            model.projection,
            decoder.combination,
        )
        self.cell = nn.LSTMCell(layer.input_size + layer.memory_size, layer.hidden_size)
        self.cell.to(model.projection.weight.dtype)
        self.cell.weight_ih.copy_(torch.cat((layer.weight_ih, layer.weight_context), 1))
        self.cell.weight_hh.copy_(layer.weight_hh)
        self.cell.bias_ih.copy_(layer.bias_ih)
        self.cell.bias_hh.copy_(layer.bias_hh)
        self.query, self.score = layer.weight_query, layer.score_weight
        state = model.start(source)
        (self.h0, *_), self.c0 = state.layers[0], state.layers[0][1]
        self.h0, self.c0, self.context0 = self.h0[0], self.c0[0], state.attending[0]
        self.keys0, self.values0 = (part.transpose(0, 1).contiguous() for part in state.source.tensors)

    def begin(self, width: int, steps: int) -> None:
        first = (self.h0, self.c0, self.context0, self.keys0, self.values0)
        self.h, self.c, self.context, self.keys, self.values = (_repeated(x, width) for x in first)

    def step(self, tokens: Tensor) -> Tensor:
        both = torch.cat((self.embedding(tokens), self.context), -1)
        self.h, self.c = self.cell(both, (self.h, self.c))
        scores = torch.tanh(F.linear(self.h, self.query).unsqueeze(1) + self.keys) @ self.score
        weights = torch.softmax(scores, -1)
        self.context = torch.bmm(weights.unsqueeze(1), self.values).squeeze(1)
        return self.projection(torch.tanh(self.combination(torch.cat((self.h, self.context), -1))))

    def reorder(self, rows: Tensor) -> None:
        self.h, self.c, self.context = self.h[rows], self.c[rows], self.context[rows]


class TransformerByHand:
    """torch's functions; keys and values of the target go into buffers, those of the source are made once."""

    def __init__(self, model: Seq2Seq, source: Source) -> None:
        transformer: Any = model.transformer
        self.embedding, self.projection = model.embedding, model.projection
        self.positions, self.decoder = transformer.positions, transformer.decoder
        self.heads = self.decoder.layers[0].self_attn.num_heads
        (self.encoded,) = model.start(source).source.tensors

    def _keys(self, attention: Any) -> tuple[Tensor, Tensor]:
        E = self.encoded.shape[-1]
        packed = F.linear(self.encoded, attention.in_proj_weight[E:], attention.in_proj_bias[E:])
        keys, values = packed.unflatten(-1, (2, self.heads, -1)).permute(2, 1, 3, 0, 4).contiguous()
        return keys, values

    def begin(self, width: int, steps: int) -> None:
        pairs = (self._keys(layer.multihead_attn) for layer in self.decoder.layers)
        self.memory = [tuple(_repeated(x, width) for x in pair) for pair in pairs]
        R, _, _, D = self.memory[0][0].shape
        shape = (len(self.memory), 2, R, self.heads, steps, D)
        self.past = torch.empty(shape, dtype=self.memory[0][0].dtype)
        self.filled = 0

    def step(self, tokens: Tensor) -> Tensor:
        x, R, n = self.embedding(tokens), len(tokens), self.filled
        E = x.shape[-1]
        x = self.positions(x.unsqueeze(0) * E**0.5, n).squeeze(0)
        for layer, past, (keys, values) in zip(self.decoder.layers, self.past, self.memory, strict=True):
            attention = layer.self_attn
            y = F.layer_norm(x, (E,), layer.norm1.weight, layer.norm1.bias)
            y = F.linear(y, attention.in_proj_weight, attention.in_proj_bias).view(R, 3, self.heads, -1)
            past[:, :, :, n] = y[:, 1:].transpose(0, 1)
            q, k, v = y[:, 0].unsqueeze(2), past[0, :, :, : n + 1], past[1, :, :, : n + 1]
            y = F.scaled_dot_product_attention(q, k, v).flatten(1)
            x = x + F.linear(y, attention.out_proj.weight, attention.out_proj.bias)
            attention = layer.multihead_attn
            y = F.layer_norm(x, (E,), layer.norm2.weight, layer.norm2.bias)
            q = F.linear(y, attention.in_proj_weight[:E], attention.in_proj_bias[:E])
            y = F.scaled_dot_product_attention(q.view(R, self.heads, 1, -1), keys, values).flatten(1)
            x = x + F.linear(y, attention.out_proj.weight, attention.out_proj.bias)
            y = F.layer_norm(x, (E,), layer.norm3.weight, layer.norm3.bias)
            y = F.relu(F.linear(y, layer.linear1.weight, layer.linear1.bias))
            x = x + F.linear(y, layer.linear2.weight, layer.linear2.bias)
        self.filled += 1
        return self.projection(self.decoder.norm(x))

    def reorder(self, rows: Tensor) -> None:
        n = self.filled
        self.past[:, :, :, :, :n] = self.past[:, :, rows, :, :n]


def _repeated(x: Tensor, width: int) -> Tensor:
    """Each row so many times."""
    return x if width == 1 else x.repeat_interleave(width, 0)


@torch.no_grad()
def search_by_hand(model: ByHand, N: int, width: int, steps: int, *, begin: int, eos: int) -> Tensor:
    """The best output [N, steps] of each source, EOS behind its end.

    With a width of 1 the likeliest token each time, without probabilities.
    """
    model.begin(width, steps)
    tokens = torch.full((N * width,), begin)
    ended = torch.zeros(N * width, dtype=torch.bool)
    written = torch.empty(N * width, 0, dtype=torch.int64)
    if width == 1:
        for _ in range(steps):
            tokens = model.step(tokens).argmax(-1).masked_fill(ended, eos)
            written = torch.cat((written, tokens.unsqueeze(1)), 1)
            ended |= tokens == eos
            if ended.all():
                break
        return written
    total = torch.full((N, width), -torch.inf)
    total[:, 0] = 0  # of equal hypotheses the first alone goes on
    first = torch.arange(N).unsqueeze(1) * width
    for _ in range(steps):
        log_probability = model.step(tokens).float().log_softmax(-1)
        V = log_probability.shape[-1]
        log_probability[ended] = -torch.inf
        log_probability[ended, eos] = 0
        total, number = (total.unsqueeze(-1) + log_probability.view(N, width, V)).flatten(1).topk(width)
        rows, tokens = (first + number // V).flatten(), (number % V).flatten()
        model.reorder(rows)
        written = torch.cat((written[rows], tokens.unsqueeze(1)), 1)
        ended = ended[rows] | (tokens == eos)
        if ended.all():
            break
    return written.view(N, width, -1)[:, 0]
