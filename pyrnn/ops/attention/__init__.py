"""Scaled dot-product attention: the public operator, its kernels, and the route of a call."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from pyrnn import _native, reference
from pyrnn._checks import (
    as_bool,
    as_number,
    check_all_dense,
    check_like,
    draw_seed,
    refuse_derivative,
)
from pyrnn._dispatch import any_autocast_enabled, autocast_disabled, autocast_enabled
from pyrnn._native_args import accumulation_dtype, require_readable_storage
from pyrnn.ops._library import Kernel, VmapRule, loop_over_samples
from pyrnn.ops._operator import Operator, Part, Route, Spec, cast_tensor
from pyrnn.ops.attention import cpu, cuda
from pyrnn.ops.attention.call import (
    WEIGHTS_KINDS,
    Call,
    as_position,
    as_window,
    empty_gradients,
    empty_in_order,
    make_problem,
    options_by_name,
)
from pyrnn.ops.attention.eager import EagerSelfAttention, SelfAttention
from pyrnn.ops.attention.layout import layout_of
from pyrnn.ops.attention.leading import bad_rank, fold, leading


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
    whatever they are, NaN included; NaN in the gradient of an output may reach the gradients of keys that its
    query does not see. A score that is -inf by itself hides its key too, unless the key's value is no number.
    NaN in its scores makes NaN of its output and of every weight that it sees, dropped or not, as in torch.

    Arguments up to `enable_gqa` are those of `torch.nn.functional.scaled_dot_product_attention`, except that
    `is_causal` and `attn_mask` may come together. Derivatives: the kernels compute the first; the second and
    higher ones, and forward-mode ones, differentiate `pyrnn.reference.scaled_dot_product_attention`.
    `attention_route` says which of the two computes a call.

    Args:
        query: [..., H, T, D], or [T, D] for a single head. float32, float64 or bfloat16 for the CPU kernels;
            these or float16 for the CUDA kernels, whose heads have at most 256 features (float64: 128). What
            no kernel takes is computed by the reference.
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
            a sample under torch.vmap. By default it is drawn from torch's generator. It is read when the call
            is made: a CUDA graph repeats what it was captured with.

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
    if type(query_start) is not int or query_start:
        query_start = as_position("query_start", query_start)
    if not (type(dropout_p) is type(softcap) is float and type(is_causal) is type(enable_gqa) is bool):
        dropout_p, softcap = as_number("dropout_p", dropout_p), as_number("softcap", softcap)
        is_causal, enable_gqa = as_bool("is_causal", is_causal), as_bool("enable_gqa", enable_gqa)
    if scale is not None and type(scale) is not float:
        scale = as_number("scale", scale)
    if return_weights is not None and (
        not isinstance(return_weights, str) or return_weights not in WEIGHTS_KINDS
    ):
        raise ValueError(f"return_weights must be None, 'mean' or 'full', got {return_weights!r}")
    options = (dropout_p, is_causal, scale, query_start, left, right, softcap)
    no_mask = attn_mask is None and key_padding_mask is None and lengths is None and alibi_slopes is None
    if no_mask and not dropout_p and return_weights is None and _is_plain(query, key, value, enable_gqa):
        return _operator(query, key, value, None, None, None, None, None, *options, "none")[0]
    tensors = (query, key, value, attn_mask, key_padding_mask, lengths, alibi_slopes, seed)
    check_all_dense(_TENSORS, tensors, required=3)
    refuse_derivative("alibi_slopes", alibi_slopes)
    device_type = query.device.type
    if any_autocast_enabled() and autocast_enabled(device_type):
        query, key, value, attn_mask = (
            cast_tensor(tensor, device_type) for tensor in (query, key, value, attn_mask)
        )
    if dropout_p > 0 and seed is None:
        seed = draw_seed()
    one_head = query.dim() == 2
    if one_head:
        for name, tensor in (("key", key), ("value", value)):
            if tensor.dim() != 2:
                bad_rank(name, tensor, "[S, features], as the query has no heads")
        query, key, value = query[None], key[None], value[None]
    lead = leading(query, key, value, enable_gqa=enable_gqa)
    output, weights = _operator(
        fold("query", query, lead, 3),
        fold("key", key, lead, 3),
        fold("value", value, lead, 3),
        None if attn_mask is None else fold("attn_mask", attn_mask, lead, 3, may_be_shared=True),
        None if key_padding_mask is None else fold("key_padding_mask", key_padding_mask, lead, 1),
        None if lengths is None else fold("lengths", lengths, lead, 0),
        None if alibi_slopes is None else fold("alibi_slopes", alibi_slopes, lead, 1, may_be_shared=True),
        seed,
        *options,
        "none" if return_weights is None else return_weights,
    )
    if len(lead) != 1:
        output = output.reshape(*lead, *output.shape[1:])
    output = output[0] if one_head else output
    if return_weights is None:
        return output
    if len(lead) != 1:
        weights = weights.reshape(*lead, *weights.shape[1:])
    return output, weights[0] if one_head and return_weights == "full" else weights


def attention_route(query: Tensor, value: Tensor | None = None) -> Route:
    """Who computes `scaled_dot_product_attention` for this query, under the transforms and autocast of now.

    A compiled function decides when it is traced, in the same way. The value matters where its heads have
    more features than the query's.

    Example:
        >>> import torch
        >>> from pyrnn.ops import attention_route
        >>> attention_route(torch.zeros(1, 1, 1, 1, dtype=torch.float16)).path
        'reference'
    """
    return _operator.route(query, None, value)


def backend_of(device_type: str) -> str | None:
    """Whose kernels serve tensors of this kind of device."""
    return _operator.backend_of(device_type)


def _is_plain(query: Tensor, key: Tensor, value: Tensor, enable_gqa: bool) -> bool:
    """Whether these are tensors that the operator takes as they are, with one leading dimension.

    When a model generates, calls are so small that all that follows would take longer than the kernel.
    """
    for tensor in (query, key, value):
        if type(tensor) is not Tensor or tensor.is_nested or tensor.dim() != 4:
            return False
    of_query, of_key, of_value = query.shape, key.shape, value.shape
    return of_query[0] == of_key[0] == of_value[0] and (enable_gqa or of_query[1] == of_key[1])


# -------------------------------------------------------------------------------------------- kernels


def _kernels(query: Tensor) -> Any:
    """The module with `forward` and `backward` for a query that has kernels."""
    return cuda if query.is_cuda or _native.emulated_cuda is not None else cpu


def _unfit(backend: str, tensors: tuple[Tensor | None, ...]) -> str:
    query, value = tensors[0], tensors[2] if len(tensors) > 2 else None
    return cuda.unfit_reason(query, value) if backend == "cuda" and query is not None else ""


def _infer(*args: Any) -> tuple[Tensor, ...]:
    call = Call.for_kernels(*args)
    return _kernels(call.query).forward(call, with_statistics=False)[:2]


def _forward(*args: Any) -> tuple[Tensor, ...]:
    call = Call.for_kernels(*args)
    return _kernels(call.query).forward(call, with_statistics=True)


def _backward(g_output: Tensor | None, g_weights: Tensor | None, *rest: Any) -> tuple[Tensor, ...]:
    call, (output, statistics), needs = Call.for_kernels(*rest[:8], *rest[10:18]), rest[8:10], rest[18]
    problem, query = layout_of(call).problem, call.query
    check_like("the forward's output", output, problem.output_shape, query.dtype, query)
    check_like("statistics", statistics, problem.statistics_shape, accumulation_dtype(query.dtype), query)
    for name, grad, shape in (
        ("the gradient of output", g_output, problem.output_shape),
        ("the gradient of weights", g_weights, problem.weights_shape),
    ):
        if grad is not None:
            check_like(name, grad, shape, query.dtype, query)
    return _kernels(query).backward(call, g_output, g_weights, output, statistics, needs=needs)


def _reference(*args: Any) -> reference.AttentionOutput:
    call = Call(*args)
    make_problem(call)
    require_readable_storage(call[:8])
    with autocast_disabled(call.query.device.type):
        return reference.scaled_dot_product_attention(*call[:8], **options_by_name(call))


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    call = Call(*args)
    problem = make_problem(call)
    return (
        empty_in_order(call.query, problem.output_shape),
        call.query.new_empty(problem.weights_shape),
        call.query.new_empty(problem.statistics_shape, dtype=accumulation_dtype(problem.dtype)),
    )


def _fake_backward(*args: Any) -> tuple[Tensor, ...]:
    return empty_gradients(Call(*args[2:10], *args[12:20]), args[20])


def _vmap(part: Part, operator: Kernel) -> VmapRule:
    """Make the mapped dimension part of the batch.

    With dropout each sample has its own call: what is dropped depends on the position in the batch, which
    must be the same in the derivatives, whether or not they are mapped as the forward pass was.
    """
    query_at, count = (2, 12) if part == "backward" else (0, 8)  # of the tensors, which come first
    seed_at, mask_at, dropout_at = query_at + 7, query_at + 3, count

    def rule(info: Any, in_dims: tuple[Any, ...], *args: Any) -> tuple[Any, Any]:
        if in_dims[seed_at] is not None or args[dropout_at] > 0:
            return loop_over_samples(operator)(info, in_dims, *args)
        samples, query_dim = info.batch_size, in_dims[query_at]
        batch = args[query_at].shape[1 if query_dim == 0 else 0]
        folded = [
            tensor if n == seed_at else _fold_samples(tensor, in_dim, samples, batch)
            for n, (tensor, in_dim) in enumerate(zip(args[:count], in_dims[:count], strict=True))
        ]
        results = [
            t.new_empty(samples, 0) if t.dim() == 1 else t.unflatten(0, (samples, batch))
            for t in operator(*folded, *args[count:])
        ]
        if part == "backward" and results[3].dim() > 2:
            mask, mask_dim = args[mask_at], in_dims[mask_at]
            if mask.shape[1 if mask_dim == 0 else 0] != batch:  # the samples' masks were broadcast
                results[3] = results[3].sum(1, keepdim=True)
        return tuple(results), (0,) * len(results)

    return rule


def _fold_samples(tensor: Tensor | None, in_dim: int | None, samples: int, batch: int) -> Tensor | None:
    """[samples * batch, ...] from a tensor [batch or 1, ...] with or without a mapped dimension."""
    if tensor is None:
        return None
    tensor = tensor.unsqueeze(0) if in_dim is None else tensor.movedim(in_dim, 0)
    return tensor.expand(samples, batch, *tensor.shape[2:]).flatten(0, 1)


def _flops(part: Part, args: tuple[Any, ...]) -> int:
    """All scores count, as in torch's attention, also those that a mask or a window forbids."""
    (B, H, T, D), (*_, S, _), (*_, Dv) = args[2:5] if part == "backward" else args[:3]
    # Backward computes the scores again, and the gradients of weights, values, queries and keys.
    return 2 * B * H * T * S * (3 * D + 2 * Dv if part == "backward" else D + Dv)


_TENSORS = Call._fields[:8]

_operator = Operator(
    Spec(
        name="scaled_dot_product_attention",
        tensors="Tensor query, Tensor key, Tensor value, Tensor? attn_mask, Tensor? key_padding_mask, "
        "Tensor? lengths, Tensor? alibi_slopes, Tensor? seed",
        options="float dropout_p, bool is_causal, float? scale, SymInt query_start, SymInt window_left, "
        "SymInt window_right, float softcap, str return_weights",
        results="Tensor output, Tensor weights",
        saved="Tensor statistics",  # of each query's softmax: what it took off the scores, and the sum
        saved_results=(0, 2),
        differentiable=(0, 1, 2, 3),
        devices=("cpu", "cuda"),
        unfit=_unfit,
        autocasts=True,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        vmap=_vmap,
        flops=_flops,
    )
)


def _attend(options: SelfAttention, packed: Tensor) -> Tensor:
    """Self-attention on a packed projection, by the operator."""
    heads = packed.unflatten(-1, (3, options.heads, -1))
    heads = heads.unsqueeze(1) if packed.dim() == 2 else heads
    batch_first = options.batch_first and packed.dim() == 3
    order = (0, 2, 1, 3) if batch_first else (1, 2, 0, 3)
    q, k, v = (part.permute(order) for part in heads.unbind(-3))
    output: Any = scaled_dot_product_attention(
        q,
        k,
        v,
        is_causal=options.causal,
        scale=options.scale,
        window=(options.window_left, options.window_right),
        alibi_slopes=options.slopes,
    )
    merged = output.permute((0, 2, 1, 3) if batch_first else (2, 0, 1, 3)).flatten(-2)
    return merged.squeeze(1) if packed.dim() == 2 else merged


#: Self-attention on packed projections of a few tokens, or None where it takes the operator.
eager_self_attention = EagerSelfAttention(_attend)
