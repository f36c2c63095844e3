"""Which calls of attention are refused, and with which words."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn.ops import scaled_dot_product_attention
from tests.attention.cases import Calls, operands

Q, K, V = operands(B=2, H=4, T=5, S=7, D=4, V=4, dtype=torch.float32)

BAD_CALLS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "integer query": ({"query": Q.long()}, TypeError, "floating point tensor, got torch.int64"),
    "query of one dimension": ({"query": Q[0, 0, 0]}, ValueError, r"query must have shape \[\.\.\., heads"),
    "key without heads": ({"key": K[0, 0]}, ValueError, r"key must have shape \[\.\.\., heads"),
    "heads beside a query without": ({"query": Q[0, 0]}, ValueError, "as the query has no heads"),
    "features of key": ({"key": K[..., :3]}, ValueError, r"key must have shape \[2, 4, 7, 4\], got"),
    "keys of value": ({"value": V[:, :, :6]}, ValueError, r"value must have shape \[2, 4, 7, 4\]"),
    "heads of value": ({"value": V[:, :2]}, ValueError, r"value must have shape \[2, 4, 7, 4\]"),
    "batch": ({"key": K[:1].expand(3, 4, 7, 4)}, ValueError, r"must broadcast, got \[2\], \[3\], \[2\]"),
    "fewer heads": ({"key": K[:, :2], "value": V[:, :2]}, ValueError, "set enable_gqa=True"),
    "heads no multiple": ({"key": K[:, :3], "value": V[:, :3], "enable_gqa": True}, ValueError,
                          "multiple of those of key and value, got H = 4 and K = 3"),
    "no features": ({"query": Q[..., :0], "key": K[..., :0]}, ValueError, "D = 0 and V = 4"),
    "dtype of key": ({"key": K.double()}, ValueError, "query and key are not the same dtype"),
    "device of value": ({"value": V.to("meta")}, ValueError, "not at the same device"),
    "mask of integers": ({"attn_mask": torch.ones(5, 7).long()}, TypeError, "or of the query's dtype"),
    "mask of another dtype": ({"attn_mask": torch.ones(5, 7).double()}, TypeError, "got torch.float64"),
    "shape of mask": ({"attn_mask": torch.ones(5, 6)}, ValueError, r"\[2, 4, 5, 7\] or 1 in any place"),
    "batch of mask": ({"attn_mask": torch.ones(3, 1, 5, 7)}, ValueError, "attn_mask .* must broadcast"),
    "rank of mask": ({"attn_mask": torch.ones(1, 1, 1, 5, 7)}, ValueError, "attn_mask .* must broadcast"),
    "device of mask": ({"attn_mask": torch.ones(5, 7, device="meta")}, ValueError, "same device"),
    "float padding": ({"key_padding_mask": torch.zeros(2, 7)}, TypeError, "key_padding_mask must be bool"),
    "keys of padding": ({"key_padding_mask": torch.zeros(2, 6).bool()}, ValueError, r"\[2, 7\], got \[2, 6"),
    "batch of padding": ({"key_padding_mask": torch.zeros(3, 7).bool()}, ValueError, "must broadcast"),
    "float lengths": ({"lengths": torch.tensor([1.0, 2.0])}, TypeError, "lengths must be int32 or int64"),
    "count of lengths": ({"lengths": torch.tensor([1, 2, 3])}, ValueError, "lengths .* must broadcast"),
    "negative length": ({"lengths": torch.tensor([1, -1])}, ValueError, "S = 7, got values from -1 to 1"),
    "long length": ({"lengths": torch.tensor([1, 8])}, ValueError, "from 1 to 8"),
    "slopes of another dtype": ({"alibi_slopes": torch.ones(4).double()}, ValueError, "expected torch.fl"),
    "count of slopes": ({"alibi_slopes": torch.ones(3)}, ValueError, r"slopes must have shape \[1, 4\]"),
    "negative probability": ({"dropout_p": -0.1}, ValueError, r"probability in \[0, 1\], got -0.1"),
    "large probability": ({"dropout_p": 1.5}, ValueError, "got 1.5"),
    "negative softcap": ({"softcap": -1.0}, ValueError, "softcap must be 0"),
    "softcap beyond float32": ({"softcap": 1e308}, ValueError, r"in \[1e-30, 1e30\]; got 1e\+308"),
    "softcap below float32": ({"softcap": 1e-60}, ValueError, r"in \[1e-30, 1e30\]; got 1e-60"),
    "softcap that is no number": ({"softcap": math.nan}, ValueError, r"in \[1e-30, 1e30\]; got nan"),
    "infinite scale": ({"scale": math.inf}, ValueError, r"scale must lie in \[-1e30, 1e30\]"),
    "scale beyond float32": ({"scale": -1e308}, ValueError, r"or be None for D \*\* -0.5; got -1e\+308"),
    "unknown weights": ({"return_weights": "some"}, ValueError, "got 'some'"),
    "seed of floats": ({"seed": torch.tensor(1.0), "dropout_p": 0.1}, TypeError, "int64 scalar"),
    "seed with a dimension": ({"seed": torch.tensor([1]), "dropout_p": 0.1}, ValueError, r"of shape \[1\]"),
    "window of one number": ({"window": (3,)}, ValueError, r"window must be \(left, right\)"),
}  # fmt: skip


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_calls_have_words(name: str, requires_grad: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    changed, error, words = BAD_CALLS[name]
    call: dict[str, Any] = {"query": Q, "key": K, "value": V, **changed}
    if requires_grad and call["query"].is_floating_point():
        call["query"] = call["query"].clone().requires_grad_()
    with pytest.raises(error, match=words):
        scaled_dot_product_attention(**call)
    assert calls.counts == (0, 0)


def test_freed_storage_is_noticed() -> None:
    key = K.clone()
    key.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="no memory behind it"):
        scaled_dot_product_attention(Q, key, V)


def test_backward_operator_checks_what_it_is_given() -> None:
    tensors, options = (Q, K, V, *[None] * 5), (0.0, False, None, 0, -1, -1, 0.0, "full")
    out, weights, statistics = torch.ops.pyrnn._scaled_dot_product_attention_fwd(*tensors, *options)

    def backward(g_out: Tensor, g_weights: Tensor, out: Tensor, statistics: Tensor) -> Any:
        return torch.ops.pyrnn._scaled_dot_product_attention_bwd(
            g_out, g_weights, *tensors, out, statistics, *options, [True, True, True, False]
        )

    with pytest.raises(ValueError, match="gradient of output must have shape"):
        backward(out[1:], weights, out, statistics)
    with pytest.raises(ValueError, match="gradient of weights must have shape"):
        backward(out, weights[1:], out, statistics)
    with pytest.raises(ValueError, match="forward's output must have shape"):
        backward(out, weights, out[1:], statistics)
    with pytest.raises(ValueError, match="statistics must have shape"):
        backward(out, weights, out, statistics[1:])
    with pytest.raises(ValueError, match="statistics are not the same dtype"):
        backward(out, weights, out, statistics.double())
