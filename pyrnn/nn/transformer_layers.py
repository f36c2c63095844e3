"""TransformerEncoderLayer and TransformerDecoderLayer: drop-in for torch.nn's by the same names."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn._checks import check_all_dense, check_dense
from pyrnn.nn import _nested
from pyrnn.nn._few_tokens import run_layers
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import CacheList, KeyValueCache
from pyrnn.nn.drop_in import DropIn
from pyrnn.nn.parts import add, added_mask, attend, feed_forward, normalised
from pyrnn.nn.plain import is_plain, is_replaced, kind_of, own_method
from pyrnn.nn.positions import RotaryEmbedding

ATTENTION = kind_of(MultiheadAttention)

# What torch's layers are made of, for subclasses and users to replace: where they did, theirs are called.
_ENCODER_ATTENTION = own_method(nn.TransformerEncoderLayer, "_sa_block")
_ENCODER_NETWORK = own_method(nn.TransformerEncoderLayer, "_ff_block")
_DECODER_ATTENTION = own_method(nn.TransformerDecoderLayer, "_sa_block")
_DECODER_MEMORY = own_method(nn.TransformerDecoderLayer, "_mha_block")
_DECODER_NETWORK = own_method(nn.TransformerDecoderLayer, "_ff_block")


class TransformerEncoderLayer(DropIn, nn.TransformerEncoderLayer):
    """Self-attention and a feed-forward network, each with dropout, a residual and a layer normalisation.

    x = norm1(x + dropout(attention(x))); x = norm2(x + dropout(W_2 dropout(f(W_1 x + b_1)) + b_2)).
    With `norm_first`: x = x + dropout(attention(norm1(x))); x = x + dropout(W_2 dropout(f(W_1 norm2(x)
    ...))).

    Drop-in for `torch.nn.TransformerEncoderLayer`: the same parameters (names, shapes, initialisation),
    arguments and results, in training and evaluation alike. With `causal` it is the block of a decoder-only
    model.

    Args:
        d_model: E, features of input and output.
        nhead: H, heads of the attention, a divisor of E.
        dim_feedforward: Features inside the feed-forward network.
        dropout: Probability of dropping an element, or an attention weight, while training.
        activation: f: "relu", "gelu" or a function of one tensor.
        layer_norm_eps: Added to the variance in the normalisations.
        batch_first: Input and output are [B, T, E] instead of [T, B, E].
        norm_first: Normalise what goes into attention and network instead of what comes out.
        bias: Whether linear layers and normalisations have biases.
        device: Where the parameters lie.
        dtype: Of the parameters.
        causal: No position sees those behind it; needs no mask.
        window: (left, right): how many positions back and ahead one sees; negative: no limit.
        alibi: Scores fall with distance.
        rotary: Turns queries and keys by their positions.

    Raises:
        ValueError, AssertionError: as `MultiheadAttention`.
        RuntimeError: `activation` is another string.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.1. norm_first: Xiong et al., On Layer
    Normalization in the Transformer Architecture (2020), figure 1.

    Example:
        >>> import torch, pyrnn.nn
        >>> layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16)
        >>> padding = torch.tensor([[False, False, True], [False, False, False]])
        >>> layer(torch.randn(3, 2, 8), src_key_padding_mask=padding).shape
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
        convert(self.self_attn, causal=causal, window=window, alibi=alibi, rotary=rotary)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of this layer's self-attention."""
        return new_cache(self.self_attn)

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """Run the layer on [T, B, E], [B, T, E] with `batch_first`, [T, E], or a nested tensor.

        Args:
            src: the sequences. Positions at padding are computed like the others.
            src_mask: as `attn_mask` of `MultiheadAttention.forward`.
            src_key_padding_mask: as `key_padding_mask` there.
            is_causal: as there.
            cache: keys and values of the positions before, see there.

        Raises:
            AssertionError, RuntimeError, ValueError: as there.
        """
        if isinstance(src, Tensor) and src.is_nested:
            if src_mask is not None or src_key_padding_mask is not None or not self.self_attn.batch_first:
                raise AssertionError(
                    "nested tensors are taken with batch_first=True and without masks: pad them with "
                    "torch.nested.to_padded_tensor for anything else"
                )
            padded, padding = _nested.pad(src)
            # Not self(...): whoever watches this layer sees one call.
            output = TransformerEncoderLayer.forward(self, padded, None, padding)
            return _nested.unpad(output, padding, src.layout)
        masks = (src_mask, src_key_padding_mask, is_causal)
        output = self.run_at_once(src, cache, restricted=any(m is not None for m in masks[:2]))
        if isinstance(output, Tensor):
            return output
        check_dense("src", src)
        if self.norm_first:
            x = self._add_attention(self.norm1(src), *masks, cache, residual=src)
            return self._add_network(self.norm2(x), residual=x)
        x = self._add_attention(src, *masks, cache, residual=src, norm=self.norm1)
        return self._add_network(x, residual=x, norm=self.norm2)

    def run_at_once(
        self, src: Tensor, cache: KeyValueCache | None, *, restricted: bool, ask: bool = False
    ) -> Tensor | str:
        """New tokens of a generating model by one call of C++, or why not; `ask`: see `run_layers`.

        `restricted`: whether there is a mask.
        """
        if cache is None or restricted:
            return "there is no cache, or a mask"
        if self.replaces_parts():
            return "attention or network were replaced"
        return run_layers((self,), None, src, (cache,), ask=ask)

    def replaces_parts(self) -> bool:
        """Whether a subclass or a user put something else in the place of attention or network."""
        return is_replaced(self, "_sa_block", _ENCODER_ATTENTION) or is_replaced(
            self, "_ff_block", _ENCODER_NETWORK
        )

    def _add_attention(
        self,
        x: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
        cache: KeyValueCache | None,
        *,
        residual: Tensor,
        norm: Any = None,
    ) -> Tensor:
        """`residual + dropout1(self_attn(x))`; `norm` of it, if given."""
        replaced = is_replaced(self, "_sa_block", _ENCODER_ATTENTION)
        if (mask is not None or padding is not None) and (
            replaced or not is_plain(self.self_attn, ATTENTION)
        ):
            mask, padding = added_mask(mask, x.dtype), added_mask(padding, x.dtype)
        if replaced:
            options = {} if cache is None else {"cache": cache}
            return normalised(
                residual + self._sa_block(x, mask, padding, is_causal=is_causal, **options), norm
            )
        attended = attend(self.self_attn, x, x, mask, padding, is_causal, cache)
        return add(self.dropout1, attended, residual, norm)

    def _add_network(self, x: Tensor, *, residual: Tensor, norm: Any = None) -> Tensor:
        """`residual + dropout2(linear2(dropout(activation(linear1(x)))))`; `norm` of it, if given."""
        if is_replaced(self, "_ff_block", _ENCODER_NETWORK):
            return normalised(residual + self._ff_block(x), norm)
        return feed_forward(self, x, self.dropout2, residual=residual, norm=norm)


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
        convert(self.self_attn, causal=causal, window=window, alibi=alibi, rotary=rotary)
        convert(self.multihead_attn)

    def new_cache(self) -> CacheList:
        """Empty caches: of the self-attention, and of the memory's keys."""
        return CacheList([new_cache(self.self_attn), KeyValueCache(fixed=True)])

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
            x = self._add_attention(self.norm1(tgt), *masks, own, residual=tgt)
            x = self._add_memory(self.norm2(x), memory, *memory_masks, other, weights, residual=x)
            return self._add_network(self.norm3(x), residual=x)
        x = self._add_attention(tgt, *masks, own, residual=tgt, norm=self.norm1)
        x = self._add_memory(x, memory, *memory_masks, other, weights, residual=x, norm=self.norm2)
        return self._add_network(x, residual=x, norm=self.norm3)

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
            is_replaced(self, "_sa_block", _DECODER_ATTENTION)
            or is_replaced(self, "_mha_block", _DECODER_MEMORY)
            or is_replaced(self, "_ff_block", _DECODER_NETWORK)
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
        norm: Any = None,
    ) -> Tensor:
        """`residual + dropout1(self_attn(x))`; `norm` of it, if given."""
        if is_replaced(self, "_sa_block", _DECODER_ATTENTION):
            options = {} if cache is None else {"cache": cache}
            return normalised(residual + self._sa_block(x, mask, padding, is_causal, **options), norm)
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
        norm: Any = None,
    ) -> Tensor:
        """`residual + dropout2(multihead_attn(x, memory))`; `norm` of it, if given."""
        if is_replaced(self, "_mha_block", _DECODER_MEMORY):
            options = {} if cache is None else {"cache": cache}
            return normalised(
                residual + self._mha_block(x, memory, mask, padding, is_causal, **options), norm
            )
        attended = attend(self.multihead_attn, x, memory, mask, padding, is_causal, cache, weights=weights)
        return add(self.dropout2, attended, residual, norm)

    def _add_network(self, x: Tensor, *, residual: Tensor, norm: Any = None) -> Tensor:
        """`residual + dropout3(linear2(dropout(activation(linear1(x)))))`; `norm` of it, if given."""
        if is_replaced(self, "_ff_block", _DECODER_NETWORK):
            return normalised(residual + self._ff_block(x), norm)
        return feed_forward(self, x, self.dropout3, residual=residual, norm=norm)


def convert(attention: nn.MultiheadAttention, **options: Any) -> None:
    """Make torch's attention ours, in place: the constructors of torch's layers have initialised it."""
    attention.__class__ = MultiheadAttention
    attention._extend(**options)  # type: ignore[attr-defined]


def new_cache(attention: nn.Module) -> KeyValueCache:
    """An empty cache of an attention layer, which must be ours."""
    if not isinstance(attention, MultiheadAttention):
        raise TypeError(
            f"only pyrnn.nn.MultiheadAttention takes a cache, not {type(attention).__module__}."
            f"{type(attention).__qualname__}; pyrnn.accelerate(model) turns torch's layers into ours"
        )
    return attention.new_cache()
