"""Swapping layers on whose parts something hangs: afterwards it sees what it saw in torch's layers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
import pyrnn.nn
from tests.nn.hung import BLOCKS, EVERY_PART, HUNG, SEED, Seen, assert_alike, layer_of, tensors


def with_something_hung(name: str, part: str, hang: str, seen: Seen, *, norm_first: bool) -> Any:
    layer = layer_of(nn, name, norm_first=norm_first)
    HUNG[hang](layer.get_submodule(part), seen)
    return layer


@pytest.mark.parametrize("hang", HUNG)
@pytest.mark.parametrize(("name", "part"), EVERY_PART)
def test_what_hangs_on_a_part_is_called_as_before(name: str, part: str, hang: str) -> None:
    seen: Seen = []
    ours, theirs = (with_something_hung(name, part, hang, seen, norm_first=True) for _ in range(2))
    report = pyrnn.accelerate(ours)
    assert type(ours) is getattr(pyrnn.nn, name)
    # An attention is swapped as well, unless it is the part that computes something of its own.
    own = {part} if hang in ("on_instance", "as_subclass") else set()
    assert {entry.names[0] for entry in report.kept} == own & {"self_attn", "multihead_attn"}
    assert_alike(ours, theirs, seen)


def test_every_hook_of_a_model_is_called_in_the_same_order() -> None:
    calls: list[str] = []

    def model() -> Any:
        torch.manual_seed(SEED)
        made = nn.Transformer(8, 2, 2, 2, 16, 0.0, batch_first=True, dtype=torch.float64)
        for name, module in made.named_modules():
            module.register_forward_pre_hook(lambda *_, name=name: calls.append(f"before {name}"))
            module.register_forward_hook(lambda *_, name=name: calls.append(f"after {name}"))
        return made

    theirs, ours = model(), model()
    assert not pyrnn.accelerate(ours).kept
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    for training in (True, False):
        theirs.train(training)
        ours.train(training)
        expected, before = theirs(x, x), list(calls)
        calls.clear()
        found, after = ours(x, x), list(calls)
        calls.clear()
        assert after == before
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("name", "method"), BLOCKS)
def test_a_block_replaced_on_the_instance_is_called_as_before(name: str, method: str) -> None:
    seen: Seen = []

    def patched() -> Any:
        layer = layer_of(nn, name)
        block = getattr(layer, method)

        def replaced(*args: Any, **kwargs: Any) -> Tensor:
            seen.extend(["block", *tensors((args, kwargs))])
            return 2 * block(*args, **kwargs)

        setattr(layer, method, replaced)
        return layer

    ours, theirs = patched(), patched()
    assert not pyrnn.accelerate(ours).kept
    assert_alike(ours, theirs, seen)
    assert seen


@pytest.mark.parametrize(
    ("make", "method"),
    [
        (lambda: nn.GRU(3, 4), "check_forward_args"),
        (lambda: nn.LSTM(3, 4), "permute_hidden"),
        (lambda: nn.MultiheadAttention(8, 2), "merge_masks"),
        (lambda: nn.TransformerEncoderLayer(8, 2, 16), "forward"),
    ],
)
def test_a_method_that_ours_would_not_call_is_an_obstacle(make: Any, method: str) -> None:
    layer = make()
    setattr(layer, method, getattr(layer, method))
    entry = pyrnn.accelerate(layer).layers[0]
    assert not entry.swapped
    assert f"its {method} was replaced on the instance" in entry.reason


def test_a_method_without_effect_is_none() -> None:
    layer: Any = nn.LSTM(3, 4)
    layer.flatten_parameters = lambda: None
    layer.train, layer.extra_note = layer.train, len
    assert pyrnn.accelerate(layer).swapped


@pytest.mark.parametrize("cls", [nn.GRU, nn.LSTMCell, nn.MultiheadAttention, nn.TransformerEncoder])
def test_a_class_s_forward_that_was_replaced_is_an_obstacle(
    cls: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cls is nn.TransformerEncoder:
        layer: nn.Module = cls(nn.TransformerEncoderLayer(8, 2, 16), 1, enable_nested_tensor=False)
    else:
        layer = cls(8, 2)
    own = cls.forward
    monkeypatch.setattr(cls, "forward", lambda self, *args, **kwargs: own(self, *args, **kwargs))
    entry = pyrnn.accelerate(layer).layers[0]
    assert not entry.swapped
    assert f"torch.nn.{cls.__name__}.forward was replaced" in entry.reason
    monkeypatch.undo()
    assert pyrnn.accelerate(layer).layers[0].swapped


def test_a_layer_that_was_compiled_takes_notice() -> None:
    """`Module.compile` puts a compiled call on the instance, which the swap leaves there."""
    torch.compiler.reset()
    layer, x = nn.TransformerEncoderLayer(8, 2, 16, 0.0), torch.randn(5, 3, 8)
    layer.compile(backend="eager")
    expected = layer(x)
    pyrnn.accelerate(layer)
    torch.testing.assert_close(layer(x), expected)
    attention: list[str] = []
    layer.self_attn.register_forward_hook(lambda module, *_: attention.append(type(module).__module__))
    torch.compiler.reset()
    layer(x)
    assert attention == ["pyrnn.nn.attention"]
