"""New tokens of a Transformer's decoder as one call of C++: torch's numbers, and nothing passed by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pyrnn import _native
from pyrnn.nn import CacheList, TransformerDecoder, TransformerDecoderLayer
from pyrnn.nn import decoder_layer as layers_module
from pyrnn.nn import transformer as transformer_module
from tests.helpers import assert_as_accurate
from tests.nn.hung import HUNG, PARTS, Seen
from tests.nn.test_few_tokens import needs_exchange_table, spy_on

E, H, F, S = 24, 3, 40, 7
#: torch's copies of a decoder's layer take a function for an activation that was a module.
MODULES = [part for part in PARTS["TransformerDecoderLayer"] if part != "activation"]


def decoder(*, norm: bool = True, layers: int = 2, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"causal": True, "dropout": 0.1, **options}
    layer = TransformerDecoderLayer(E, H, F, **options)
    built = TransformerDecoder(layer, layers, nn.LayerNorm(E) if norm else None)
    for parameter in built.parameters():  # copies of one layer, with biases of zeros
        nn.init.normal_(parameter, std=0.3)
    return built.to(dtype).eval()


def steps(
    model: Any,
    pieces: list[Tensor],
    memory: Tensor,
    padding: Tensor | None = None,
    rows: Tensor | None = None,
) -> list[Tensor]:
    """What a model makes of pieces of targets; behind the first one the sequences become `rows`."""
    cache, found = model.new_cache(), []
    with torch.no_grad():
        for number, piece in enumerate(pieces):
            if number == 1 and rows is not None:
                cache.reorder(rows)
            told = padding if number == 0 else None
            found.append(model(piece, memory, memory_key_padding_mask=told, cache=cache))
    return found


def by_parts(monkeypatch: pytest.MonkeyPatch, *args: Any, **options: Any) -> list[Tensor]:
    with monkeypatch.context() as patch:
        for module in (layers_module, transformer_module):
            patch.setattr(module, "run_layers", lambda *_, **__: "left out")
        return steps(*args, **options)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a stack was served at once."""
    return spy_on(monkeypatch, transformer_module)


def targets(B: int, sizes: list[int], *, batch_first: bool = False) -> list[Tensor]:
    dim = 1 if batch_first else 0
    shape = (B, sum(sizes), E) if batch_first else (sum(sizes), B, E)
    return [*torch.randn(shape, dtype=torch.float64).split(sizes, dim)]


def memory_of(B: int, *, batch_first: bool = False) -> Tensor:
    return torch.randn((B, S, E) if batch_first else (S, B, E), dtype=torch.float64)


CASES: list[dict[str, Any]] = [
    {},
    {"norm_first": True, "activation": "gelu"},
    {"norm_first": True, "batch_first": True, "norm": False, "bias": False},
    {"alibi": True, "window": (3, 0), "layers": 1},
]


@needs_exchange_table
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_are_those_of_the_parts(
    case: dict[str, Any], dtype: torch.dtype, served: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, exact = decoder(dtype=dtype, **case), decoder(**case)
    exact.load_state_dict(model.state_dict())
    first = case.get("batch_first", False)
    for B, sizes in ((1, [5, 1, 1]), (3, [2, 1, 4, 1]), (37, [1, 1, 1])):
        pieces = [piece.to(dtype) for piece in targets(B, sizes, batch_first=first)]
        memory = memory_of(B, batch_first=first).to(dtype)
        padding = torch.arange(S) >= torch.randint(1, S + 1, (B, 1)) if B > 1 else None
        served.clear()
        found = steps(model, pieces, memory, padding)
        few = _native.cpu.most_rows()
        assert served == [False, *(B * size <= few for size in sizes[1:])]  # an empty cache has no room
        theirs = by_parts(monkeypatch, model, pieces, memory, padding)
        doubles = [piece.double() for piece in pieces]
        oracle = by_parts(monkeypatch, exact, doubles, memory.double(), padding)
        assert_as_accurate(found, theirs, oracle)


@needs_exchange_table
def test_a_memory_that_a_search_reordered(served: list[bool], monkeypatch: pytest.MonkeyPatch) -> None:
    model, memory, rows = decoder(), memory_of(3), torch.tensor([2, 0, 0, 1, 2])
    padding = torch.arange(S) >= torch.tensor([[7], [2], [4]])
    pieces = [*targets(3, [1]), *targets(5, [1, 1])]
    found = steps(model, pieces, memory, padding, rows)
    assert served == [False, True, True]
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces, memory, padding, rows))


@needs_exchange_table
def test_padding_of_a_memory_does_not_leak(served: list[bool]) -> None:
    model, pieces, padding = decoder(), targets(2, [1, 1, 1]), torch.arange(S) >= torch.tensor([[4], [7]])
    clean = memory_of(2)
    spoilt = clean.clone()
    spoilt[4:, 0] = torch.nan
    found, expected = (steps(model, pieces, memory, padding) for memory in (spoilt, clean))
    assert served.count(True) == 4
    torch.testing.assert_close(found, expected)


@needs_exchange_table
def test_unbatched_tokens_and_a_single_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    served = spy_on(monkeypatch, layers_module)
    layer = decoder(layers=1).layers[0]
    pieces = [*torch.randn(6, E, dtype=torch.float64).split([3, 1, 2])]
    memory = torch.randn(S, E, dtype=torch.float64)
    found = steps(layer, pieces, memory)
    assert served == [False, True, True]
    torch.testing.assert_close(found, by_parts(monkeypatch, layer, pieces, memory))


@pytest.mark.parametrize("hang", [name for name in HUNG if "backward" not in name])
@pytest.mark.parametrize("part", ["", *MODULES])
def test_what_hangs_on_a_layer_or_part_is_called(
    part: str, hang: str, monkeypatch: pytest.MonkeyPatch, served: list[bool]
) -> None:
    pieces, memory, seen = targets(2, [1, 1, 1]), memory_of(2), Seen()
    model = decoder()
    HUNG[hang](model.layers[1].get_submodule(part), seen)
    found = steps(model, pieces, memory)
    assert not any(served)
    assert seen
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces, memory))


def replaces_a_block(model: Any) -> None:
    model.layers[1]._mha_block = lambda x, *_, **__: 3 * x


def trains_a_part(model: Any) -> None:
    model.layers[0].dropout3.train()
    model.layers[0].dropout3.p = 1.0


def normalises_otherwise(model: Any) -> None:
    model.layers[1].norm3 = nn.RMSNorm(E, dtype=torch.float64)


@pytest.mark.parametrize("change", [replaces_a_block, trains_a_part, normalises_otherwise])
def test_what_was_changed_counts(change: Any, monkeypatch: pytest.MonkeyPatch, served: list[bool]) -> None:
    pieces, memory = targets(2, [1, 1, 1]), memory_of(2)
    plain, model = steps(decoder(), pieces, memory), decoder()
    served.clear()
    change(model)
    found = steps(model, pieces, memory)
    assert not any(served)
    assert not torch.allclose(found[-1], plain[-1])
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces, memory))


def test_masks_and_recorded_gradients_take_the_parts(served: list[bool]) -> None:
    model, pieces, memory = decoder(), targets(2, [1, 1]), memory_of(2)
    cache = model.new_cache()
    for piece in pieces:
        assert model(piece, memory, cache=cache).requires_grad
    with torch.no_grad():
        cache = model.new_cache()
        for piece in pieces:
            model(piece, memory, memory_mask=torch.zeros(1, S, dtype=torch.bool), cache=cache)
    assert not any(served)


def test_a_cache_of_another_kind_of_layer_is_refused(served: list[bool]) -> None:
    model, memory, [first, second] = decoder(layers=1), memory_of(2), targets(2, [1, 1])
    cache = model.layers[0].self_attn.new_cache()
    with torch.no_grad():
        model.layers[0].self_attn(first, first, first, need_weights=False, cache=cache)
        for wrong in (cache, CacheList([*model.layers[0].new_cache(), cache])):
            with pytest.raises(TypeError, match=r"layer\.new_cache"):
                model(second, memory, cache=CacheList([wrong]))
    assert not any(served)


def test_attentions_in_another_order_of_dimensions(
    served: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, memory = decoder(layers=1), memory_of(2)
    model.layers[0].multihead_attn.batch_first = True
    pieces = targets(2, [2, 2])
    with torch.no_grad():
        memory = memory[:2]  # as many positions as sequences: either order fits
    found = steps(model, pieces, memory)
    assert not any(served)
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces, memory))


def test_later_calls_need_a_memory_too() -> None:
    model, pieces = decoder(), targets(2, [1, 1])
    cache, nothing = model.new_cache(), None
    with torch.no_grad():
        model(pieces[0], memory_of(2), cache=cache)
        with pytest.raises(TypeError, match="memory"):
            model(pieces[1], nothing, cache=cache)
        assert cache[0].position == 1


@needs_exchange_table
def test_room_in_a_cache_is_given_back_after_an_error(served: list[bool]) -> None:
    model, pieces, memory = decoder(), targets(2, [1, 1, 1]), memory_of(2)
    expected = steps(model, pieces, memory)
    cache, eps = model.new_cache(), model.layers[1].norm3.eps
    with torch.no_grad():
        model(pieces[0], memory, cache=cache)
        model(pieces[1], memory, cache=cache)
        buffer = cache[0][0]._buffers[0]
        model.layers[1].norm3.eps = "none"
        with pytest.raises(RuntimeError):
            model(pieces[2], memory, cache=cache)
        model.layers[1].norm3.eps = eps
        torch.testing.assert_close(model(pieces[2], memory, cache=cache), expected[2])
    assert served[-1]
    assert cache[0][0]._buffers[0] is buffer  # nothing was copied into another
