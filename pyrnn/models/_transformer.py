"""A decoder-only transformer, called as a recurrent layer is: with a state that it returns anew.

Dimension key: T time, B batch, E width, H heads, D = E / H, C steps remembered, L layers.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from pyrnn.models.state import CachedState, State
from pyrnn.nn import CacheList, KeyValueCache, TransformerEncoder, TransformerEncoderLayer

#: Features inside a feed-forward network, in widths of the model.
EXPANSION = 4


class CausalTransformer(nn.Module):
    r"""Blocks of causal self-attention and feed-forward network: x += attention(norm(x)), x += ff(norm(x)).

    In each layer a step sees itself and the `context` steps before it, with scores that fall with the
    distance, whatever the place. So a sequence may be as long as it likes and be read in any pieces: the
    state holds what the next steps can still see. It is a value and no buffer: one state may be continued in
    several ways.

    Sources: Vaswani et al., "Attention is all you need", 2017. Norms before the parts: Xiong et al., "On
    layer normalization in the transformer architecture", 2020. Window: Beltagy et al., "Longformer", 2020.
    Distances: Press et al., "Train short, test long", 2022. Carried keys: Dai et al., "Transformer-XL", 2019.

    Args:
        width: E.
        num_layers: L.
        num_heads: H, a divisor of E.
        context: steps before its own that a step sees in each layer.
        dropout: probability of zeroing an attention weight, a feature inside a feed-forward network, or an
            element of what a part adds.

    Example:
        >>> backbone = CausalTransformer(width=16, num_layers=2, num_heads=4, context=8)
        >>> output, state = backbone(torch.randn(5, 3, 16))
        >>> output.shape, len(state), state[0].shape
        (torch.Size([5, 3, 16]), 4, torch.Size([1, 3, 4, 5, 4]))
    """

    def __init__(
        self, *, width: int, num_layers: int, num_heads: int, context: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.context = context
        layer = TransformerEncoderLayer(
            width,
            num_heads,
            EXPANSION * width,
            dropout,
            "gelu",
            norm_first=True,
            causal=True,
            window=(context, 0),
            alibi=True,
        )
        self.encoder = TransformerEncoder(layer, num_layers, nn.LayerNorm(width))
        self._reset(num_layers)

    def _reset(self, num_layers: int) -> None:
        """Draw weights from N(0, 0.02^2), the last of each part from N(0, 0.02^2 / 2L): 2 L parts are summed.

        Source: Radford et al., "Language models are unsupervised multitask learners", 2019, section 2.3.
        """
        for name, parameter in self.encoder.named_parameters():
            if parameter.dim() == 2:
                ends = name.endswith(("out_proj.weight", "linear2.weight"))
                nn.init.normal_(parameter, std=0.02 / (2 * num_layers) ** 0.5 if ends else 0.02)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def start(self) -> CachedState:
        """The state before the first token, of any number of sequences, for reading token after token."""
        return CachedState(CacheList(KeyValueCache(keep=self.context) for _ in self.encoder.layers))

    def forward(
        self, input: Tensor, state: State | CachedState | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, State | CachedState]:
        """Run the blocks.

        Args:
            input: [T, B, E].
            state: what an earlier call returned, or `start`, to continue from it.
            lengths: [B] int64 in [0, T]: steps of each sequence; what stands beyond is not read.

        Returns:
            output [T, B, E], which means nothing beyond a length, and the state. One that began with `start`
            are the caches of all layers. Else keys and values of each layer in turn, [1, B, H, C, D], the
            last C = min(context, steps so far) ones with the newest last. Once lengths were given, [1, B]
            int64 follows: how many of the C a sequence has.
        """
        if not isinstance(state, CachedState):
            return self._forward_parts(input, cast("tuple[Tensor, ...] | None", state), lengths)
        if lengths is None:
            caches = state.caches.branch()
            return self.encoder(input, cache=caches), CachedState(caches)
        output, parts = self._forward_parts(input, self._parts_of(state), lengths)
        return output, CachedState(self._caches_of(parts))

    def _forward_parts(
        self, input: Tensor, state: tuple[Tensor, ...] | None, lengths: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`forward` with a state of tensors."""
        T, B = input.shape[:2]
        memory, filled = _parts(state, 2 * len(self.encoder.layers))
        C = memory[0].shape[2] if memory else 0
        caches = self._caches_of(state)
        output = self.encoder(input, cache=caches)
        kept = _keys_and_values(caches)
        C_new = min(self.context, C + T)
        if filled is None and lengths is None:
            return output, tuple(rows[:, :, C + T - C_new :].unsqueeze(0) for rows in kept)
        before = torch.full((B,), C, device=input.device) if filled is None else filled
        read = torch.full((B,), T, device=input.device) if lengths is None else lengths
        # A sequence's keys end C + read after the first; places before the first become padding.
        newest = (C + read - C_new).unsqueeze(1) + torch.arange(C_new, device=input.device)
        index = newest.clamp(min=0).view(B, 1, C_new, 1)
        tensors = [rows.take_along_dim(index, dim=2).unsqueeze(0) for rows in kept]
        return output, (*tensors, (before + read).clamp(max=C_new).unsqueeze(0))

    def _caches_of(self, state: tuple[Tensor, ...] | None) -> CacheList:
        """Caches that hold what a state of tensors does."""
        memory, filled = _parts(state, 2 * len(self.encoder.layers))
        caches = self.start().caches
        if memory:
            C = memory[0].shape[2]
            padding = (
                None if filled is None else torch.arange(C, device=filled.device) < C - filled.unsqueeze(1)
            )
            for cache, keys, values in zip(caches, memory[::2], memory[1::2], strict=True):
                cast(KeyValueCache, cache).append(keys, values, padding)
        return caches

    def _parts_of(self, state: CachedState) -> tuple[Tensor, ...] | None:
        """The state of tensors that holds what caches do."""
        first = cast(KeyValueCache, state.caches[0])
        if first.keys is None:
            return None
        last = slice(-min(self.context, first.length), None)
        parts = [rows[:, :, last].unsqueeze(0) for rows in _keys_and_values(state.caches)]
        padding = first.padding
        return (*parts, *(() if padding is None else ((~padding[:, last]).sum(1).unsqueeze(0),)))


def _keys_and_values(caches: CacheList) -> list[Tensor]:
    """Of each cache in turn, which all hold some."""
    each = cast("list[KeyValueCache]", caches)
    return [cast(Tensor, rows) for cache in each for rows in (cache.keys, cache.values)]


def _parts(state: tuple[Tensor, ...] | None, count: int) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """Keys and values [B, H, C, D] of each layer; how many of the C each has [B], if that may differ."""
    if state is None:
        return (), None
    return tuple(part[0] for part in state[:count]), state[count][0] if len(state) > count else None
