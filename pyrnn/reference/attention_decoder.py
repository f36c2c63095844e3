"""A recurrent decoder with attention over a source, one step at a time, straight from the equations.

Used by the tests as the float64 oracle, and by second derivatives, forward-mode differentiation and functorch
transforms, which differentiate it as ordinary torch code. It imports nothing but torch.

Dimension key: T steps, B batch, S source, G gates, H hidden, A features of queries and keys, V features of
values, W width of the location filter.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import linear, pad

from pyrnn.reference.recurrent import update


class DecoderOutput(NamedTuple):
    """What a decoder with attention returns.

    Example:
        >>> import torch
        >>> from pyrnn.ops import attention_decoder
        >>> keys = torch.ones(4, 1, 2)
        >>> x, h, w = torch.zeros(1, 1, 2), torch.zeros(1, 2), torch.eye(2)
        >>> attention_decoder(x, h, None, h, keys, keys, w, cell="rnn").weights
        tensor([[[0.2500, 0.2500, 0.2500, 0.2500]]])
    """

    output: Tensor  # [T, B, H]: h of every step
    context: Tensor  # [T, B, V]
    weights: Tensor  # [T, B, S]
    h_n: Tensor  # [B, H]
    c_n: Tensor | None  # [B, H] for an LSTM, else None
    alignment_n: Tensor  # [B, S]: the last weights, or the sum of all, which the next call begins with


def attention_decoder(
    cell: str,
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
    source_lengths: Tensor | None = None,
    lengths: Tensor | None = None,
    scale: float = 1.0,
    cumulative: bool = False,
) -> DecoderOutput:
    """Run the decoder over a whole target; the equations are those of `pyrnn.ops.attention_decoder`.

    What lies behind a source's length, or a target's, contributes nothing to any result or derivative,
    whatever numbers stand there. 16-bit types are computed in float32 and rounded once.

    Args:
        cell: "rnn_tanh", "rnn_relu", "gru" or "lstm".
        input: [T, B, G*H].
        h_0: [B, H].
        c_0: [B, H], LSTM only.
        context_0: [B, V].
        keys: [S, B, A].
        values: [S, B, V].
        weight_hh: [G*H, H].
        bias_hh: [G*H].
        weight_context: [G*H, V]; None: the cell does not see the context.
        weight_query: [A, H]; None: the query is h, A = H.
        score_weight: [A] of the additive score; None: the score is a dot product.
        weight_location: [A, W], W odd, with the additive score alone.
        alignment_0: [B, S]; None for zeros.
        source_lengths: [B] integers in [0, S].
        lengths: [B] integers in [0, T].
        scale: of the dot products.
        cumulative: whether the location filter sees the sum of all weights so far, not the last ones.

    Example:
        >>> import torch
        >>> from pyrnn.reference import attention_decoder
        >>> x, h, keys, values = (torch.randn(*n) for n in ((5, 2, 9), (2, 3), (7, 2, 3), (7, 2, 4)))
        >>> attention_decoder("gru", x, h, None, values[0], keys, values, torch.randn(9, 3)).context.shape
        torch.Size([5, 2, 4])
    """
    dtype = input.dtype
    working = torch.promote_types(dtype, torch.float32)
    input, h, context, keys, values = (t.to(working) for t in (input, h_0, context_0, keys, values))
    weight_hh, c = weight_hh.to(working), None if c_0 is None else c_0.to(working)
    bias_hh, weight_context, weight_query, score_weight, weight_location, alignment = (
        None if t is None else t.to(working)
        for t in (bias_hh, weight_context, weight_query, score_weight, weight_location, alignment_0)
    )
    T, (S, B), H = input.shape[0], keys.shape[:2], h.shape[1]
    source = torch.arange(S, device=keys.device)
    if source_lengths is None:
        visible = torch.ones(B, S, dtype=torch.bool, device=keys.device)
    else:
        visible = source < source_lengths.to(source.device).unsqueeze(-1)
        # Replaced, not only masked afterwards: 0 * NaN is NaN, in the derivatives too.
        keys, values = (torch.where(visible.T.unsqueeze(-1), t, torch.zeros_like(t)) for t in (keys, values))
    if alignment is None:
        alignment = keys.new_zeros(B, S)
    alignment = torch.where(visible, alignment, torch.zeros_like(alignment))
    # A source without any position is given equal scores: softmax of -inf alone is NaN, in derivatives too.
    fill = torch.where(visible.any(-1, keepdim=True), -torch.inf, 0.0).to(working)

    outputs, contexts, rows = [], [], []
    for t in range(T):
        active = None if lengths is None else (lengths.to(h.device) > t).unsqueeze(-1)
        x = input[t] if active is None else torch.where(active, input[t], torch.zeros_like(input[t]))
        if weight_context is not None:
            x = x + linear(context, weight_context)
        h_new, c_new = update(cell, x, linear(h, weight_hh, bias_hh), h, c)
        query = h_new if weight_query is None else linear(h_new, weight_query)
        if score_weight is None:
            scores = scale * torch.einsum("ba,sba->bs", query, keys)
        else:
            terms = query + keys
            if weight_location is not None:
                terms = terms + _filtered(alignment, weight_location)
            scores = (torch.tanh(terms) @ score_weight).T
        found = torch.softmax(torch.where(visible, scores, fill), -1)
        found = torch.where(visible, found, torch.zeros_like(found))
        context_new = torch.einsum("bs,sbv->bv", found, values)
        alignment_new = alignment + found if cumulative else found
        outputs.append(_or_zeros(active, h_new))
        contexts.append(_or_zeros(active, context_new))
        rows.append(_or_zeros(active, found))
        if active is None:
            h, c, context, alignment = h_new, c_new, context_new, alignment_new
        else:
            h, context = torch.where(active, h_new, h), torch.where(active, context_new, context)
            c = None if c is None or c_new is None else torch.where(active, c_new, c)
            alignment = torch.where(active, alignment_new, alignment)

    def joined(steps: list[Tensor], features: int) -> Tensor:
        return (torch.stack(steps) if steps else input.new_zeros(0, B, features)).to(dtype)

    return DecoderOutput(
        joined(outputs, H),
        joined(contexts, values.shape[2]),
        joined(rows, S),
        h.to(dtype),
        None if c is None else c.to(dtype),
        alignment.to(dtype),
    )


def _filtered(alignment: Tensor, weight_location: Tensor) -> Tensor:
    """[S, B, A] from an alignment [B, S], which is 0 outside."""
    width = weight_location.shape[1]
    windows = pad(alignment, (width // 2, width // 2)).unfold(-1, width, 1)  # [B, S, W]
    return linear(windows, weight_location).transpose(0, 1)


def _or_zeros(active: Tensor | None, new: Tensor) -> Tensor:
    return new if active is None else torch.where(active, new, torch.zeros_like(new))
