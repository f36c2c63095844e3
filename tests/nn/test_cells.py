"""The cells compute what torch's compute."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from tests.nn.pairs import CELLS, assert_same, gradients, pair


def state(name: str, *shape: int) -> Any:
    generator = torch.Generator().manual_seed(1)
    h, c = (torch.randn(*shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return (h, c) if name == "LSTMCell" else h


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(CELLS),
    st.sampled_from([1, 2, 5, 17]),
    st.sampled_from([1, 3, 16]),
    st.sampled_from([None, 0, 1, 4]),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["tanh", "relu"]),
)
def test_equals_torch(
    name: str,
    I: int,  # noqa: E741
    H: int,
    B: int | None,
    bias: bool,
    with_state: bool,
    nonlinearity: str,
) -> None:
    options: dict[str, Any] = {"nonlinearity": nonlinearity} if name == "RNNCell" else {}
    theirs, ours = pair(name, I, H, bias=bias, **options)
    batch = () if B is None else (B,)
    x = torch.randn(*batch, I, dtype=torch.float64, requires_grad=True)
    hx = state(name, *batch, H) if with_state else None
    expected, result = theirs(x, hx), ours(x, hx)
    assert_same(result, expected)
    assert_same(gradients(ours, result, x), gradients(theirs, expected, x))


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_other_dtypes(name: str, dtype: torch.dtype) -> None:
    theirs, ours = pair(name, 5, 7, dtype=dtype)
    x = torch.randn(3, 5).to(dtype)
    tolerance = 20 * torch.finfo(dtype).eps
    assert_same(ours(x), theirs(x), rtol=tolerance, atol=tolerance)


def test_a_cell_steps_as_the_layer_does() -> None:
    _, layer = pair("LSTM", 3, 4)
    _, cell = pair("LSTMCell", 3, 4)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    hx = None
    for x_bi in x:
        hx = cell(x_bi, hx)
    _, (h_n, c_n) = layer(x)
    assert_same(hx, (h_n[0], c_n[0]))
