"""What `explain` says of small calls is what the call that follows does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import pyrnn
import pyrnn.nn
from pyrnn import _native
from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.nn import attention as attention_module
from pyrnn.nn import decoder_layer, encoder_layer
from pyrnn.nn import transformer as transformer_module
from pyrnn.ops.attention.eager import EagerSelfAttention
from pyrnn.ops.recurrent.eager import EagerRecurrent

pytestmark = pytest.mark.skipif(not HAS_EXCHANGE_TABLE, reason="this torch has no exchange table")

Ran = list[tuple[str, bool]]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Ran:
    """What was offered to each of the ways of a small call, in turn, and whether it was served."""
    told: Ran = []

    def watch(owner: Any, name: str, label: str) -> None:
        run: Callable[..., Any] = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            found = run(*args, **options)
            if not options.get("ask"):
                told.append((label, not isinstance(found, str)))
            return found

        monkeypatch.setattr(owner, name, noted)

    watch(EagerRecurrent, "__call__", "recurrent")
    watch(EagerSelfAttention, "__call__", "between")
    watch(EagerSelfAttention, "cached", "between")
    watch(attention_module, "run_attention", "with both")
    watch(transformer_module, "run_layers", "whole")
    watch(encoder_layer, "run_layers", "whole")
    watch(decoder_layer, "run_layers", "whole")
    return told


X = torch.randn(5, 2, 3)
H0 = torch.zeros(2, 2, 4)


class Own(Tensor):
    """A class of somebody else's."""


class Checked(pyrnn.GRU):
    def check_input(self, *args: Any, **kwargs: Any) -> None:
        """Own checks."""


RECURRENT: dict[str, tuple[Callable[[], nn.Module], tuple[Any, ...], dict[str, Any], str]] = {
    "plain": (lambda: pyrnn.GRU(3, 4), (X,), {}, ""),
    "stacked": (lambda: pyrnn.LSTM(3, 4, 2, bidirectional=True), (X,), {}, ""),
    "unbatched": (lambda: pyrnn.RNN(3, 4), (X[:, 0],), {}, ""),
    "states": (lambda: pyrnn.GRU(3, 4, 2), (X, H0), {}, ""),
    "a reset of one step": (lambda: pyrnn.GRU(3, 4), (X[:1],), {"reset": X[:1, :, 0] > 0}, ""),
    "resets": (lambda: pyrnn.GRU(3, 4), (X,), {"reset": X[:, :, 0] > 0}, "lengths, or resets"),
    "lengths": (lambda: pyrnn.GRU(3, 4), (X,), {"lengths": [5, 2]}, "lengths, or resets"),
    "packed": (lambda: pyrnn.GRU(3, 4), (pack_padded_sequence(X, torch.tensor([5, 2])),), {}, "plain dense"),
    "a projection": (lambda: pyrnn.LSTM(3, 4, proj_size=2), (X,), {}, "has a projection"),
    "recomputed": (lambda: pyrnn.LSTM(3, 4, checkpoint_every=2), (X,), {}, "checkpoint_every"),
    "cells": (lambda: pyrnn.LSTM(3, 4), (X,), {"return_cells": True}, "return_cells"),
    "dropout": (lambda: pyrnn.GRU(3, 4, 2, dropout=0.5), (X,), {}, "dropout between the layers"),
    "own checks": (lambda: Checked(3, 4), (X,), {}, "check_input was replaced"),
    "half": (lambda: pyrnn.GRU(3, 4).half(), (X.half(),), {}, "plain dense|dtype has no kernel"),
    "a subclass": (lambda: pyrnn.GRU(3, 4), (X.as_subclass(Own),), {}, "plain dense"),
    "large": (lambda: pyrnn.GRU(4, 1024), (torch.zeros(2, 2048, 4),), {}, "above 32 MB"),
    "a cell": (lambda: pyrnn.LSTMCell(3, 4), (X[0],), {}, ""),
    "a cell with states": (lambda: pyrnn.LSTMCell(3, 4), (X[0], (H0[0], H0[1])), {}, ""),
    "a cell of a subclass": (lambda: pyrnn.GRUCell(3, 4), (X[0].as_subclass(Own),), {}, "plain dense"),
}


@pytest.mark.parametrize("context", ["", "no_grad", "autocast"])
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_calls(name: str, context: str, ran: Ran) -> None:
    make, args, kwargs, why = RECURRENT[name]
    module = make()
    within: Any = {"": nullcontext, "no_grad": torch.no_grad, "autocast": lambda: torch.autocast("cpu")}
    if context == "autocast":
        why = f"autocast watches|{why}" if why else "autocast watches"
    with within[context]():
        told = {entry.small for entry in pyrnn.explain(module, *args, **kwargs).layers}
        assert not ran
        module(*args, **kwargs)
    (small,) = told
    assert small.startswith("no: ") == bool(why)
    assert any(part in small for part in why.split("|"))
    assert (small == "one call of C++") == (bool(ran) and all(served for _, served in ran))


MASK = torch.zeros(5, 5, dtype=torch.bool)
MANY = _native.cpu.most_rows() + 4
LONG = torch.randn(MANY, 1, 8)
ATTENTION: dict[str, tuple[dict[str, Any], Tensor, dict[str, Any], str]] = {
    "few": ({}, torch.randn(5, 2, 8), {}, "with both"),
    "unbatched": ({"batch_first": True}, torch.randn(5, 8), {}, "with both"),
    "many": ({}, LONG, {}, "between"),
    "windows": ({"causal": True, "window": (2, 0), "alibi": True}, LONG, {}, "between"),
    "a mask": ({}, torch.randn(5, 2, 8), {"attn_mask": MASK}, "no"),
    "padding": ({}, torch.randn(5, 2, 8), {"key_padding_mask": MASK[:2]}, "no"),
    "a hint": ({}, torch.randn(5, 2, 8), {"attn_mask": MASK, "is_causal": True}, "between"),
    "weights": ({}, torch.randn(5, 2, 8), {"need_weights": True}, "no"),
    "turned": ({"rotary": pyrnn.nn.RotaryEmbedding(4)}, torch.randn(5, 2, 8), {}, "no"),
    "half": ({"dtype": torch.float16}, torch.randn(5, 2, 8).half(), {}, "no"),
}
WORDS = {
    "one call of C++ with both linear layers": "with both",
    "one call of C++ between the linear layers": "between",
    "one call of C++ for the whole layer, or for all layers": "whole",
    "no": "no",
}


def way(small: str) -> str:
    return WORDS[small.partition("; not more: ")[0]]


def served(ran: Ran) -> list[str]:
    return [label for label, was in ran if was] or ["no"]


@pytest.mark.parametrize("trains", [False, True])
@pytest.mark.parametrize("name", ATTENTION)
def test_attention(name: str, trains: bool, ran: Ran) -> None:
    options, x, kwargs, expected = ATTENTION[name]
    layer = pyrnn.nn.MultiheadAttention(8, 2, **options)
    kwargs = {"need_weights": False, **kwargs}
    with torch.set_grad_enabled(trains):
        (entry,) = pyrnn.explain(layer, x, x, x, **kwargs).layers
        assert not ran
        layer(x, x, x, **kwargs)
    assert way(entry.small) == ("between" if trains and expected == "with both" else expected)
    assert served(ran) == [way(entry.small)]
    assert ("not more: " in entry.small) == (way(entry.small) != "with both")


def test_attention_to_others_is_none(ran: Ran) -> None:
    layer, x = pyrnn.nn.MultiheadAttention(8, 2), torch.randn(5, 2, 8)
    (entry,) = pyrnn.explain(layer, x, x.clone(), x, need_weights=False).layers
    layer(x, x.clone(), x, need_weights=False)
    assert entry.small.startswith("no; not more: queries, keys and values are not made of one tensor")
    assert served(ran) == ["no"]


def test_autocast_is_named(ran: Ran) -> None:
    layer, x = pyrnn.nn.MultiheadAttention(8, 2), torch.randn(5, 2, 8)
    with torch.no_grad(), torch.autocast("cpu"):
        (entry,) = pyrnn.explain(layer, x, x, x, need_weights=False).layers
        layer(x, x, x, need_weights=False)
    assert "autocast watches" in entry.small
    assert served(ran) == [way(entry.small)] == ["no"]
    assert entry.linear is not None
    assert entry.linear.startswith("native: ")  # of what autocast made


@pytest.mark.parametrize("cached", [0, 3])
@pytest.mark.parametrize("tokens", [1, MANY // 2])
def test_a_cache_is_left_as_it_was(tokens: int, cached: int, ran: Ran) -> None:
    layer = pyrnn.nn.MultiheadAttention(8, 2, causal=True).eval()
    cache, x = layer.new_cache(), torch.randn(tokens, 2, 8)
    with torch.no_grad():
        if cached:
            start = torch.randn(cached, 2, 8)
            layer(start, start, start, need_weights=False, cache=cache)
        ran.clear()
        other = cache.branch()
        (entry,) = pyrnn.explain(layer, x, x, x, need_weights=False, cache=cache).layers
        assert (cache.length, cache.position) == (cached, cached)
        found = layer(x, x, x, need_weights=False, cache=cache)[0]
        assert served(ran) == [way(entry.small)]
        torch.testing.assert_close(found, layer(x, x, x, need_weights=False, cache=other)[0])
    assert way(entry.small) == ("no" if not cached else "with both" if tokens == 1 else "between")


@pytest.mark.parametrize("change", ["", "a mask", "training", "a hook", "gradients", "many tokens"])
@pytest.mark.parametrize("stacked", [True, False])
def test_layers_that_write(stacked: bool, change: str, ran: Ran) -> None:
    layer = pyrnn.nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, causal=True)
    model: Any = pyrnn.nn.TransformerEncoder(layer, 2) if stacked else layer
    model.train(change == "training")
    first: Any = model.layers[0] if stacked else model
    cache, x = model.new_cache(), torch.randn(5 if change == "many tokens" else 1, 2, 8)
    options = {"mask" if stacked else "src_mask": torch.zeros(1, 5)} if change == "a mask" else {}
    with torch.no_grad():
        model(torch.randn(4, 2, 8), cache=cache)
    if change == "a hook":
        first.linear1.register_forward_hook(lambda *_: None)
    ran.clear()
    with torch.set_grad_enabled(change == "gradients"):
        explained = pyrnn.explain(model, x, **options, cache=cache).layers
        assert not ran
        model(x, **options, cache=cache)
    told = [way(entry.small) for entry in explained]
    # Where the stack declines, each layer is asked for itself.
    done = [label for label, was in ran if was]
    if stacked and not change:
        assert (told, done) == (["whole"] * 2, ["whole"])
    else:
        assert [label for label in told if label != "no"] == done
    assert (told[0] == "whole") == (not change)
    assert change != "a hook" or "a part was replaced or hooked" in explained[0].small


@pytest.mark.parametrize("change", ["", "lengths", "gradients"])
def test_a_decoder_with_attention(change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bool] = []
    operator_module = import_module("pyrnn.ops.attention_decoder")
    run = operator_module.small_call

    def noted(*args: Any, **options: Any) -> Any:
        found = run(*args, **options)
        told.append(not isinstance(found, str))
        return found

    monkeypatch.setattr(operator_module, "small_call", noted)
    layer, x = pyrnn.nn.AttentionDecoder(3, 4, 5), torch.randn(2, 6, 3)
    options = {"lengths": torch.full((6,), 2)} if change == "lengths" else {}
    with torch.no_grad():
        memory = layer.prepare(torch.randn(7, 6, 5))
    with torch.set_grad_enabled(change == "gradients"):
        (entry,) = pyrnn.explain(layer, x, memory, **options).layers
        assert not told
        layer(x, memory, **options)
    served = change not in ("lengths", "gradients")
    assert told == [served]
    assert (entry.small == "one call of C++") == served


@pytest.mark.parametrize("change", ["", "a mask", "weights", "a hook", "gradients"])
@pytest.mark.parametrize("stacked", [True, False])
def test_decoders_layers_that_write(stacked: bool, change: str, ran: Ran) -> None:
    layer = pyrnn.nn.TransformerDecoderLayer(8, 2, 16, dropout=0.0, causal=True)
    model: Any = pyrnn.nn.TransformerDecoder(layer, 2) if stacked else layer
    cache, memory, x = model.eval().new_cache(), torch.randn(7, 2, 8), torch.randn(1, 2, 8)
    options: dict[str, Any] = {"memory_mask": torch.zeros(1, 7)} if change == "a mask" else {}
    if change == "weights":
        options["weights"] = []
    if change == "a hook":
        (model.layers[-1] if stacked else model).linear1.register_forward_hook(lambda *_: None)
    with torch.no_grad():
        model(torch.randn(4, 2, 8), memory, cache=cache)
    ran.clear()
    with torch.set_grad_enabled(change == "gradients"):
        explained = pyrnn.explain(model, x, memory, **options, cache=cache).layers
        assert not ran
        model(x, memory, **options, cache=cache)
    told = [way(entry.small) for entry in explained]
    done = [label for label, was in ran if was]
    if not change:
        assert (set(told), done) == ({"whole"}, ["whole"])
    elif stacked and change in ("weights", "a hook"):  # the first layer is served by itself
        assert (told[:2], done[0]) == (["whole"] * 2, "whole")
        assert "whole" not in [*told[2:], *done[1:]]
    else:
        assert "whole" not in [*told, *done]


def test_what_is_inside_decoders_and_whole_transformers(ran: Ran) -> None:
    model = pyrnn.nn.Transformer(8, 2, 1, 1, 16).eval()
    src, tgt = torch.randn(7, 2, 8), torch.randn(5, 2, 8)
    mask = model.generate_square_subsequent_mask(5)
    with torch.no_grad():
        for options in ({}, {"tgt_mask": mask}, {"tgt_mask": mask, "tgt_is_causal": True}):
            explained = pyrnn.explain(model, src, tgt, **options).layers
            ran.clear()
            model(src, tgt, **options)
            assert [way(entry.small) for entry in explained if way(entry.small) != "no"] == [
                label for label, was in ran if was
            ]
            assert way(explained[2].small) == "no"  # the decoder attends to the encoder's output
