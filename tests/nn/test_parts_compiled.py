"""What hangs on a part of a Transformer layer under compilers, and under those who change classes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn.nn
from pyrnn.nn.parts import LINEAR
from pyrnn.nn.plain import is_plain, kind_of
from tests.nn.hung import HUNG, PARTS, assert_alike, call, changed, layer_of


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


@pytest.mark.parametrize("part", PARTS["TransformerEncoderLayer"])
def test_a_compiled_part_is_called(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Module.compile` puts a compiled call in the place of the module's own."""
    calls: list[str] = []

    def compiled(function: Any) -> Any:
        return lambda *args, **kwargs: (calls.append(part), function(*args, **kwargs))[1]

    layer = layer_of(pyrnn.nn, "TransformerEncoderLayer")
    expected = call(layer, masked=False)
    monkeypatch.setattr(torch, "compile", compiled)
    layer.get_submodule(part).compile()
    torch.testing.assert_close(call(layer, masked=False), expected)
    assert calls == [part]


def zeros(input: Tensor) -> Tensor:
    return input.new_zeros(*input.shape[:-1], 16)


def test_compiled_code_takes_notice_of_a_forward_put_on_a_part() -> None:
    layer = layer_of(pyrnn.nn, "TransformerEncoderLayer").eval()
    function = torch.compile(layer, fullgraph=True, backend="eager")
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    before = function(x)
    torch.testing.assert_close(before, layer(x))
    layer.linear1.forward = zeros
    assert not torch.allclose(layer(x), before)
    torch.testing.assert_close(function(x), layer(x))


@pytest.mark.parametrize("hang", ["on_forward", "before_forward", "on_instance", "as_subclass"])
@pytest.mark.parametrize("part", ["linear1", "dropout", "linear2", "dropout1", "activation"])
def test_compiled_code_runs_what_hangs_on_a_part(part: str, hang: str) -> None:
    layer = layer_of(pyrnn.nn, "TransformerEncoderLayer").eval()
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    plain = layer(x)

    HUNG[hang](layer.get_submodule(part), [])
    function = torch.compile(layer, fullgraph=True, backend="eager")
    torch.testing.assert_close(function(x), layer(x))
    assert not torch.allclose(function(x), plain)


def test_a_tracer_that_watches_calls_sees_every_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.fx does, which exchanges the method that calls a module."""
    names: list[str] = []
    own = nn.Module.__call__

    def watched(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        names.append(type(module).__name__)
        return own(module, *args, **kwargs)

    layer = layer_of(pyrnn.nn, "TransformerEncoderLayer").eval()
    monkeypatch.setattr(nn.Module, "__call__", watched)
    call(layer, masked=False)
    assert names.count("Linear") == 2
    assert names.count("Dropout") == 3


def test_a_class_s_forward_that_was_replaced_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    own = nn.Linear.forward
    monkeypatch.setattr(nn.Linear, "forward", lambda self, input: changed(own(self, input)))
    ours, theirs = (layer_of(package, "TransformerEncoderLayer") for package in (pyrnn.nn, nn))
    assert_alike(ours, theirs, [])
    assert kind_of(nn.Linear).forward is None  # whoever imports us after that
    assert not is_plain(ours.linear1, kind_of(nn.Linear))
    monkeypatch.undo()
    assert is_plain(ours.linear1, LINEAR)
