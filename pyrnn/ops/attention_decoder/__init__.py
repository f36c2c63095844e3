"""A recurrent decoder with attention over a source: the public operator, its kernels, and its route."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from pyrnn import reference
from pyrnn._checks import as_bool, as_number, check_like
from pyrnn._dispatch import autocast_disabled
from pyrnn._native_args import accumulation_dtype, require_readable_storage
from pyrnn.ops._operator import Operator, Part, Route, Spec
from pyrnn.ops.attention_decoder import cpu
from pyrnn.ops.attention_decoder.call import (
    Call,
    cell_of,
    empty_gradients,
    empty_results,
    workspace_shapes,
)
from pyrnn.ops.attention_decoder.eager import small_call
from pyrnn.reference import DecoderOutput


def attention_decoder(
    input: Tensor,
    h_0: Tensor,
    c_0: Tensor | None,
    context_0: Tensor,
    keys: Tensor,
    values: Tensor,
    weight_hh: Tensor,
    bias_hh: Tensor | None = None,
    weight_context: Tensor | None = None,
    weight_query: Tensor | None = None,
    score_weight: Tensor | None = None,
    weight_location: Tensor | None = None,
    alignment_0: Tensor | None = None,
    *,
    cell: str = "lstm",
    nonlinearity: str = "tanh",
    scale: float = 1.0,
    cumulative: bool = False,
    source_lengths: Tensor | None = None,
    lengths: Tensor | None = None,
) -> DecoderOutput:
    """Run a recurrent decoder that attends to a source at every step, over a whole target.

    With x the input, m the context, and the equations of the cells in `pyrnn.ops.recurrent`, where x_t +
    W_ctx m_{t-1} stands for W_ih x + b_ih, for t = 1 .. T:

    - h_t, c_t = cell(x_t + W_ctx m_{t-1}, W_hh h_{t-1} + b_hh, c_{t-1})
    - q_t = W_q h_t, or h_t without weight_query
    - e_ts = scale * q_t . k_s, or with score_weight u
      e_ts = u . tanh(q_t + k_s + sum_j W_loc[:, j] a_{t-1, s + j - W // 2}), where a is 0 outside the source
    - w_t = softmax over s < source_length of e_t; 0 for the others
    - m_t = sum_s w_ts v_s
    - a_t = w_t, or a_{t-1} + w_t if `cumulative`

    A source of length 0 gives weights and a context of 0. Whatever stands behind a length, NaN included,
    reaches neither results nor derivatives. One step after another, each with the states that the one before
    returned, gives the numbers of the whole sequence: a search calls it with T = 1.

    Derivatives: the kernels compute the first; the second and higher ones, and forward-mode ones,
    differentiate `pyrnn.reference.attention_decoder`. `attention_decoder_route` says which of the two
    computes a call.

    Args:
        input: [T, B, G*H], the gates' part by the input, W_ih y_t + b_ih: one product for all steps, which
            the caller makes. G = 1, 3, 4 for rnn, gru, lstm, gates in torch's order. Any other dtype or
            device than those of the CPU kernels takes the reference.
        h_0: [B, H], the state before the first step.
        c_0: [B, H] for "lstm", else None.
        context_0: [B, V], the context that the first step sees.
        keys: [S, B, A].
        values: [S, B, V].
        weight_hh: [G*H, H].
        bias_hh: [G*H]. In the GRU it is inside what the reset gate multiplies.
        weight_context: [G*H, V]; None: the cell does not see the context.
        weight_query: [A, H]; None: the query is the state itself, A = H.
        score_weight: [A], for the additive score; None: the score is a dot product.
        weight_location: [A, W], W odd: a filter over the weights so far. With the additive score alone.
        alignment_0: [B, S], what the filter sees in the first step; None for zeros.
        cell: "rnn", "gru" or "lstm".
        nonlinearity: "tanh" or "relu", of the cell "rnn".
        scale: of the dot products.
        cumulative: the filter sees the sum of the weights of all steps so far, not those of the last one.
        source_lengths: [B] int32 or int64 in [0, S], in any order, on the CPU or where the input is.
        lengths: [B] likewise in [0, T]: from there on output, context and weights are 0, and the final states
            are those of the last step before.

    Returns:
        output [T, B, H], context [T, B, V], weights [T, B, S], h_n [B, H], c_n [B, H] or None, and
        alignment_n [B, S], the alignment_0 of a call that goes on.

    Raises:
        TypeError: a tensor is none or is not dense; the input is not floating point; lengths are not
            integers; an option has another type.
        ValueError: a shape, dtype, device, length or option does not fit the others, or the storage of a
            tensor does not hold all of it.

    Source: Bahdanau et al., Neural Machine Translation by Jointly Learning to Align and Translate (2015), the
    additive score. Luong et al., Effective Approaches to Attention-based Neural Machine Translation (2015),
    eq. 7, the dot products and the context that is fed back. Chorowski et al., Attention-Based Models for
    Speech Recognition (2015), eq. 8-9, the location filter. See et al., Get To The Point (2017), eq. 10-11,
    coverage: a filter of width 1 over the sum.

    Example:
        >>> import torch
        >>> from pyrnn.ops import attention_decoder
        >>> source, h = torch.randn(7, 2, 8), torch.zeros(2, 8)
        >>> w_hh, w_context = torch.randn(24, 8), torch.randn(24, 8)
        >>> out = attention_decoder(
        ...     torch.randn(5, 2, 24), h, None, h, source, source, w_hh, None, w_context,
        ...     cell="gru", source_lengths=torch.tensor([7, 3]))
        >>> out.output.shape, out.weights.shape, out.weights[0, 1, 3:]
        (torch.Size([5, 2, 8]), torch.Size([5, 2, 7]), tensor([0., 0., 0., 0.]))
    """
    name = cell_of(cell, nonlinearity)
    if type(scale) is not float:
        scale = as_number("scale", scale)
    if type(cumulative) is not bool:
        cumulative = as_bool("cumulative", cumulative)
    tensors = (input, h_0, c_0, context_0, keys, values, weight_hh, bias_hh, weight_context, weight_query)
    tensors = (*tensors, score_weight, weight_location, alignment_0, source_lengths, lengths)
    found = small_call(tensors, name, scale, cumulative=cumulative)
    if not isinstance(found, str):
        return DecoderOutput._make(found)
    output, context, weights, h_n, c_n, alignment_n = _operator(*tensors, name, scale, cumulative)
    return DecoderOutput(output, context, weights, h_n, c_n if name == "lstm" else None, alignment_n)


def attention_decoder_route(input: Tensor) -> Route:
    """Who computes `attention_decoder` for this input, under the transforms and autocast active now.

    A compiled function decides when it is traced, in the same way.

    Example:
        >>> import torch
        >>> from pyrnn.ops import attention_decoder_route
        >>> attention_decoder_route(torch.zeros(1, 1, 1, dtype=torch.float16)).path
        'reference'
    """
    return _operator.route(input)


# -------------------------------------------------------------------------------------------- kernels


def _infer(*args: Any) -> tuple[Tensor, ...]:
    call = Call.for_kernels(*args)
    return cpu.forward(call, call.problem(), train=False)[:6]


def _forward(*args: Any) -> tuple[Tensor, ...]:
    call = Call.for_kernels(*args)
    return cpu.forward(call, call.problem(), train=True)


def _backward(*args: Any) -> tuple[Tensor, ...]:
    call, kept = Call.for_kernels(*_arguments(args)), args[21:26]
    p = call.problem()
    input, gates, queries = call.input, *workspace_shapes(p, has_query=call.weight_query is not None)
    results = dict(zip(DecoderOutput._fields, p.result_shapes, strict=True))
    sums = accumulation_dtype(input.dtype)
    for name, tensor, shape, dtype in (
        *((name, kept[n], results[name], input.dtype) for n, name in enumerate(DecoderOutput._fields[:3])),
        ("gates", kept[3], gates, sums),
        ("queries", kept[4], queries, sums),
    ):
        check_like(name, tensor, shape, dtype, input, "input", f"that of the forward's {name}")
    for name, grad in zip(DecoderOutput._fields, args[:6], strict=True):
        if grad is not None:
            label, meaning = f"the gradient of {name}", "that of its tensor"
            check_like(label, grad, results[name], input.dtype, input, "input", meaning)
    return tuple(cpu.backward(call, p, args[:6], kept, needs=args[29]))


def _arguments(args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Those of the call among the arguments of its backward pass."""
    return (*args[6:21], *args[26:29])


def _reference(*args: Any) -> tuple[Tensor | None, ...]:
    call = Call._make(args)
    call.problem()
    require_readable_storage(call[:15])
    with autocast_disabled(call.input.device.type):
        found = reference.attention_decoder(
            call.cell,
            *call[:13],
            source_lengths=call.source_lengths,
            lengths=call.lengths,
            scale=call.scale,
            cumulative=call.cumulative,
        )
    c_n = call.input.new_zeros(0) if found.c_n is None else found.c_n
    return tuple(found._replace(c_n=c_n))


def _fake_forward(*args: Any) -> tuple[Tensor, ...]:
    call = Call._make(args)
    return empty_results(call, call.problem(), train=True)


def _fake_backward(*args: Any) -> tuple[Tensor, ...]:
    return tuple(empty_gradients(Call._make(_arguments(args)), args[29]))


def _flops(part: Part, args: tuple[Any, ...]) -> int:
    """Padding counts, as in torch's products: the shapes do not tell the lengths."""
    call: Any = Call._make(_arguments(args) if part == "backward" else args)
    # Shapes stand for tensors here.
    (T, B, _), (S, _, A), (_, _, V) = call.input, call.keys, call.values
    weights = (call.weight_hh, call.weight_context, call.weight_query)
    row = sum(math.prod(weight) for weight in weights if weight is not None)
    row += S * ((A if call.score_weight is None else 0) + V)
    return 2 * T * B * row * (2 if part == "backward" else 1)  # of both factors


_operator = Operator(
    Spec(
        name="attention_decoder",
        tensors="Tensor input, Tensor h_0, Tensor? c_0, Tensor context_0, Tensor keys, Tensor values, "
        "Tensor weight_hh, Tensor? bias_hh, Tensor? weight_context, Tensor? weight_query, "
        "Tensor? score_weight, Tensor? weight_location, Tensor? alignment_0, Tensor? source_lengths, "
        "Tensor? lengths",
        options="str cell, float scale, bool cumulative",
        results="Tensor output, Tensor context, Tensor weights, Tensor h_n, Tensor c_n, Tensor alignment_n",
        saved="Tensor gates, Tensor queries",
        saved_results=(0, 1, 2, 6, 7),
        differentiable=tuple(range(13)),  # all but the lengths
        devices=("cpu",),
        autocasts=True,
        infer=_infer,
        forward=_forward,
        backward=_backward,
        reference=_reference,
        fake_forward=_fake_forward,
        fake_backward=_fake_backward,
        flops=_flops,
    )
)
