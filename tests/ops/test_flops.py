"""torch's FlopCounterMode counts our operators as it counts torch's products."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

import pyrnn
import pyrnn.nn
from pyrnn.ops import scaled_dot_product_attention


def count(function: Any, *args: Tensor, backward: bool) -> int:
    with FlopCounterMode(display=False) as counter:
        result = function(*args)
        if backward:
            (result[0] if isinstance(result, tuple) else result).sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("name", ["RNN", "GRU"])
def test_a_recurrent_layer_counts_as_torch_s(name: str, backward: bool) -> None:
    """torch's LSTM is one operator that it does not count."""
    theirs = getattr(nn, name)(3, 4, 2, bidirectional=True)
    ours = getattr(pyrnn, name)(3, 4, 2, bidirectional=True)
    # Where no gradient of the first state is wanted, torch leaves out the first step's product.
    args = torch.randn(5, 2, 3, requires_grad=True), torch.zeros(4, 2, 4, requires_grad=True)
    assert count(ours, *args, backward=backward) == count(theirs, *args, backward=backward)


def test_an_lstm_counts_four_gates_and_its_projection() -> None:
    x = torch.randn(5, 2, 3)
    forward = 2 * 10 * (16 * 3 + 16 * 2 + 4 * 2)
    assert count(pyrnn.LSTM(3, 4, proj_size=2), x, backward=False) == forward
    training = 2 * 10 * (16 * 2 + 4 * 2)  # no gradient of the input
    assert count(pyrnn.LSTM(3, 4, proj_size=2), x, backward=True) == 2 * forward + training
    again = count(pyrnn.LSTM(3, 4, proj_size=2, checkpoint_every=2), x, backward=True)
    assert again == 3 * forward + training
    with torch.no_grad():
        assert count(pyrnn.LSTM(3, 4, proj_size=2), x, backward=False) == forward


def test_attention_counts_as_torch_s_fused_ones() -> None:
    q, k, v = (torch.randn(2, 4, n, 8, requires_grad=True) for n in (5, 7, 7))
    shapes = (q.shape, k.shape, v.shape)
    forward = sdpa_flop_count(*shapes)
    assert count(scaled_dot_product_attention, q, k, v, backward=False) == forward
    both = forward + sdpa_backward_flop_count(q.shape, *shapes)
    assert count(scaled_dot_product_attention, q, k, v, backward=True) == both


def test_a_model_is_counted_by_module() -> None:
    model = nn.Sequential(nn.GRU(3, 4))
    expected = count(model, torch.randn(5, 2, 3), backward=False)
    pyrnn.accelerate(model)
    with FlopCounterMode(display=False) as counter:
        model(torch.randn(5, 2, 3))
    assert counter.get_total_flops() == expected
    assert sum(counter.get_flop_counts()["Sequential.0"].values()) == expected
