"""Tensors that reach beyond their storage are refused before a kernel reads there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import pyrnn
from pyrnn._native_args import contiguous, extent_of, number_of, require_storage, storage_address
from pyrnn.ops import dropout, recurrent, scaled_dot_product_attention
from tests.helpers import make_layer, run_forked
from tests.ops.kinds import TOO_LITTLE_MEMORY

Call = Callable[..., Any]
T, B, H = 4, 3, 40  # large enough that what lies behind a storage is not the same page

FLOATS = {
    "input": (T, B, 3),
    "h0": (2, B, H),
    "c0": (2, B, H),
    "w_ih": (4 * H, 3),
    "w_hh": (4 * H, H),
    "b_hh": (4 * H,),
}


def lstm(changed: dict[str, Tensor], **options: Any) -> Any:
    layer = make_layer("lstm", T=T, B=B, I=3, H=H, D=2, dtype=torch.float32)
    group = dict(zip(("w_ih", "w_hh", "b_ih", "b_hh", "w_hr"), layer.weights[0], strict=True))
    group |= {name: tensor for name, tensor in changed.items() if name in group}
    data = {"input": layer.input, "h0": layer.h0, "c0": layer.c0} | {
        name: tensor for name, tensor in changed.items() if name not in group
    }
    return recurrent("lstm", weights=(tuple(group.values()), layer.weights[1]), **data, **options)


def attention(changed: dict[str, Tensor], **options: Any) -> Any:
    call = {name: torch.randn(2, 2, n, 64) for name, n in (("query", 5), ("key", 70), ("value", 70))}
    return scaled_dot_product_attention(**{**call, **changed}, **options)


def backward(result: Tensor, bad: Callable[[Tensor], Tensor]) -> None:
    result.backward(bad(torch.ones_like(result)))


CALLS: dict[str, Callable[[Callable[[Tensor], Tensor]], Any]] = {
    **{
        f"lstm {name}": lambda bad, name=name, shape=shape: lstm({name: bad(torch.zeros(shape))})
        for name, shape in FLOATS.items()
    },
    **{
        f"trained lstm {name}": lambda bad, name=name, shape=shape: lstm(
            {name: bad(torch.zeros(shape)).requires_grad_()}
        )
        for name, shape in FLOATS.items()
    },
    "lstm lengths": lambda bad: lstm({}, lengths=bad(torch.ones(B, dtype=torch.int64))),
    "lstm int32 lengths": lambda bad: lstm({}, lengths=bad(torch.ones(B, dtype=torch.int32))),
    "lstm reset": lambda bad: lstm({}, reset=bad(torch.zeros(T, B, dtype=torch.bool))),
    "lstm batch_sizes": lambda bad: lstm(
        {"input": torch.zeros(T * B, 3)}, batch_sizes=bad(torch.full((T,), B))
    ),
    "lstm of no steps": lambda bad: lstm({"input": torch.zeros(0, B, 3), "h0": bad(torch.zeros(2, B, H))}),
    "lengths in float16": lambda bad: recurrent(
        "rnn_relu", torch.zeros(T, 600, 3).half(), None, None,
        ((torch.zeros(H, 3).half(), torch.zeros(H, H).half(), None, None, None),),
        lengths=bad(torch.ones(600, dtype=torch.int64)),
    ),
    "lstm in float16": lambda bad: recurrent(
        "rnn_relu", torch.zeros(T, B, 3).half(), None, None,
        ((bad(torch.zeros(H, 3).half()), torch.zeros(H, H).half(), None, None, None),),
    ),
    "gradient of an lstm": lambda bad: backward(
        lstm({"input": torch.zeros(T, B, 3).requires_grad_()}).output, bad
    ),
    **{
        f"attention {name}": lambda bad, name=name, n=n: attention({name: bad(torch.zeros(2, 2, n, 64))})
        for name, n in (("query", 5), ("key", 70), ("value", 70))
    },
    "trained attention": lambda bad: attention({"key": bad(torch.zeros(2, 2, 70, 64)).requires_grad_()}),
    "attention in float16": lambda bad: attention(
        {
            "query": torch.zeros(2, 2, 5, 64).half(),
            "key": bad(torch.zeros(2, 2, 70, 64).half()),
            "value": torch.zeros(2, 2, 70, 64).half(),
        }
    ),
    "mask": lambda bad: attention({}, attn_mask=bad(torch.zeros(2, 2, 5, 70))),
    "bool mask": lambda bad: attention({}, attn_mask=bad(torch.ones(2, 2, 5, 70).bool())),
    "padding": lambda bad: attention({}, key_padding_mask=bad(torch.zeros(2, 70).bool())),
    "slopes": lambda bad: attention({}, alibi_slopes=bad(torch.zeros(2, 2))),
    "attention lengths": lambda bad: attention({}, lengths=bad(torch.full((2,), 3))),
    "gradient of attention": lambda bad: backward(
        attention({"query": torch.zeros(2, 2, 5, 64).requires_grad_()}), bad
    ),
    "gradient of weights": lambda bad: backward(
        attention({"query": torch.zeros(2, 2, 5, 64).requires_grad_()}, return_weights="mean")[1], bad
    ),
    "dropout": lambda bad: dropout(bad(torch.ones(5000))),
    "activation": lambda bad: dropout(bad(torch.ones(5000)), 0.0, activation="gelu"),
    "residual": lambda bad: dropout(torch.ones(5000), residual=bad(torch.ones(5000))),
    "residual of another type": lambda bad: dropout(torch.ones(9).double(), residual=bad(torch.ones(9))),
    "dropout in float16": lambda bad: dropout(bad(torch.ones(5000).half())),
    "gradient of dropout": lambda bad: backward(dropout(torch.ones(5000).requires_grad_()), bad),
}  # fmt: skip


def autocasting(call: Callable[..., Any]) -> Callable[..., Any]:
    def under_autocast(bad: Callable[[Tensor], Tensor]) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return call(bad)

    return under_autocast


CALLS |= {f"{name} under autocast": autocasting(CALLS[name]) for name in (
    "lstm input", "trained lstm w_hh", "attention value", "trained attention", "mask",
)}  # fmt: skip


def refuse_all(kind: str) -> None:
    for call in CALLS.values():
        with pytest.raises(ValueError, match="memory behind it"):
            call(TOO_LITTLE_MEMORY[kind])


@pytest.mark.parametrize("kind", TOO_LITTLE_MEMORY)
def test_every_argument_has_the_memory_that_it_reaches(kind: str) -> None:
    run_forked(refuse_all, kind, seconds=100)


def test_a_weight_of_a_layer_that_was_shrunk() -> None:
    run_forked(_shrink_weights, seconds=100)


def _shrink_weights() -> None:
    for layer, arguments in (
        (pyrnn.LSTM(3, 64, proj_size=32), (torch.zeros(5, 2, 3),)),
        (pyrnn.GRU(3, 64, bidirectional=True), (torch.zeros(5, 2, 3),)),
        (pyrnn.RNNCell(3, 64), (torch.zeros(2, 3),)),
    ):
        for weight in layer.parameters():
            size = weight.untyped_storage().nbytes()
            weight.untyped_storage().resize_(16)
            with pytest.raises(ValueError, match="its storage, which holds 16"):
                layer(*arguments)
            weight.untyped_storage().resize_(size)


# ---- what is legal -------------------------------------------------------------------------------


def test_views_that_stay_within_their_storage() -> None:
    memory = torch.randn(2, 3, 100, dtype=torch.float64)
    for view in (
        memory,
        memory[1:, 1:, 7:],
        memory[:, :, ::9],
        memory.mT,
        memory[1, 2, 99:],
        memory[:1, :, :1].expand(2, 3, 50),
        memory[0, 0, :0],
        memory[2:],
        memory[1, 2, 99],
        memory.as_strided((20, 20), (1, 1)),
        memory.view(torch.int32),
        memory.bool()[1, :, 3:],
    ):
        assert require_storage(view) is view
        assert contiguous(view).is_contiguous()
        assert torch.equal(contiguous(view), view)
        assert storage_address(view, extent_of(view)) == (view.data_ptr() if view.numel() else 0)


def test_reach_ends_behind_the_last_number() -> None:
    memory = torch.zeros(10, 10)
    assert extent_of(memory) == 400
    assert extent_of(memory[3:5, 2:7]) == (1 * 10 + 4 + 1) * 4
    assert extent_of(memory[:0]) == extent_of(memory[:, :0]) == 0
    assert extent_of(memory[:1].expand(7, 10)) == 40
    assert extent_of(torch.zeros(())) == 4


def test_a_number_of_a_scalar() -> None:
    assert number_of(torch.tensor([5, -7])[1]) == -7
    seed = torch.tensor(3)
    seed.untyped_storage().resize_(0)
    with pytest.raises(ValueError, match="no memory behind it"):
        number_of(seed)
