"""Scaled dot-product attention: the public operator and the route that each call takes."""

from __future__ import annotations

import math
from typing import Any, Literal, NoReturn

import torch
from torch import Tensor

from pyrnn.ops import _library
from pyrnn.ops._attention_autograd import Attention, Forward
from pyrnn.ops._attention_kernels import attention_op, by_reference, infer, why_not_native
from pyrnn.ops._attention_problem import WEIGHTS_KINDS, Call
from pyrnn.ops._checks import (
    as_bool,
    as_number,
    as_place,
    as_window,
    check_all_dense,
    draw_seed,
    refuse_derivative,
)
from pyrnn.ops.recurrent import Route

_TENSORS = Call._fields[:8]


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    *,
    key_padding_mask: Tensor | None = None,
    lengths: Tensor | None = None,
    query_start: int = 0,
    window: tuple[int, int] | None = None,
    alibi_slopes: Tensor | None = None,
    softcap: float = 0.0,
    return_weights: Literal["mean", "full"] | None = None,
    seed: Tensor | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Attend from every query to the keys that it may see.

    With a_ij = scale * q_i . k_j, p = query_start + i the place of query i among the keys, m the mask:

    - s_ij = softcap * tanh(a_ij / softcap) if softcap > 0, else a_ij
    - w_ij = softmax over the visible j of (s_ij - slope * |p - j| + m_ij); 0 for the others
    - o_i = sum_j drop(w_ij) v_j, where drop sets to 0 with probability dropout_p, else scales by
      1 / (1 - dropout_p)

    Key j is visible to query i if j < length, it is no padding, j <= p if causal, p - left <= j <= p + right
    if there is a window, and the mask neither forbids it nor is -inf there. A query that sees no key gives
    zeros, and so do its gradients. Numbers in places that a query does not see reach none of its results,
    whatever they are, NaN included. A score that is -inf by itself hides its key too. NaN in its scores makes
    NaN of its output and of every weight that it sees, dropped or not, as in torch.

    Arguments up to `enable_gqa` are those of `torch.nn.functional.scaled_dot_product_attention`, except that
    `is_causal` and `attn_mask` may come together. Derivatives: the kernels compute the first; the second and
    higher ones, and forward-mode ones, differentiate `pyrnn.reference.scaled_dot_product_attention`.
    `attention_route` says which of the two computes a call.

    Args:
        query: [..., H, T, D], or [T, D] for a single head. float32, float64 or bfloat16 for the CPU kernels;
            any other floating dtype or device takes the reference.
        key: [..., K, S, D]. Leading dimensions broadcast. K = H, or H a multiple of K with `enable_gqa`.
        value: [..., K, S, V].
        attn_mask: broadcastable to [..., H, T, S]. bool: True takes part. The query's dtype: added to the
            scores, and differentiable.
        dropout_p: probability in [0, 1] of a weight to be dropped, in every call: there is no training mode.
        is_causal: query i sees no key after its own place.
        scale: of the products, in [-1e30, 1e30]; D ** -0.5 by default.
        enable_gqa: let H / K heads of the query share a head of key and value (Ainslie et al.).
        key_padding_mask: bool [..., S] without heads, True where a key is padding.
        lengths: int32 or int64 [...] without heads, in [0, S], on the CPU or where the query is: the keys of
            each sequence.
        query_start: where query 0 stands among the keys: 0 for torch's causal mask, S - T when the last query
            is at the last key, as after a cache of keys. In [-2**53, 2**53].
        window: (left, right), how far back and ahead a query sees; negative for no limit (Beltagy et al.).
        alibi_slopes: float32 [H] or [..., H], not differentiable: refused where a gradient is wanted of them
            (Press et al.).
        softcap: bound of the scores before bias and mask, in [1e-30, 1e30]; 0 for none (Gemma 2).
        return_weights: also return the weights, after dropout: of each head, or their mean.
        seed: int64 scalar on the CPU. Which weights are dropped depends on it and on a weight's place
            (b * H + h, i, j) alone, with b counting the flattened leading dimensions of the call; of those of
            a sample under torch.vmap. By default it is drawn from torch's generator.

    Returns:
        Output [..., H, T, V], laid out in memory as the query is. With `return_weights`, also the weights
        [..., H, T, S] ("full") or [..., T, S] ("mean").

    Raises:
        TypeError: a tensor is none, is not dense, or holds the wrong kind of numbers; an option has another
            type.
        ValueError: a shape, dtype, device, length or option does not fit the others, or the storage of a
            tensor does not hold all of it.

    Source: Vaswani et al., Attention Is All You Need (2017), eq. 1; computed by blocks of keys as in Dao et
    al., FlashAttention (2022). Ainslie et al., GQA (2023). Beltagy et al., Longformer (2020). Press et al.,
    Train Short, Test Long (2022). Gemma Team, Gemma 2 (2024). Dropout by Salmon et al., Parallel Random
    Numbers (2011).

    Example:
        >>> import torch
        >>> from pyrnn.ops import scaled_dot_product_attention
        >>> q, k, v = (torch.randn(2, 4, 5, 8) for _ in range(3))
        >>> scaled_dot_product_attention(q, k, v, is_causal=True).shape
        torch.Size([2, 4, 5, 8])
    """
    left, right = (-1, -1) if window is None else as_window(window)
    query_start = as_place("query_start", query_start)
    if not (type(dropout_p) is type(softcap) is float and type(is_causal) is type(enable_gqa) is bool):
        dropout_p, softcap = as_number("dropout_p", dropout_p), as_number("softcap", softcap)
        is_causal, enable_gqa = as_bool("is_causal", is_causal), as_bool("enable_gqa", enable_gqa)
    if scale is not None and type(scale) is not float:
        scale = as_number("scale", scale)
    no_mask = attn_mask is None and key_padding_mask is None and lengths is None and alibi_slopes is None
    if no_mask and not dropout_p and return_weights is None and _is_plain(query, key, value, enable_gqa):
        options = (0.0, is_causal, scale, query_start, left, right, softcap, "none")
        return _compute(query, key, value, None, None, None, None, None, *options)[0]
    tensors = (query, key, value, attn_mask, key_padding_mask, lengths, alibi_slopes, seed)
    check_all_dense(_TENSORS, tensors, required=3)
    _check_weights_kind(return_weights)
    refuse_derivative("alibi_slopes", alibi_slopes)
    device_type = query.device.type
    if _library.autocast_enabled(device_type):
        query, key, value, attn_mask = _library.autocast((query, key, value, attn_mask), device_type)
    if dropout_p > 0 and seed is None:
        seed = draw_seed()
    one_head = query.dim() == 2
    if one_head:
        for name, tensor in (("key", key), ("value", value)):
            if tensor.dim() != 2:
                _bad_rank(name, tensor, "[S, features], as the query has no heads")
        query, key, value = query[None], key[None], value[None]
    lead = _leading(query, key, value, enable_gqa=enable_gqa)
    output, weights = _attend(
        _fold("query", query, lead, 3),
        _fold("key", key, lead, 3),
        _fold("value", value, lead, 3),
        None if attn_mask is None else _fold("attn_mask", attn_mask, lead, 3, may_be_shared=True),
        None if key_padding_mask is None else _fold("key_padding_mask", key_padding_mask, lead, 1),
        None if lengths is None else _fold("lengths", lengths, lead, 0),
        None if alibi_slopes is None else _fold("alibi_slopes", alibi_slopes, lead, 1, may_be_shared=True),
        seed,
        dropout_p,
        is_causal,
        scale,
        query_start,
        left,
        right,
        softcap,
        "none" if return_weights is None else return_weights,
    )
    if len(lead) != 1:
        output = output.reshape(*lead, *output.shape[1:])
    output = output[0] if one_head else output
    if return_weights is None or weights is None:
        return output
    if len(lead) != 1:
        weights = weights.reshape(*lead, *weights.shape[1:])
    return output, weights[0] if one_head and return_weights == "full" else weights


def attention_route(query: Tensor) -> Route:
    """Who computes `scaled_dot_product_attention` for this query, under the transforms and autocast of now.

    A compiled function decides when it is traced, in the same way.

    Example:
        >>> import torch
        >>> from pyrnn.ops import attention_route
        >>> attention_route(torch.zeros(1, 1, 1, 1, dtype=torch.float16)).path
        'reference'
    """
    device_type, dtype = query.device.type, query.dtype
    if _library.autocast_enabled(device_type) and dtype is not torch.float64:
        dtype = torch.get_autocast_dtype(device_type)
    why_not = why_not_native(device_type, dtype)
    if not why_not and _library.forward_mode_active():
        why_not = "a forward-mode derivative is being taken, and the kernels have none"
    return Route("reference", why_not) if why_not else Route("native", f"CPU kernels for {dtype}")


def _check_weights_kind(kind: Any) -> None:
    if kind is not None and (not isinstance(kind, str) or kind not in WEIGHTS_KINDS):
        raise ValueError(f"return_weights must be None, 'mean' or 'full', got {kind!r}")


def _is_plain(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> bool:
    """Whether these go to the kernel as they are.

    When a model generates, calls are so small that the long way would take longer than the kernel.
    """
    if query is None or key is None or value is None or not _library.unwatched((query, key, value)):
        return False
    of_query, of_key, of_value = query.shape, key.shape, value.shape
    if not len(of_query) == len(of_key) == len(of_value) == 4:
        return False
    return of_query[0] == of_key[0] == of_value[0] and (enable_gqa or of_query[1] == of_key[1])


def _compute(*args: Any) -> tuple[Tensor, Tensor | None]:
    """What nothing but autograd watches, on the flat arguments of the operator."""
    if not _library.wants_gradient(args[:4]):
        return infer(*args)
    if why_not_native(args[0].device.type, args[0].dtype):
        return attention_op(*args)
    return Attention.apply(*args)[:2]  # type: ignore[index,return-value]


def _attend(*args: Any) -> tuple[Tensor, Tensor | None]:
    """The operator, by the shortest way to it."""
    if _library.unwatched(args[:8]):
        return _compute(*args)
    # The operator cannot be differentiated by torch.func, which knows no operator's backward: it is given the
    # autograd.Function itself, whose backward it can transform in turn.
    if not torch.compiler.is_compiling() and _library.functorch_differentiates():
        if attention_route(args[0]).path == "native":
            return Forward.apply(*args)[:2]  # type: ignore[index,return-value]
        return by_reference(Call(*args))
    return attention_op(*args)


def _attention_autograd(*args: Any) -> tuple[Tensor, Tensor]:
    """Autograd's kernel of `pyrnn::scaled_dot_product_attention`."""
    refuse_derivative("alibi_slopes", args[6])
    if _library.forward_mode_active() or _library.functorch_differentiates():
        return by_reference(Call(*args))
    if not torch.is_grad_enabled() or not any(t is not None and t.requires_grad for t in args[:4]):
        with _library.BelowAutograd():
            return attention_op(*args)
    if attention_route(args[0]).path == "reference":
        return by_reference(Call(*args))
    return Forward.apply(*args)[:2]  # type: ignore[index,return-value]


_library.library.impl("scaled_dot_product_attention", _attention_autograd, "Autograd")


# --------------------------------------------------------------------------------- leading dimensions


def _leading(query: Tensor, key: Tensor, value: Tensor, *, enable_gqa: bool) -> tuple[int, ...]:
    """The leading dimensions of query, key and value together, without heads."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() < 3:
            _bad_rank(name, tensor, "[..., heads, positions, features]")
    H, K = query.shape[-3], key.shape[-3]
    if H != K and not enable_gqa:
        raise ValueError(
            f"query and key must have the same number of heads, got H = {H} and K = {K}; set enable_gqa=True "
            "to let heads of the query share those of the key"
        )
    shapes = [tuple(tensor.shape[:-3]) for tensor in (query, key, value)]
    if shapes[0] == shapes[1] == shapes[2]:
        return shapes[0]
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError as error:
        raise ValueError(
            "the leading dimensions of query, key and value, before the heads, must broadcast, got "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        ) from error


def _fold(
    name: str, tensor: Tensor, lead: tuple[int, ...], tail: int, *, may_be_shared: bool = False
) -> Tensor:
    """[..., the last `tail` dimensions] with one leading dimension.

    Its size is that of all of `lead` together; 1 if `may_be_shared` and it is the same for all of them.
    """
    count = len(lead)
    have = tuple(tensor.shape[: max(tensor.dim() - tail, 0)])
    if have == lead and tensor.dim() >= tail:
        return tensor if count == 1 else tensor.reshape(math.prod(lead), *tensor.shape[count:])
    missing = count + tail - tensor.dim()
    sizes = zip(reversed(have), reversed(lead), strict=False)
    if missing < 0 or any(size != 1 and size != full for size, full in sizes):
        raise ValueError(
            f"the dimensions of {name} before its last {tail} must broadcast to the leading ones of query, "
            f"key and value, {list(lead)}, got shape {list(tensor.shape)}"
        )
    tensor = tensor[(None,) * missing] if missing else tensor
    rest = tuple(tensor.shape[count:])
    if may_be_shared and all(size == 1 for size in have):
        return tensor.reshape(1, *rest)
    return tensor.expand(*lead, *rest).reshape(math.prod(lead), *rest)


def _bad_rank(name: str, tensor: Tensor, expected: str) -> NoReturn:
    raise ValueError(f"{name} must have shape {expected}, got {list(tensor.shape)}")
