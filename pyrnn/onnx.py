"""Our operators in ONNX, for `torch.onnx.export(..., dynamo=True)`.

    table = pyrnn.onnx.translation_table()
    torch.onnx.export(model.eval(), args, "model.onnx", dynamo=True, custom_translation_table=table)

RNN, GRU and LSTM become ONNX's operators of these names, attention its products and a softmax. What ONNX
cannot say is refused in words. Needs the packages onnx and onnxscript (`pip install 'pyrnn[onnx]'`). The
older exporter (`dynamo=False`) knows torch's layers alone: `pyrnn.restore(model)` first.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch

import pyrnn.ops  # noqa: F401  registers the operators

_INT32, _INT64, _BOOL = 6, 7, 9  # of onnx.TensorProto

#: ONNX's order of the gates, as positions among ours: LSTM i, f, g, o to i, o, f, c; GRU r, z, n to z, r, h.
_GATES = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2), "rnn_tanh": (0,), "rnn_relu": (0,)}


def translation_table() -> dict[Callable[..., Any], Callable[..., Any]]:
    """What `torch.onnx.export` takes as `custom_translation_table`: a function of ONNX for each operator.

    Raises:
        ImportError: onnxscript is not installed.

    Example:
        >>> import pyrnn.onnx
        >>> sorted(operator.name() for operator in pyrnn.onnx.translation_table())
        ['pyrnn::recurrent', 'pyrnn::scaled_dot_product_attention']
    """
    _opset()
    return {
        torch.ops.pyrnn.recurrent.default: _recurrent,
        torch.ops.pyrnn.scaled_dot_product_attention.default: _attention,
    }


def _opset() -> Any:
    """ONNX's operators as functions; without their types, which know nothing of tensors of a graph."""
    try:
        from onnxscript import opset18
    except ImportError as error:
        raise ImportError(
            "translating to ONNX needs the packages onnx and onnxscript: pip install 'pyrnn[onnx]'"
        ) from error
    return opset18


def _refuse(what: str) -> None:
    raise ValueError(f"pyrnn.onnx: ONNX's operators have no {what}")


def _recurrent(
    input: Any,
    h0: Any,
    c0: Any,
    lengths: Any,
    batch_sizes: Any,
    reset: Any,
    w_ih: Any,
    w_hh: Any,
    b_ih: Any,
    b_hh: Any,
    w_hr: Any,
    w_ih_reverse: Any,
    w_hh_reverse: Any,
    b_ih_reverse: Any,
    b_hh_reverse: Any,
    w_hr_reverse: Any,
    cell: str,
    batch_first: bool,
    return_cells: bool,
    checkpoint_every: int,
) -> tuple[Any, ...]:
    op = _opset()

    if batch_sizes is not None:
        _refuse("packed sequences: export the padded tensor with lengths")
    if reset is not None:
        _refuse("reset of the state inside a sequence (reset): export single steps, and the zeros outside")
    if w_hr is not None:
        _refuse("projection (proj_size)")
    if return_cells:
        _refuse("cell states of every step (return_cells)")
    order, H = _GATES[cell], w_hh.shape[1]

    def in_order(weight: Any) -> Any:
        gates = [op.Slice(weight, _ints(n * H), _ints(n * H + H)) for n in order]
        return op.Concat(*gates, axis=0)

    def of_directions(*tensors: Any) -> Any:
        """The tensors of one or both directions as one with a dimension in front."""
        given = [tensor for tensor in tensors if tensor is not None]
        return op.Concat(*(op.Unsqueeze(tensor, _ints(0)) for tensor in given), axis=0)

    w = of_directions(*(None if t is None else in_order(t) for t in (w_ih, w_ih_reverse)))
    r = of_directions(*(None if t is None else in_order(t) for t in (w_hh, w_hh_reverse)))
    b = None
    if b_ih is not None:
        pairs = ((b_ih, b_hh), (b_ih_reverse, b_hh_reverse))
        b = of_directions(
            *(None if i is None else op.Concat(in_order(i), in_order(h), axis=0) for i, h in pairs)
        )
    x = op.Transpose(input, perm=[1, 0, 2]) if batch_first else input
    steps = None if lengths is None else op.Cast(lengths, to=_INT32)
    options = {
        "hidden_size": H,
        "direction": "forward" if w_ih_reverse is None else "bidirectional",
    }
    if cell == "lstm":
        y, h_n, c_n = op.LSTM(x, w, r, b, steps, h0, c0, **options)
    elif cell == "gru":
        y, h_n = op.GRU(x, w, r, b, steps, h0, linear_before_reset=1, **options)
    else:
        activation = "Tanh" if cell == "rnn_tanh" else "Relu"
        directions = 1 if w_ih_reverse is None else 2
        y, h_n = op.RNN(x, w, r, b, steps, h0, activations=[activation] * directions, **options)
    nothing = op.CastLike(op.ConstantOfShape(_ints(0)), input)
    # ONNX gives [T, D, B, H].
    y = op.Transpose(y, perm=[2, 0, 1, 3] if batch_first else [0, 2, 1, 3])
    output = op.Reshape(y, _ints(0, 0, -1))
    return output, h_n, c_n if cell == "lstm" else nothing, nothing


def _attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any,
    key_padding_mask: Any,
    lengths: Any,
    alibi_slopes: Any,
    seed: Any,
    dropout_p: float,
    is_causal: bool,
    scale: float | None,
    query_start: int,
    window_left: int,
    window_right: int,
    softcap: float,
    return_weights: str,
) -> tuple[Any, ...]:
    op = _opset()

    if dropout_p > 0:
        _refuse("dropout by a seed: export the model in evaluation, model.eval()")
    i, j = _positions(query, key, query_start)
    rules = _rules(i, j, attn_mask, key_padding_mask, lengths, is_causal, window_left, window_right)

    def like(number: float) -> Any:
        return op.CastLike(op.Constant(value_float=number), query)

    factor = like(query.shape[3] ** -0.5 if scale is None else scale)
    keys = op.Transpose(_spread(key, query.shape[1]), perm=[0, 1, 3, 2])
    scores = op.MatMul(op.Mul(query, factor), keys)
    if softcap > 0:
        scores = op.Mul(op.Tanh(op.Div(scores, like(softcap))), like(softcap))
    if alibi_slopes is not None:
        slopes = op.Unsqueeze(op.CastLike(alibi_slopes, query), _ints(-1, -2))
        scores = op.Sub(scores, op.Mul(slopes, op.CastLike(op.Abs(op.Sub(i, j)), query)))
    if attn_mask is not None and attn_mask.dtype != _BOOL:
        scores = op.Add(scores, attn_mask)
    if rules:
        visible = reduce(op.And, rules)
        # A query that sees no key is given equal scores, for a softmax of -inf alone is NaN, and gets zeros.
        sees = op.Greater(op.ReduceMax(op.CastLike(visible, query), _ints(-1), keepdims=1), like(0.0))
        hidden = op.Where(sees, like(-torch.inf), like(0.0))
        weights = op.Where(visible, op.Softmax(op.Where(visible, scores, hidden), axis=-1), like(0.0))
    else:
        weights = op.Softmax(scores, axis=-1)
    output = op.MatMul(weights, _spread(value, query.shape[1]))
    if return_weights == "none":
        told = op.CastLike(op.ConstantOfShape(_ints(0)), query)
    else:
        told = weights if return_weights == "full" else op.ReduceMean(weights, _ints(1), keepdims=0)
    return output, told


def _positions(query: Any, key: Any, query_start: int) -> tuple[Any, Any]:
    """Where queries [T, 1] and keys [1, S] stand."""
    op = _opset()

    def count(tensor: Any) -> Any:
        size = op.Squeeze(op.Shape(tensor, start=2, end=3))
        return op.Range(op.Constant(value_int=0), size, op.Constant(value_int=1))

    i = op.Add(op.Unsqueeze(count(query), _ints(1)), op.Constant(value_int=query_start))
    return i, op.Unsqueeze(count(key), _ints(0))


def _rules(
    i: Any,
    j: Any,
    attn_mask: Any,
    key_padding_mask: Any,
    lengths: Any,
    is_causal: bool,
    window_left: int,
    window_right: int,
) -> list[Any]:
    """Which keys a query sees, broadcastable to [B, H, T, S]: those that all rules allow."""
    op = _opset()

    rules = []
    if is_causal:
        rules.append(op.LessOrEqual(j, i))
    if window_left >= 0:
        rules.append(op.GreaterOrEqual(j, op.Sub(i, op.Constant(value_int=window_left))))
    if window_right >= 0:
        rules.append(op.LessOrEqual(j, op.Add(i, op.Constant(value_int=window_right))))
    if lengths is not None:
        rules.append(op.Less(j, op.Unsqueeze(op.Cast(lengths, to=_INT64), _ints(1, 2, 3))))
    if key_padding_mask is not None:
        rules.append(op.Not(op.Unsqueeze(key_padding_mask, _ints(1, 2))))
    if attn_mask is not None:
        least = op.CastLike(op.Constant(value_float=-torch.inf), attn_mask)
        rules.append(attn_mask if attn_mask.dtype == _BOOL else op.Greater(attn_mask, least))
    return rules


def _spread(heads: Any, H: int) -> Any:
    """Keys or values [B, K, S, D] for the H heads of the queries."""
    op = _opset()

    K = heads.shape[1]
    if H == K:
        return heads
    size = op.Shape(heads)
    repeated = op.Expand(op.Unsqueeze(heads, _ints(2)), _ints(1, 1, H // K, 1, 1))
    batch, rest = op.Slice(size, _ints(0), _ints(1)), op.Slice(size, _ints(2), _ints(4))
    return op.Reshape(repeated, op.Concat(batch, _ints(H), rest, axis=0))


def _ints(*values: int) -> Any:
    op = _opset()

    return op.Constant(value_ints=list(values))
