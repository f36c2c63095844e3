"""TransformerDecoderLayer: drop-in for torch.nn's by the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn._checks import check_all_dense
from pyrnn.nn._few_tokens import run_layers
from pyrnn.nn.cache import CacheList, KeyValueCache
from pyrnn.nn.drop_in import DropIn
from pyrnn.nn.parts import (
    SumAndNorm,
    add,
    attend,
    convert_attention,
    feed_forward,
    new_cache_of,
    unchanged,
    with_norm,
)
from pyrnn.nn.plain import is_replaced, own_method
from pyrnn.nn.positions import RotaryEmbedding

# What torch's layer is made of, for subclasses and users to replace: where they did, theirs are called.
_SELF_ATTENTION = own_method(nn.TransformerDecoderLayer, "_sa_block")
_MEMORY_ATTENTION = own_method(nn.TransformerDecoderLayer, "_mha_block")
_NETWORK = own_method(nn.TransformerDecoderLayer, "_ff_block")


class TransformerDecoderLayer(DropIn, nn.TransformerDecoderLayer):
    """Self-attention, attention to an encoder's output, and a feed-forward network.

    As in `TransformerEncoderLayer`, with x = norm2(x + dropout(attention(x, memory))) between its two parts.

    Drop-in for `torch.nn.TransformerDecoderLayer`: the same parameters (names, shapes, initialisation),
    arguments and results.

    Args:
        d_model: E, features of input, memory and output.
        nhead: H, heads of each attention, a divisor of E.
        dim_feedforward: Features inside the feed-forward network.
        dropout: Probability of dropping an element, or an attention weight, while training.
        activation: "relu", "gelu" or a function of one tensor.
        layer_norm_eps: Added to the variance in the normalisations.
        batch_first: Input, memory and output are [B, T, E] instead of [T, B, E].
        norm_first: Normalise what goes into each part instead of what comes out.
        bias: Whether linear layers and normalisations have biases.
        device: Where the parameters lie.
        dtype: Of the parameters.
        causal: In self-attention, no position sees those behind it; needs no mask.
        window: In self-attention, how many positions back and ahead one sees; negative: no limit.
        alibi: In self-attention, scores fall with distance.
        rotary: In self-attention, turns queries and keys by their positions.

    Raises:
        ValueError, AssertionError: as `MultiheadAttention`.
        RuntimeError: `activation` is another string.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.1.

    Example:
        >>> import torch, pyrnn.nn
        >>> layer = pyrnn.nn.TransformerDecoderLayer(8, 2, 16, causal=True)
        >>> layer(torch.randn(3, 2, 8), torch.randn(5, 2, 8)).shape
        torch.Size([3, 2, 8])
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Tensor], Tensor] = F.relu,
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        causal: bool = False,
        window: tuple[int, int] | None = None,
        alibi: bool = False,
        rotary: RotaryEmbedding | None = None,
    ) -> None:
        super().__init__(
            d_model, nhead, dim_feedforward, dropout, activation, layer_norm_eps, batch_first, norm_first,
            bias, device, dtype,
        )  # fmt: skip
        convert_attention(self.self_attn, causal=causal, window=window, alibi=alibi, rotary=rotary)
        convert_attention(self.multihead_attn)

    def new_cache(self) -> CacheList:
        """Empty caches: of the self-attention, and of the memory's keys."""
        return CacheList([new_cache_of(self.self_attn), KeyValueCache(fixed=True)])

    def forward(
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
        *,
        cache: CacheList | None = None,
        weights: list[Tensor] | None = None,
    ) -> Tensor:
        """Run the layer on [T, B, E] with a memory [S, B, E]; [B, T, E] and [B, S, E] with `batch_first`.

        Args:
            tgt: the sequences.
            memory: the encoder's output.
            tgt_mask: as `attn_mask` of `MultiheadAttention.forward`, for self-attention.
            memory_mask: the same for the attention to the memory.
            tgt_key_padding_mask: as `key_padding_mask` there, for self-attention.
            memory_key_padding_mask: the same for the memory.
            tgt_is_causal: as `is_causal` there, for self-attention.
            memory_is_causal: the same for the memory.
            cache: keys and values of the positions before and of the memory (`new_cache`): the memory and its
                padding are looked at in the first call alone.
            weights: a list, to which those of the attention to the memory are appended: the mean over the
                heads, [B, T, S], after dropout; nothing, if somebody put an attention there that tells none.
                So hooks see the same output with and without.

        Raises:
            AssertionError, RuntimeError, ValueError: as there.
        """
        hidden = (tgt_mask, memory_mask, tgt_key_padding_mask, weights)
        restricted = any(each is not None for each in hidden) or not isinstance(memory, Tensor)
        output = self.run_at_once(tgt, cache, restricted=restricted)
        if isinstance(output, Tensor):
            return output
        check_all_dense(("tgt", "memory"), (tgt, memory), required=2)
        if cache is not None and (not isinstance(cache, list) or len(cache) != 2):
            raise TypeError(f"expected cache to be what layer.new_cache() makes, got {type(cache).__name__}")
        own, other = (None, None) if cache is None else cache
        masks = (tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        memory_masks = (memory_mask, memory_key_padding_mask, memory_is_causal)
        if self.norm_first:
            first = SumAndNorm(tgt, self.norm1(tgt))
            return self.norm_first_parts(
                first, memory, masks, memory_masks, own, other, weights=weights
            ).summed
        x = self._add_attention(tgt, *masks, own, residual=tgt, norm=self.norm1).normed
        x = self._add_memory(x, memory, *memory_masks, other, weights, residual=x, norm=self.norm2).normed
        return self._add_network(x, residual=x, norm=self.norm3).normed

    def norm_first_parts(
        self,
        tgt: SumAndNorm,
        memory: Tensor,
        masks: tuple[Tensor | None, Tensor | None, bool],
        memory_masks: tuple[Tensor | None, Tensor | None, bool],
        own: Any = None,
        other: Any = None,
        *,
        weights: list[Tensor] | None = None,
        norm: Any = unchanged,
    ) -> SumAndNorm:
        """With `norm_first`, the layer behind norm1: output, and what `norm` behind the layer makes of it.

        Mask, padding and hint of each attention; caches of both.
        """
        x = self._add_attention(tgt.normed, *masks, own, residual=tgt.summed, norm=self.norm2)
        x = self._add_memory(
            x.normed, memory, *memory_masks, other, weights, residual=x.summed, norm=self.norm3
        )
        return self._add_network(x.normed, residual=x.summed, norm=norm)

    def run_at_once(self, tgt: Tensor, cache: Any, *, restricted: bool, ask: bool = False) -> Tensor | str:
        """New tokens of a generating model by one call of C++, or why not; `ask`: see `run_layers`.

        `restricted`: whether there is a mask, of the memory's padding apart, or weights are asked for.
        """
        if type(cache) is not CacheList or restricted:
            return "there is no cache, or a mask, or weights are asked for"
        if self.replaces_parts():
            return "attention or network were replaced"
        return run_layers((self,), None, tgt, (cache,), ask=ask)

    def replaces_parts(self) -> bool:
        """Whether a subclass or a user put something else in the place of attentions or network."""
        return (
            is_replaced(self, "_sa_block", _SELF_ATTENTION)
            or is_replaced(self, "_mha_block", _MEMORY_ATTENTION)
            or is_replaced(self, "_ff_block", _NETWORK)
        )

    def _add_attention(
        self,
        x: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
        cache: Any,
        *,
        residual: Tensor,
        norm: Any,
    ) -> SumAndNorm:
        """`residual + dropout1(self_attn(x))`, and `norm` of it."""
        if is_replaced(self, "_sa_block", _SELF_ATTENTION):
            options = {} if cache is None else {"cache": cache}
            return with_norm(residual + self._sa_block(x, mask, padding, is_causal, **options), norm)
        attended = attend(self.self_attn, x, x, mask, padding, is_causal, cache)
        return add(self.dropout1, attended, residual, norm)

    def _add_memory(
        self,
        x: Tensor,
        memory: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
        cache: Any,
        weights: list[Tensor] | None,
        *,
        residual: Tensor,
        norm: Any,
    ) -> SumAndNorm:
        """`residual + dropout2(multihead_attn(x, memory))`, and `norm` of it."""
        if is_replaced(self, "_mha_block", _MEMORY_ATTENTION):
            options = {} if cache is None else {"cache": cache}
            return with_norm(residual + self._mha_block(x, memory, mask, padding, is_causal, **options), norm)
        attended = attend(self.multihead_attn, x, memory, mask, padding, is_causal, cache, weights=weights)
        return add(self.dropout2, attended, residual, norm)

    def _add_network(self, x: Tensor, *, residual: Tensor, norm: Any) -> SumAndNorm:
        """`residual + dropout3(linear2(dropout(activation(linear1(x)))))`, and `norm` of it."""
        if is_replaced(self, "_ff_block", _NETWORK):
            return with_norm(residual + self._ff_block(x), norm)
        return feed_forward(self, x, self.dropout3, residual=residual, norm=norm)
