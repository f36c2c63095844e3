"""The kernels of linear layers: their numbers on every instruction set, threads, and what they decline."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import vmap
from torch.nn import functional as F

from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.ops import linear, linear_route
from tests.helpers import assert_as_accurate
from tests.ops.linears import leaves, linear_module, torchs

needs_exchange_table = pytest.mark.skipif(
    not HAS_EXCHANGE_TABLE, reason="C++ cannot look at the tensors of this torch"
)


def most_rows() -> int:
    return linear_module._native.cpu.most_rows()


def served(*arguments: Any) -> bool:
    """Whether the kernel computes a call."""
    return linear_module._native.cpu.linear_of_rows(*arguments, 0, 1).__class__ is Tensor


@needs_exchange_table
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_rows_are_as_accurate_as_torch(dtype: torch.dtype) -> None:
    activations: Any = (None, "relu", "gelu", "gelu_tanh")
    for n, rows in enumerate(
        rows for rows in (*range(1, 10), 15, 16, 23, 24, 25, 101) if rows <= most_rows()
    ):
        for i, o in ((1, 1), (5, 7), (33, 64), (300, 17), (513, 130)):
            x, weight, bias = (t.detach() for t in leaves(rows, i, o, dtype))
            given, activation = bias if n % 2 else None, activations[n % 4]
            assert served(x, weight, given)
            exact = torchs(x.double(), weight.double(), None if given is None else bias.double(), activation)
            ours, theirs = linear(x, weight, given, activation), torchs(x, weight, given, activation)
            if dtype is torch.float64:  # the oracle's own dtype
                torch.testing.assert_close(ours, exact)
            else:
                assert_as_accurate([ours], [theirs], [exact])


@needs_exchange_table
def test_few_rows_in_any_order_of_memory() -> None:
    x, weight, bias = (t.detach() for t in leaves(12, 20, 6))
    expected = F.linear(x, weight, bias)
    for input in (x, x.view(2, 3, 2, 20), x.t().contiguous().t(), x[:, None]):
        for w in (weight, weight.t().contiguous().t()):
            torch.testing.assert_close(linear(input, w, bias), expected.view(*input.shape[:-1], 6))
    strided = torch.randn(12, dtype=torch.float64)[::2]
    torch.testing.assert_close(linear(x, weight, strided), F.linear(x, weight, strided))
    assert linear(x[0], weight, bias).shape == (6,)


@pytest.mark.parametrize("dims", range(1, 11))
def test_any_number_of_dimensions(dims: int) -> None:
    x, weight, bias = (t.detach() for t in leaves(6, 5, 4, torch.float32))
    input = x[0] if dims == 1 else x.view(*[1] * (dims - 2), 6, 5)
    output = linear(input, weight, bias)
    assert output.shape == (*input.shape[:-1], 4)
    torch.testing.assert_close(output, F.linear(input, weight, bias))


@needs_exchange_table
def test_few_rows_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    x, weight, bias = (t.detach() for t in leaves(3, 700, 901, torch.float32))
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(linear_module._native, "num_threads", lambda threads=threads: threads)
        results.append(linear(x, weight, bias))
    assert torch.equal(*results)


@needs_exchange_table
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_gradients_are_as_accurate_as_torch(dtype: torch.dtype) -> None:
    cpu = linear_module._native.cpu
    for rows, i, o in ((1, 1, 1), (3, 5, 7), (33, 64, 65), (513, 70, 130), (1030, 17, 33), (40, 600, 9)):
        x, weight, _ = (t.detach() for t in leaves(rows, i, o, dtype))
        grad = torch.randn(rows, o).to(dtype)
        exact = [t.double() for t in (grad, weight, x)]
        exact = exact[0] @ exact[1], exact[0].t() @ exact[2], exact[0].sum(0)
        theirs = grad @ weight, grad.t() @ x, grad.sum(0)
        results = []
        for threads in (1, 2):
            d_weight, d_bias = cpu.linear_weight_gradient(grad, x, True, threads)
            results.append((cpu.linear_input_gradient(grad, weight, threads), d_weight, d_bias))
        assert all(map(torch.equal, *results))
        if dtype is torch.float64:  # the oracle's own dtype
            for ours, expected in zip(results[0], exact, strict=True):
                torch.testing.assert_close(ours, expected)
        else:
            assert_as_accurate(results[0], theirs, exact, names=("input", "weight", "bias"))
        assert cpu.linear_weight_gradient(grad, x, False, 1)[1] is None


@needs_exchange_table
def test_gradients_that_are_declined() -> None:
    cpu = linear_module._native.cpu
    grad, x, weight = torch.ones(3, 4), torch.ones(3, 5), torch.ones(4, 5)
    assert isinstance(cpu.linear_input_gradient(grad, weight, 1), Tensor)
    assert torch.equal(cpu.linear_input_gradient(grad.t().contiguous().t(), weight, 1), grad @ weight)
    for other in (weight[:3], weight.double(), weight[0], weight[:, :0], weight.to("meta"), None, [1.0]):
        assert isinstance(cpu.linear_input_gradient(grad, other, 1), str)
    for other in (x[:2], x.double(), x[0], x[:0], x.half(), x.to_sparse(), None):
        assert isinstance(cpu.linear_weight_gradient(grad, other, True, 1), str)
    assert "gradients are recorded" in cpu.linear_input_gradient(grad, weight.requires_grad_(), 1)
    with torch.no_grad():
        assert isinstance(cpu.linear_input_gradient(grad, weight, 1), Tensor)


@needs_exchange_table
def test_what_is_left_to_torch() -> None:
    x, weight, bias = (t.detach() for t in leaves(3, 5, 4, torch.float32))
    assert served(x, weight, bias)
    assert not served(torch.randn(most_rows() + 1, 5), weight, bias)
    assert not served(x.clone().requires_grad_(), weight, bias)
    assert not served(x, weight, bias.clone().requires_grad_())
    with torch.no_grad():
        assert served(x.clone().requires_grad_(), weight, bias)
    others: list[tuple[Any, ...]] = [
        (x.half(), weight.half(), bias.half()),
        (x, weight.double(), bias),
        (x, weight[:, 1:], bias),
        (x, weight, bias[1:]),
        (x[:0], weight, bias),
        (x[:, :0], weight[:, :0], bias),
        (x, None, bias),
        ([1.0], weight, bias),
        (x.to("meta"), weight, bias),
    ]
    for arguments in others:
        assert not served(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not served(x, weight, bias)
        assert linear(x, weight, bias).dtype is torch.bfloat16
    vmap(lambda row: assert_left(row, weight, bias))(x)
    assert linear_route(x, weight).path == "native"
    assert linear_route(x.requires_grad_(), weight).path == "torch"


def assert_left(row: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    assert not served(row, weight, bias)
    return linear(row, weight, bias)
