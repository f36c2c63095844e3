"""Weights packed once for a scope: the bits of one long call, however it is cut, and nothing kept beyond."""

from __future__ import annotations

import threading
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrize

import pyrnn
from pyrnn import _native
from pyrnn.nn import frozen_weights
from tests.helpers import assert_as_accurate

LAYERS = ["RNN", "GRU", "LSTM"]
DTYPES = [torch.float32, torch.float64, torch.bfloat16]


def layer_of(name: str, dtype: torch.dtype = torch.float32, **options: Any) -> Any:
    torch.manual_seed(0)
    return getattr(pyrnn, name)(5, 19, dtype=dtype, **options)


def hops(layer: Any, x: Tensor, sizes: list[int], dim: int = 0) -> Tensor:
    state, outputs = None, []
    for hop in x.split(sizes, dim):
        output, state = layer(hop, state)
        outputs.append(output)
    return torch.cat(outputs, dim)


def assert_same(found: Tensor, expected: Tensor) -> None:
    """The same bits; a state in bfloat16 is rounded where it is handed over, and not inside of a call."""
    if expected.dtype is torch.bfloat16:
        torch.testing.assert_close(found, expected, rtol=0.02, atol=0.02)
    else:
        assert torch.equal(found, expected)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bias": False}, {"batch_first": True}], ids=str)
def test_hops_have_the_bits_of_the_whole(name: str, dtype: torch.dtype, options: dict[str, Any]) -> None:
    layer, dim = layer_of(name, dtype, **options), int("batch_first" in options)
    for B in (1, 3, 7):
        x = torch.randn(40, B, 5).to(dtype)
        x = x.transpose(0, 1) if dim else x
        with torch.no_grad():
            whole = layer(x)[0]
            with frozen_weights(layer):
                assert_same(hops(layer, x, [1, 1, 2, 7, 1, 28], dim), whole)
                assert torch.equal(layer(x)[0], whole)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 9), min_size=5, max_size=12), st.integers(1, 6), st.sampled_from(LAYERS))
def test_any_cut(sizes: list[int], B: int, name: str) -> None:
    layer, x = layer_of(name), torch.randn(sum(sizes), B, 5)
    with torch.no_grad(), frozen_weights(layer):
        assert torch.equal(hops(layer, x, sizes), layer(x)[0])


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_a_cell_is_a_step_of_the_layer(name: str, dtype: torch.dtype) -> None:
    layer, cell = layer_of(name, dtype), getattr(pyrnn, f"{name}Cell")(5, 19, dtype=dtype)
    cell.load_state_dict({key.removesuffix("_l0"): value for key, value in layer.state_dict().items()})
    x, state = torch.randn(30, 2, 5).to(dtype), None
    with torch.no_grad(), frozen_weights(cell):
        for step, expected in zip(x, layer(x)[0], strict=True):
            state = cell(step, state)
            assert_same(state[0] if name == "LSTM" else state, expected)


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("name", LAYERS)
def test_two_directions_lengths_and_a_projection(name: str) -> None:
    options: dict[str, Any] = {"proj_size": 3} if name == "LSTM" else {}
    layer, x = layer_of(name, bidirectional=True, **options), torch.randn(2, 4, 5)
    exact, theirs = (
        layer_of(name, bidirectional=True, **options).double(),
        getattr(nn, name)(5, 19, bidirectional=True, **options),
    )
    exact.load_state_dict(layer.state_dict())
    theirs.load_state_dict(layer.state_dict())
    with torch.no_grad():
        oracle, beside = exact(x.double())[0], theirs(x)[0]
        with frozen_weights(layer):
            assert_as_accurate([layer(x)[0]], [beside], [oracle])
            short = layer(x, lengths=[2, 1, 0, 2])[0]
    assert (short[1, 1:3] == 0).all()


def test_writes_are_seen_again_after_the_scope() -> None:
    layer, x = layer_of("GRU"), torch.randn(3, 2, 5)
    with torch.no_grad():
        with frozen_weights(layer):
            before = layer(x)[0]
        layer.weight_hh_l0.data.add_(1)
        after = layer(x)[0]
    assert not torch.allclose(before, after)


def test_a_broken_promise_is_told() -> None:
    layer: Any = nn.Sequential(layer_of("GRU"))

    def write(error: type[Exception] | None = None) -> None:
        with frozen_weights(layer, check=True):
            layer[0].weight_hh_l0.data.add_(1)
            if error:
                raise error

    with pytest.raises(RuntimeError, match=r"shape \[57, 19\] in 0 \(GRU\) was changed"):
        write()
    with pytest.raises(KeyError):  # an error on its way is not covered up
        write(KeyError)
    with frozen_weights(layer, check=True), torch.no_grad():
        layer(torch.randn(3, 2, 5))


def test_what_the_scope_does_not_serve() -> None:
    """Other weights in the place of the frozen ones, and calls that record gradients."""
    layer, x = layer_of("LSTM"), torch.randn(3, 2, 5)
    other = {name: torch.randn_like(p) for name, p in layer.named_parameters()}
    expected = torch.func.functional_call(layer, other, (x,))[0]
    with frozen_weights(layer):
        assert torch.equal(torch.func.functional_call(layer, other, (x,))[0], expected)
        layer(x)[0].sum().backward()
        with torch.no_grad():
            layer.weight_ih_l0 = nn.Parameter(other["weight_ih_l0"])
            swapped = layer(x)[0]
    with torch.no_grad():
        assert torch.equal(layer(x)[0], swapped)
    assert layer.weight_hh_l0.grad is not None


def test_modules_whose_weights_cannot_be_packed() -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    computed = layer_of("GRU")
    parametrize.register_parametrization(computed, "weight_hh_l0", Doubled())
    x = torch.randn(3, 2, 5)
    with torch.no_grad(), frozen_weights(computed):
        before = computed(x)[0]
        computed.parametrizations.weight_hh_l0.original.mul_(2)
        assert not torch.equal(computed(x)[0], before)
    freed = layer_of("LSTM")
    freed.weight_hh_l0.untyped_storage().resize_(0)
    spread = layer_of("GRU")
    spread.weight_ih_l0 = nn.Parameter(torch.randn(5, 57).T)
    for module in (
        layer_of("RNN").half(), layer_of("RNN").to("meta"), spread, freed, nn.Linear(2, 2),
        pyrnn.RNNCell(3, 0), nn.LSTM(2, 3),
    ):  # fmt: skip
        with frozen_weights(module, check=True):
            pass


def test_scopes_may_be_nested_and_entered_again() -> None:
    layer, x = layer_of("GRU"), torch.randn(1, 2, 5)
    outer, inner = frozen_weights(layer), frozen_weights(layer)
    with torch.no_grad():
        plain = layer(x)[0]
        with outer:
            frozen = layer(x)[0]
            with inner, outer:
                assert torch.equal(layer(x)[0], frozen)
            layer.weight_ih_l0.data.mul_(2)  # told only with `check`: the outer scope still holds
            assert torch.equal(layer(x)[0], frozen)
        assert not torch.allclose(layer(x)[0], plain)


def test_another_instruction_set_packs_in_another_way() -> None:
    if len(_native.isas()) < 2:
        pytest.skip("this processor has one instruction set")
    layer, x = layer_of("LSTM"), torch.randn(20, 2, 5)
    before, results = _native.isa(), []
    with torch.no_grad(), frozen_weights(layer):
        for isa in _native.isas():
            _native.set_isa(isa)
            results.append(layer(x)[0])
        _native.set_isa(before)
    for result in results:
        torch.testing.assert_close(result, results[0])


def test_threads_come_and_go() -> None:
    layer, x = layer_of("GRU"), torch.randn(20, 2, 5)
    with torch.no_grad():
        expected = layer(x)[0]
    wrong: list[Tensor] = []

    def work() -> None:
        with torch.no_grad():
            for _ in range(50):
                with frozen_weights(layer):
                    found = layer(x)[0]
                wrong.extend([] if torch.equal(found, expected) else [found])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
