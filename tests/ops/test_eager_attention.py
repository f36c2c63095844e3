"""Self-attention that is one call of C++: the bits of the operator, and what it leaves to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import pyrnn.nn
from pyrnn import _native
from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.ops.attention import eager_self_attention
from pyrnn.ops.attention.eager import EagerSelfAttention, SelfAttention

DTYPES = (torch.float32, torch.float64, torch.bfloat16)
pytestmark = pytest.mark.skipif(not HAS_EXCHANGE_TABLE, reason="this torch has no exchange table")


class Own(Tensor):
    """A class of somebody else's."""


@pytest.fixture
def attended(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each eager call of self-attention was served, in turn."""
    answers: list[bool] = []
    for name in ("__call__", "cached"):
        call = getattr(EagerSelfAttention, name)

        def note(self: EagerSelfAttention, *args: Any, call: Any = call, **options: Any) -> Any:
            found = call(self, *args, **options)
            answers.append(not isinstance(found, str))
            return found

        monkeypatch.setattr(EagerSelfAttention, name, note)
    return answers


def by_operator(run: Callable[[], list[Tensor]]) -> list[Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EagerSelfAttention, "__call__", lambda *_, **__: "left out")
        patch.setattr(EagerSelfAttention, "cached", lambda *_, **__: "left out")
        return run()


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_self_attention_has_the_bits_of_the_operator(data: st.DataObject) -> None:
    draw = lambda *options: data.draw(st.sampled_from(options))  # noqa: E731
    T, B, H, D = draw(1, 2, 5, 33), draw(1, 3), draw(1, 3), draw(1, 4, 17)
    dtype, batch_first, batched = draw(*DTYPES), draw(True, False), draw(True, False)
    torch.manual_seed(0)
    layer = pyrnn.nn.MultiheadAttention(
        H * D, H, dtype=dtype, batch_first=batch_first, causal=draw(True, False), bias=draw(True, False),
        window=draw(None, (0, 0), (2, 1), (1, 2**70)),
    )  # fmt: skip
    layer.requires_grad_(draw(True, False))
    shape = ((B, T, H * D) if batch_first else (T, B, H * D)) if batched else (T, H * D)
    x = torch.randn(shape, dtype=dtype).requires_grad_(draw(True, False))

    def run() -> list[Tensor]:
        output, _ = layer(x, x, x, need_weights=False)
        leaves = [leaf for leaf in (x, *layer.parameters()) if leaf.requires_grad]
        total = (output * torch.arange(1, output.numel() + 1).view(output.shape).sin()).sum()
        return [output, *(torch.autograd.grad(total, leaves) if leaves else ())]

    for ours, theirs in zip(run(), by_operator(run), strict=True):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_cache_has_the_bits_of_the_operator(data: st.DataObject) -> None:
    draw = lambda *options: data.draw(st.sampled_from(options))  # noqa: E731
    parts = data.draw(st.lists(st.integers(1, 6), min_size=2, max_size=8))
    dtype, batch_first = draw(*DTYPES), draw(True, False)
    torch.manual_seed(0)
    layer = pyrnn.nn.MultiheadAttention(
        12, 3, dtype=dtype, batch_first=batch_first, causal=True, window=draw(None, (3, 0))
    )
    B = draw(1, 2)
    tokens = [torch.randn((B, T, 12) if batch_first else (T, B, 12), dtype=dtype) for T in parts]
    move = draw(True, False)

    def run() -> list[Tensor]:
        cache, outputs = layer.new_cache(), []
        with torch.no_grad():
            for x in tokens:
                outputs.append(layer(x, x, x, need_weights=False, cache=cache)[0])
                if move:
                    cache.reorder(torch.arange(B).flip(0))
        assert cache.position == sum(parts)
        return [*outputs, cache.keys, cache.values]  # type: ignore[list-item]

    for ours, theirs in zip(run(), by_operator(run), strict=True):
        assert torch.equal(ours, theirs)


def test_what_self_attention_serves(attended: list[bool]) -> None:
    layer, x = pyrnn.nn.MultiheadAttention(8, 2, causal=True), torch.randn(5, 2, 8)
    layer(x, x, x, need_weights=False)
    many = _native.cpu.most_rows() // 2 + 1  # fewer are one call with both linear layers
    x, cache = torch.randn(many, 2, 8), layer.new_cache()
    with torch.no_grad():
        layer(x, x, x, need_weights=False, cache=cache)  # fills the cache by the operator
        layer(x, x, x, need_weights=False, cache=cache)
    assert attended == [True, True]


def test_what_self_attention_leaves_to_the_operator(attended: list[bool]) -> None:
    layer, x = pyrnn.nn.MultiheadAttention(8, 2), torch.randn(5, 2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, x, x, need_weights=False)
    torch.vmap(lambda x: layer(x, x, x, need_weights=False)[0])(x[None])
    assert attended == [False, False]
    rotary = pyrnn.nn.RotaryEmbedding(4)
    others: tuple[dict[str, Any], ...] = ({"rotary": rotary}, {"add_zero_attn": True}, {"dropout": 0.5})
    for options in others:
        pyrnn.nn.MultiheadAttention(8, 2, **options)(x, x, x, need_weights=False)
    layer(x, x, x)
    layer(x, x, x, need_weights=False, key_padding_mask=torch.zeros(2, 5, dtype=torch.bool))
    layer(x, x, x, need_weights=False, attn_mask=torch.zeros(5, 5))
    layer(x, x + 1, x, need_weights=False)
    assert attended == [False, False]  # they are not asked about


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_derivatives_of_derivatives_of_self_attention(batched: bool, batch_first: bool) -> None:
    torch.manual_seed(0)
    layer = pyrnn.nn.MultiheadAttention(6, 2, batch_first=batch_first, causal=True, dtype=torch.float64)
    x = torch.randn(*((2,) if batched else ()), 3, 6, dtype=torch.float64, requires_grad=True)
    function = lambda x: layer(x, x, x, need_weights=False)[0]  # noqa: E731
    assert torch.autograd.gradcheck(function, x)
    assert torch.autograd.gradgradcheck(function, x)
    basis = torch.randn(5, *x.shape, dtype=torch.float64)
    output = function(x)
    (found,) = torch.autograd.grad(output, x, basis, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(output, x, each, retain_graph=True)[0] for each in basis]
    torch.testing.assert_close(found, torch.stack(one_by_one))


def test_a_backward_pass_under_autocast() -> None:
    """The call was made without."""
    packed = torch.randn(5, 2, 24, requires_grad=True)
    gradients = []
    for enabled in (False, True):
        output = eager_self_attention(SelfAttention(2, False, True, -1, -1, 0.5), packed)
        assert isinstance(output, Tensor)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            gradients.append(torch.autograd.grad(output.sum(), packed)[0])
    assert torch.equal(*gradients)


@pytest.mark.parametrize(
    "slopes", [torch.zeros(3), torch.zeros(2, dtype=torch.float64), torch.zeros(2, 1), 1.0]
)
def test_slopes_that_are_not_in_order(slopes: Any) -> None:
    options: Any = SelfAttention(2, False, True, -1, -1, 0.5, slopes)
    native: Any = _native.cpu
    assert isinstance(native.attention_call(None, options, 1, torch.zeros(5, 2, 24)), str)


@pytest.mark.parametrize(
    "packed",
    [
        None,
        torch.zeros(()),
        torch.zeros(5, 3),
        torch.zeros(5, 2, 25),
        torch.zeros(5, 0, 24),
        torch.zeros(5, 2, 24).half(),
        torch.zeros(5, 2, 24).as_subclass(Own),
        torch.zeros(1, 1, 24).expand(2**40, 2**10, 24),
    ],
    ids=str,
)
def test_projections_that_are_not_in_order(packed: Any) -> None:
    options, buffers = SelfAttention(2, False, True, -1, -1, 0.5), (torch.zeros(2, 2, 9, 4),) * 2
    native: Any = _native.cpu
    assert isinstance(native.attention_call(None, options, 1, packed), str)
    assert native.attention_train(options, 1, packed) is None
    with torch.no_grad():
        assert native.attention_gradient(options, 1, packed, packed, packed, packed) is None
        assert isinstance(native.attention_cached(options, 1, packed, *buffers, 0, 1), str)


@pytest.mark.parametrize(
    ("keys", "begin", "end"),
    [
        (torch.zeros(2, 2, 9, 4), 0, 5),  # no room behind the end
        (torch.zeros(2, 2, 9, 4), 3, 2),
        (torch.zeros(2, 2, 9, 4), -1, 2),
        (torch.zeros(2, 2, 9, 4), 0, 2**50),
        (torch.zeros(2, 9, 2, 4).transpose(1, 2), 0, 1),
        (torch.zeros(2, 2, 9, 5), 0, 1),
        (torch.zeros(2, 2, 9, 4).double(), 0, 1),
        (None, 0, 1),
    ],
    ids=str,
)
def test_caches_that_are_not_in_order(keys: Any, begin: int, end: int) -> None:
    options, packed = SelfAttention(2, False, True, -1, -1, 0.5), torch.zeros(5, 2, 24)
    values = torch.zeros(2, 2, 9, 4)
    native: Any = _native.cpu
    with torch.no_grad():
        assert not isinstance(native.attention_cached(options, 1, packed, values, values, 0, 4), str)
        assert isinstance(native.attention_cached(options, 1, packed, keys, values, begin, end), str)
        assert isinstance(native.attention_cached(options, 1, packed, values, keys, begin, end), str)
