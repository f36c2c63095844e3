"""MultiheadAttention of few tokens as one call of C++: torch's numbers, and what is left to its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrnn import _native
from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.nn import MultiheadAttention, RotaryEmbedding
from pyrnn.nn import attention as attention_module
from tests.helpers import assert_as_accurate

E, H = 24, 3
CASES: list[dict[str, Any]] = [
    {},
    {"bias": False, "batch_first": True},
    {"causal": True, "window": (2, 0)},
    {"causal": True, "alibi": True},
]

pytestmark = pytest.mark.skipif(not HAS_EXCHANGE_TABLE, reason="C++ cannot look at the tensors of this torch")


def attention(dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    built = MultiheadAttention(E, H, **options)
    for parameter in built.parameters():  # with biases of zeros nobody would miss one
        nn.init.normal_(parameter, std=0.3)
    return built.to(dtype).eval()


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call that was offered was served."""
    seen: list[bool] = []
    run = attention_module.run_attention

    def spy(*args: Any, **options: Any) -> Tensor | str:
        found = run(*args, **options)
        seen.append(not isinstance(found, str))
        return found

    monkeypatch.setattr(attention_module, "run_attention", spy)
    return seen


def outputs(layer: Any, pieces: list[Tensor], *, cached: bool, need_weights: bool = False) -> list[Tensor]:
    cache = layer.new_cache() if cached else None
    with torch.no_grad():
        return [layer(x, x, x, need_weights=need_weights, cache=cache)[0] for x in pieces]


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", CASES, ids=str)
@pytest.mark.parametrize("cached", [False, True])
def test_numbers_are_those_of_the_parts(
    options: dict[str, Any],
    dtype: torch.dtype,
    cached: bool,
    served: list[bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, exact = attention(dtype, **options), attention(**options)
    exact.load_state_dict(layer.state_dict())
    batch_first = options.get("batch_first")
    for B, sizes in ((1, [7, 1, 2, 5, 1]), (3, [1, 1, 5, 4]), (16, [1, 1])):
        whole = torch.randn((B, sum(sizes), E) if batch_first else (sum(sizes), B, E)).to(dtype)
        pieces = [*whole.split(sizes, 1 if batch_first else 0)]
        served.clear()
        found = outputs(layer, pieces, cached=cached)
        assert served == [not (cached and n == 0) for n in range(len(sizes))]  # an empty cache has no room
        with monkeypatch.context() as patch:
            patch.setattr(attention_module, "run_attention", lambda *_, **__: "left out")
            theirs = outputs(layer, pieces, cached=cached)
            oracle = outputs(exact, [x.double() for x in pieces], cached=cached)
        assert_as_accurate(found, theirs, oracle)


def test_unbatched(served: list[bool]) -> None:
    layer, x = attention(), torch.randn(5, E, dtype=torch.float64)
    torch.testing.assert_close(outputs(layer, [x], cached=False), [layer(x, x, x)[0].detach()])
    assert served == [True, False]  # the second returns weights


def test_torchs_own_layer_has_these_numbers(served: list[bool]) -> None:
    layer = attention()
    theirs = nn.MultiheadAttention(E, H, dtype=torch.float64).eval()
    theirs.load_state_dict(layer.state_dict())
    x = torch.randn(4, 4, E, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(outputs(layer, [x], cached=False)[0], theirs(x, x, x)[0])
    assert served == [True]


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def parametrizes_input(layer: Any) -> None:
    nn.utils.parametrize.register_parametrization(layer, "in_proj_weight", Doubled())


def parametrizes_output(layer: Any) -> None:
    nn.utils.parametrize.register_parametrization(layer.out_proj, "weight", Doubled())


def turns(layer: Any) -> None:
    layer.rotary = RotaryEmbedding(E // H)


def drops(layer: Any) -> None:
    layer.train()
    layer.dropout = 0.9


def appends_zeros(layer: Any) -> None:
    layer.add_zero_attn = True


@pytest.mark.parametrize("change", [parametrizes_input, parametrizes_output, turns, drops, appends_zeros])
def test_what_was_changed_counts(change: Any, served: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(3, 2, E, dtype=torch.float64)
    layer = attention()
    plain = outputs(layer, [x], cached=False)
    change(layer)
    torch.manual_seed(1)
    found = outputs(layer, [x], cached=False)
    assert served == [True, False]
    monkeypatch.setattr(attention_module, "run_attention", lambda *_, **__: "left out")
    torch.manual_seed(1)
    assert torch.equal(found[0], outputs(layer, [x], cached=False)[0])
    assert not torch.allclose(found[0], plain[0])


def test_calls_that_are_not_offered_or_not_served(served: list[bool]) -> None:
    layer, x = attention(causal=True), torch.randn(3, 2, E, dtype=torch.float64)
    assert layer(x, x, x, need_weights=False)[0].requires_grad
    with torch.no_grad():
        long = torch.randn(_native.cpu.most_rows() + 1, 1, E, dtype=torch.float64)
        outputs(layer, [long], cached=False)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            layer(x, x, x, need_weights=False)
        torch.vmap(lambda x: layer(x, x, x, need_weights=False)[0])(x[None])
    assert served == [False] * 4
    with torch.no_grad():
        layer(x, x.clone(), x, need_weights=False)
        assert served == [False] * 5
        layer(x, x, x)
        layer(x, x, x, need_weights=False, key_padding_mask=torch.zeros(2, 3, dtype=torch.bool))
    assert served == [False] * 7


def test_a_refused_call_leaves_the_cache_as_it_was(served: list[bool]) -> None:
    layer = attention(causal=True)
    cache, x = layer.new_cache(), torch.randn(3, 2, E, dtype=torch.float64)
    with torch.no_grad():
        for bad in (torch.randn(1, 3, E).double(), torch.randn(1, 2, E), torch.randn(1, 2, E + 1).double()):
            layer(x, x, x, need_weights=False, cache=cache)
            with pytest.raises((AssertionError, RuntimeError, ValueError, TypeError)):
                layer(bad, bad, bad, need_weights=False, cache=cache)
    assert cache.position == 9
    assert served == [False, False, *([True, False] * 2)]
