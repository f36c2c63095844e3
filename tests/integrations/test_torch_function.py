"""Objects with __torch_function__: values that are no tensors are asked as torch's layers ask them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
from pyrnn.nn import MultiheadAttention


class Measured:
    """A tensor with a unit, as libraries for quantities have them: it asks torch, and keeps the unit."""

    seen: list[str]

    def __init__(self, value: Tensor, unit: str, seen: list[str]) -> None:
        self.value, self.unit, self.seen = value, unit, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found: list[Measured] = []

        def bare(argument: Any) -> Any:
            if isinstance(argument, cls):
                found.append(argument)
                return argument.value
            return type(argument)(map(bare, argument)) if type(argument) in (tuple, list) else argument

        result = func(*bare(tuple(args)), **{key: bare(value) for key, value in (kwargs or {}).items()})
        found[0].seen.append(getattr(func, "__name__", str(func)))

        def measured(part: Any) -> Any:
            if isinstance(part, Tensor):
                return cls(part, found[0].unit, found[0].seen)
            return type(part)(map(measured, part)) if isinstance(part, (tuple, list)) else part

        return measured(result)


def values(results: Any) -> list[Tensor]:
    """Of everything that has a unit."""
    if isinstance(results, Measured):
        assert results.unit == "volt"
        return [results.value]
    return [value for part in results or () for value in values(part)]


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM", "RNNCell", "GRUCell", "LSTMCell"])
def test_recurrent_layers_and_cells_ask_the_object(name: str) -> None:
    torch.manual_seed(0)
    theirs, ours = getattr(nn, name)(3, 5), getattr(pyrnn, name)(3, 5)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((2, 3) if "Cell" in name else (4, 2, 3))
    results, seen = [], []
    for layer in (theirs, ours):
        seen.append([])
        results.append(values(layer(Measured(x, "volt", seen[-1]))))
    assert seen[0] == seen[1] != []
    assert results[0]
    torch.testing.assert_close(results[1], results[0])
    assert type(ours) is getattr(pyrnn, name)


def test_attention_asks_the_object() -> None:
    torch.manual_seed(0)
    theirs, ours = nn.MultiheadAttention(8, 2), MultiheadAttention(8, 2)
    ours.load_state_dict(theirs.state_dict())
    results, seen = [], []
    for layer in (theirs, ours):
        seen.append([])
        x = Measured(torch.randn(4, 2, 8, generator=torch.Generator().manual_seed(1)), "volt", seen[-1])
        results.append(values(layer(x, x, x)))
    assert seen[0] == seen[1] != []
    torch.testing.assert_close(results[1], results[0])


def test_what_torch_s_layers_lack_is_refused() -> None:
    x: Any = Measured(torch.randn(4, 2, 8), "volt", [])
    with pytest.raises(
        TypeError, match=r"got objects that only torch's MultiheadAttention takes; and torch's has no"
    ):
        MultiheadAttention(8, 2, causal=True)(x, x, x)
    with pytest.raises(TypeError, match="input"):
        pyrnn.GRU(8, 5)(x, lengths=[4, 2])
