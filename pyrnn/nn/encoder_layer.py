"""TransformerEncoderLayer: drop-in for torch.nn's by the same name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pyrnn._checks import check_dense
from pyrnn.nn import _nested
from pyrnn.nn._few_tokens import run_layers
from pyrnn.nn.attention import MultiheadAttention
from pyrnn.nn.cache import KeyValueCache
from pyrnn.nn.drop_in import DropIn
from pyrnn.nn.parts import (
    SumAndNorm,
    add,
    added_mask,
    attend,
    convert_attention,
    feed_forward,
    new_cache_of,
    unchanged,
    with_norm,
)
from pyrnn.nn.plain import is_plain, is_replaced, kind_of, own_method
from pyrnn.nn.positions import RotaryEmbedding

_ATTENTION = kind_of(MultiheadAttention)

# What torch's layer is made of, for subclasses and users to replace: where they did, theirs are called.
_SELF_ATTENTION = own_method(nn.TransformerEncoderLayer, "_sa_block")
_NETWORK = own_method(nn.TransformerEncoderLayer, "_ff_block")


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
        convert_attention(self.self_attn, causal=causal, window=window, alibi=alibi, rotary=rotary)

    def new_cache(self) -> KeyValueCache:
        """An empty cache of this layer's self-attention."""
        return new_cache_of(self.self_attn)

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
            return self.norm_first_parts(SumAndNorm(src, self.norm1(src)), *masks, cache).summed
        x = self._add_attention(src, *masks, cache, residual=src, norm=self.norm1).normed
        return self._add_network(x, residual=x, norm=self.norm2).normed

    def norm_first_parts(
        self,
        src: SumAndNorm,
        mask: Tensor | None = None,
        padding: Tensor | None = None,
        is_causal: bool = False,
        cache: KeyValueCache | None = None,
        *,
        norm: Any = unchanged,
    ) -> SumAndNorm:
        """With `norm_first`, the layer behind norm1: output, and what `norm` behind the layer makes of it."""
        x = self._add_attention(
            src.normed, mask, padding, is_causal, cache, residual=src.summed, norm=self.norm2
        )
        return self._add_network(x.normed, residual=x.summed, norm=norm)

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
        return is_replaced(self, "_sa_block", _SELF_ATTENTION) or is_replaced(self, "_ff_block", _NETWORK)

    def _add_attention(
        self,
        x: Tensor,
        mask: Tensor | None,
        padding: Tensor | None,
        is_causal: bool,
        cache: KeyValueCache | None,
        *,
        residual: Tensor,
        norm: Any,
    ) -> SumAndNorm:
        """`residual + dropout1(self_attn(x))`, and `norm` of it."""
        replaced = is_replaced(self, "_sa_block", _SELF_ATTENTION)
        if (mask is not None or padding is not None) and (
            replaced or not is_plain(self.self_attn, _ATTENTION)
        ):
            mask, padding = added_mask(mask, x.dtype), added_mask(padding, x.dtype)
        if replaced:
            options = {} if cache is None else {"cache": cache}
            return with_norm(
                residual + self._sa_block(x, mask, padding, is_causal=is_causal, **options), norm
            )
        attended = attend(self.self_attn, x, x, mask, padding, is_causal, cache)
        return add(self.dropout1, attended, residual, norm)

    def _add_network(self, x: Tensor, *, residual: Tensor, norm: Any) -> SumAndNorm:
        """`residual + dropout2(linear2(dropout(activation(linear1(x)))))`, and `norm` of it."""
        if is_replaced(self, "_ff_block", _NETWORK):
            return with_norm(residual + self._ff_block(x), norm)
        return feed_forward(self, x, self.dropout2, residual=residual, norm=norm)
