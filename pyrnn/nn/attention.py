"""MultiheadAttention: drop-in for the layer of torch.nn by the same name."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pyrnn import ops
from pyrnn._checks import as_bool, check_all_dense
from pyrnn.nn import _nested
from pyrnn.nn._attention_inputs import (
    check_call,
    operator_masks,
    recall,
    with_extra_keys,
)
from pyrnn.nn._self_attention import attend_eagerly, is_in_order, run_attention
from pyrnn.nn.cache import KeyValueCache
from pyrnn.nn.drop_in import DropIn, forward_of_torch, is_like_tensor
from pyrnn.nn.positions import RotaryEmbedding, alibi_slopes
from pyrnn.ops.attention.call import as_window

_TENSORS = ("query", "key", "value", "key_padding_mask", "attn_mask")


class MultiheadAttention(DropIn, nn.MultiheadAttention):
    """Attention in several heads: each projects queries, keys and values, and attends by itself.

    head_h = softmax(q_h k_h^T / sqrt(D) + mask) v_h, with q_h = W_q,h query, k_h = W_k,h key, v_h = W_v,h
    value; output = W_o (head_1 ... head_H) + b_o.

    Drop-in for `torch.nn.MultiheadAttention`: the same parameters (names, shapes, initialisation), arguments
    and results, in training and evaluation alike. Where torch gives NaN, to a query that sees no key, every
    head gives zeros.

    Args:
        embed_dim: E, features of the queries and of the output.
        num_heads: H, a divisor of E. D = E / H.
        dropout: Probability of dropping a weight while training.
        bias: Whether the projections have biases.
        add_bias_kv: Append a learned key and value to those of every sequence.
        add_zero_attn: Append a key and a value of zeros to those of every sequence.
        kdim: Features of the keys; E by default.
        vdim: Features of the values; E by default.
        batch_first: Input and output are [B, T, E] instead of [T, B, E].
        device: Where the parameters lie.
        dtype: Of the parameters. float32, float64, bfloat16, on CUDA float16 too, have kernels.
        causal: No query sees a key behind its own position; needs no mask.
        window: (left, right): how many keys back and ahead a query sees; negative: no limit.
        alibi: Scores fall with distance, each head at a slope of its own (`alibi_slopes`).
        rotary: Turns queries and keys by their positions.

    Raises:
        ValueError: a size is not positive, or options exclude each other.
        TypeError: an option of ours has another type.
        AssertionError: `num_heads` does not divide `embed_dim`.

    Source: Vaswani et al., Attention Is All You Need (2017), section 3.2.2. Window: Beltagy et al.,
    Longformer (2020). ALiBi: Press et al. (2022). Rotary: Su et al., RoFormer (2021).

    Example:
        >>> import torch, pyrnn.nn
        >>> attention = pyrnn.nn.MultiheadAttention(8, 2)
        >>> x = torch.randn(5, 3, 8)
        >>> output, weights = attention(x, x, x)
        >>> output.shape, weights.shape
        (torch.Size([5, 3, 8]), torch.Size([3, 5, 5]))
    """

    # Class attributes, so that a layer which never met this constructor (an accelerated one) has them too.
    causal: bool = False
    window: tuple[int, int] | None = None
    _slopes: Tensor | None = None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        add_bias_kv: bool = False,
        add_zero_attn: bool = False,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        causal: bool = False,
        window: tuple[int, int] | None = None,
        alibi: bool = False,
        rotary: RotaryEmbedding | None = None,
    ) -> None:
        super().__init__(
            embed_dim, num_heads, dropout, bias, add_bias_kv, add_zero_attn, kdim, vdim, batch_first, device,
            dtype,
        )  # fmt: skip
        self._extend(causal=causal, window=window, alibi=alibi, rotary=rotary)

    def _extend(
        self,
        *,
        causal: bool = False,
        window: tuple[int, int] | None = None,
        alibi: bool = False,
        rotary: RotaryEmbedding | None = None,
    ) -> None:
        """Take the options that torch's layer lacks."""
        if self._extra_keys and (causal or window is not None or alibi):
            raise ValueError(
                "add_bias_kv and add_zero_attn append keys that stand at no position: causal, window and "
                "alibi cannot be combined with them"
            )
        causal, alibi = as_bool("causal", causal), as_bool("alibi", alibi)
        if rotary is not None and not isinstance(rotary, RotaryEmbedding):
            raise TypeError(f"rotary should be of type RotaryEmbedding, got: {type(rotary).__name__}")
        if rotary is not None and rotary.dim > self.head_dim:
            raise ValueError(f"rotary turns {rotary.dim} features, and a head has only {self.head_dim}")
        if causal:
            self.causal = True
        if window is not None:
            self.window = as_window(window)
        if alibi:
            self._slopes = alibi_slopes(self.num_heads)
        if rotary is not None:
            self.rotary = rotary

    @property
    def _rotary(self) -> RotaryEmbedding | None:
        rotary: Any = self._modules.get("rotary")
        return rotary

    @property
    def _extra_keys(self) -> int:
        """Keys appended to those of every sequence."""
        return int(self.bias_k is not None) + int(self.add_zero_attn)

    def _beyond_torch(self) -> str:
        options = {"window": self.window, "alibi": self._slopes, "rotary": self._rotary}
        given = [name for name, value in options.items() if value is not None]
        return ", ".join((["causal"] if self.causal else []) + given)

    def extra_repr(self) -> str:
        """The options that torch's layer lacks."""
        options = {"causal": self.causal, "window": self.window, "alibi": self._slopes is not None}
        return ", ".join(f"{name}={value}" for name, value in options.items() if value)

    def new_cache(self) -> KeyValueCache:
        """An empty cache for self-attention, which keeps as many keys as this layer's window reaches back."""
        left = -1 if self.window is None else self.window[0]
        return KeyValueCache(keep=left if left >= 0 else None)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
        *,
        cache: KeyValueCache | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Attend from `query` to `key` and `value`.

        Args:
            query: [T, B, E], [B, T, E] with `batch_first`, or [T, E]. A nested tensor with `batch_first`.
            key: the same with S for T and kdim for E.
            value: the same with S for T and vdim for E.
            key_padding_mask: [B, S], or [S]: bool, True where a key is padding, or float, added to the
                scores.
            need_weights: whether to return the weights. Not asking for them saves memory and time.
            attn_mask: [T, S] or [B*H, T, S]: bool, True where a query must not see a key, or float, added.
            average_attn_weights: whether to return the mean of the weights over the heads.
            is_causal: a hint that `attn_mask`, required with it, is causal: nothing behind a query is looked
                at, and without padding and weights the mask is not looked at either.
            cache: keys and values of earlier calls, to which those of this one are appended; attention is
                then causal and needs no mask. `attn_mask` covers the keys kept and the new ones,
                `key_padding_mask` only the new ones. With a fixed cache that holds a memory, `key`, `value`
                and `key_padding_mask` are not looked at.

        Returns:
            Output, shaped as `query`; weights after dropout, [B, T, S], or [B, H, T, S] if not averaged,
            without B for unbatched input; None if not needed.

        Raises:
            AssertionError: shapes do not fit together, or a mask is neither bool nor float, as in torch.
            RuntimeError: a mask has the wrong shape, a dtype or device differs, or a hint lacks its mask.
            TypeError: an argument has another type, or a tensor is sparse.
            ValueError: the cache does not fit the call.
        """
        if any(isinstance(operand, Tensor) and operand.is_nested for operand in (query, key, value)):
            masked = attn_mask is not None or key_padding_mask is not None or is_causal is not False
            masked = masked or cache is not None
            return self._forward_nested(query, key, value, need_weights, average_attn_weights, masked=masked)
        return self._attend(
            query,
            key,
            value,
            key_padding_mask,
            need_weights,
            attn_mask,
            average_attn_weights,
            is_causal,
            cache,
        )

    def _attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None,
        need_weights: bool,
        attn_mask: Tensor | None,
        average_attn_weights: bool,
        is_causal: bool,
        cache: KeyValueCache | None,
        *,
        ask: bool = False,
    ) -> tuple[Any, Any]:
        """`forward` of what is not nested.

        Asked alone, it computes nothing and gives words instead: why it is not one call of C++ with both
        projections, and why not one between them. A tensor stands in the place of words where it is one.
        """
        masked = attn_mask is not None or key_padding_mask is not None or is_causal is not False
        few = run_attention(self, query, key, value, cache, restricted=masked or need_weights, ask=ask)
        if isinstance(few, Tensor):
            return few, None
        # Each weight is read once a call: a parametrization computes it, and may count how often.
        last, known, says_all = self.out_proj.weight, False, False
        if masked or query is not key or key is not value or not is_in_order(self, query, last, cache):
            if cache is None and is_like_tensor(query, key, value):
                if ask:
                    return few, few
                options = (key_padding_mask, need_weights, attn_mask, average_attn_weights, is_causal)
                return forward_of_torch(self, query, key, value, *options)
            check_all_dense(_TENSORS, (query, key, value, key_padding_mask, attn_mask), required=3)
            is_causal = as_bool("is_causal", is_causal)
            known = isinstance(cache, KeyValueCache) and cache.fixed and cache.length > 0
            if known:
                key, value, key_padding_mask = query, query, None
            says_all = is_causal and not need_weights and key_padding_mask is None and cache is None
            check_call(
                self, query, key, value, key_padding_mask, attn_mask, cache, last, is_causal=is_causal,
                known=known, says_all=says_all,
            )  # fmt: skip
        packed = None if known else self._project_together(query, key, value, ask=ask)
        unmasked = key_padding_mask is None and (attn_mask is None or says_all)
        merged = attend_eagerly(
            self, packed, cache, causal=self.causal or is_causal, restricted=need_weights or not unmasked,
            ask=ask,
        )  # fmt: skip
        if ask:
            return few, merged
        if isinstance(merged, Tensor):
            return ops.linear(merged, last, self.out_proj.bias), None
        q, *new = self._project(query, key, value, packed, cache, known=known)
        if query.dim() == 2 and key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
        if cache is not None:
            k, v, key_padding_mask = recall(cache, new, key_padding_mask)
        else:
            k, v = with_extra_keys(new[0], new[1], self.bias_k, self.bias_v, zeros=self.add_zero_attn)
        bare = key_padding_mask is None and not need_weights
        order = self._order(q.shape[2], k.shape[2], cache, is_causal=is_causal, bare=bare)
        causal, query_start, says_all = order
        mask, padding = operator_masks(
            None if says_all else attn_mask, key_padding_mask, H=self.num_heads, extra=self._extra_keys,
            dtype=q.dtype,
        )  # fmt: skip
        result = ops.scaled_dot_product_attention(
            q,
            k,
            v,
            mask,
            self.dropout if self.training else 0.0,
            causal,
            key_padding_mask=padding,
            query_start=query_start,
            window=self.window,
            alibi_slopes=None if self._slopes is None else self._slopes.to(q.device),
            return_weights=("mean" if average_attn_weights else "full") if need_weights else None,
        )
        attended, weights = result if isinstance(result, tuple) else (result, None)
        batch_first = self.batch_first and query.dim() == 3
        merged = attended.permute((0, 2, 1, 3) if batch_first else (2, 0, 1, 3)).flatten(-2)
        output = ops.linear(merged, last, self.out_proj.bias)
        if query.dim() == 2:
            return output.squeeze(1), None if weights is None else weights.squeeze(0)
        return output, weights

    def _project_together(self, query: Tensor, key: Tensor, value: Tensor, *, ask: bool) -> Tensor | None:
        """Queries, keys and values side by side, if they are made of one tensor with one weight."""
        weight: Any = self.in_proj_weight if query is key and key is value else None
        if weight is None:
            return None
        if ask:
            return query.new_empty(*query.shape[:-1], 3 * self.embed_dim)
        return ops.linear(query, weight, self.in_proj_bias)

    def _project(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        packed: Tensor | None,
        cache: KeyValueCache | None,
        *,
        known: bool,
    ) -> tuple[Tensor, ...]:
        """Queries, keys and values as [B, H, T, D], of `packed` if given; queries alone if others are known.

        They are views of what the projections made, whose order of memory the operator's output then has.
        """
        H, D = self.num_heads, self.head_dim
        if packed is not None:
            heads = list(packed.view(*query.shape[:-1], 3, H, D).unbind(-3))
        else:
            weights, biases = self._input_weights(self.in_proj_weight)
            operands = (query,) if known else (query, key, value)
            heads = [
                ops.linear(operand, weights[n], biases[n]).unflatten(-1, (H, D))
                for n, operand in enumerate(operands)
            ]
        if query.dim() == 2:
            heads = [head.unsqueeze(1) for head in heads]
        batch_first = self.batch_first and query.dim() == 3
        rotary = self._rotary
        if rotary is not None:
            start, sequence_dim = 0 if cache is None else cache.position, 1 if batch_first else 0
            heads[:2] = [rotary(head, start, sequence_dim=sequence_dim) for head in heads[:2]]
        return tuple(head.permute((0, 2, 1, 3) if batch_first else (1, 2, 0, 3)) for head in heads)

    def _order(
        self, T: int, S: int, cache: KeyValueCache | None, *, is_causal: bool, bare: bool
    ) -> tuple[bool, int, bool]:
        """Whether order is causal, where query 0 stands among the keys, and whether a mask says nothing else.

        `bare`: there is no padding, and no weights are asked for.
        """
        causal, query_start = self.causal, 0
        if cache is not None and cache.fixed:
            is_causal = False  # the hint would take the first of these queries for the first of all
        elif cache is not None:
            causal, query_start = True, S - T
        if is_causal and bare:
            return True, query_start, True
        # Extra keys stand behind all others, where the hint would hide them.
        return causal or (is_causal and not self._extra_keys), query_start, False

    def _input_weights(self, packed: Tensor | None) -> tuple[tuple[Tensor, ...], tuple[Tensor | None, ...]]:
        """Weights and biases of query, key and value; `packed` holds all weights, if one tensor does."""
        weights: Any
        if packed is None:
            weights = (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
        else:
            weights = packed.split(self.embed_dim)
        bias: Any = self.in_proj_bias
        return weights, (None,) * 3 if bias is None else bias.split(self.embed_dim)

    def _forward_nested(
        self, query: Tensor, key: Tensor, value: Tensor, need_weights: bool, average: bool, *, masked: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Attention within each sequence of nested tensors; weights, if needed, are padded with zeros."""
        if not (query is key and key is value and self.batch_first) or masked:
            raise AssertionError(
                "nested tensors are taken for self-attention (query is key is value) with batch_first=True, "
                "without masks and cache: pad them with torch.nested.to_padded_tensor for anything else"
            )
        padded, padding = _nested.pad(query)
        # Not self(...): whoever watches this layer sees one call.
        output, weights = MultiheadAttention.forward(
            self, padded, padded, padded, padding, need_weights, None, average
        )
        if weights is not None:
            weights = weights.masked_fill(padding[:, :, None] if average else padding[:, None, :, None], 0)
        return _nested.unpad(output, padding, query.layout), weights

    def merge_masks(
        self, attn_mask: Tensor | None, key_padding_mask: Tensor | None, query: Tensor
    ) -> tuple[Tensor | None, int | None]:
        """What torch's own encoder layer calls before it computes this layer by itself, which some cannot be.

        Raises:
            RuntimeError: this layer has options that torch's encoder layer would ignore.
        """
        if self._beyond_torch():
            raise RuntimeError(
                "torch.nn.TransformerEncoderLayer would leave out this layer's causal, window, alibi and "
                "rotary: use pyrnn.nn.TransformerEncoderLayer"
            )
        return super().merge_masks(attn_mask, key_padding_mask, query)
