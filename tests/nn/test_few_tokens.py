"""New tokens of a generating Transformer as one call of C++: torch's numbers, and nothing passed by."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_hook

from pyrnn import _dispatch, _native
from pyrnn.nn import TransformerEncoder, TransformerEncoderLayer
from pyrnn.nn import encoder_layer as layers_module
from pyrnn.nn import transformer as transformer_module
from tests.helpers import assert_as_accurate
from tests.nn.hung import HUNG, PARTS, Seen, assert_seen_alike

E, H, F = 24, 3, 40

needs_exchange_table = pytest.mark.skipif(
    not _dispatch.HAS_EXCHANGE_TABLE, reason="C++ cannot look at the tensors of this torch"
)


def encoder(*, norm: bool = True, layers: int = 2, dtype: torch.dtype = torch.float64, **options: Any) -> Any:
    torch.manual_seed(0)
    options = {"causal": True, "dropout": 0.1, "activation": nn.GELU(), **options}
    layer = TransformerEncoderLayer(E, H, F, **options)
    built = TransformerEncoder(layer, layers, nn.LayerNorm(E) if norm else None)
    for parameter in built.parameters():  # copies of one layer, with biases of zeros
        nn.init.normal_(parameter, std=0.3)
    return built.to(dtype).eval()


def steps(model: Any, pieces: list[Tensor]) -> list[Tensor]:
    """What a model makes of the pieces of a sequence, one after another."""
    cache = model.new_cache()
    with torch.no_grad():
        return [model(piece, cache=cache) for piece in pieces]


def spy_on(monkeypatch: pytest.MonkeyPatch, module: Any) -> list[bool]:
    """Whether each call of a stack, or of a layer, was served at once, from now on."""
    seen: list[bool] = []

    def spy(*args: Any, **options: Any) -> Tensor | str:
        found = run(*args, **options)
        seen.append(not isinstance(found, str))
        return found

    run = module.run_layers
    monkeypatch.setattr(module, "run_layers", spy)
    return seen


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each call of a stack was."""
    return spy_on(monkeypatch, transformer_module)


def by_parts(monkeypatch: pytest.MonkeyPatch, model: Any, pieces: list[Tensor]) -> list[Tensor]:
    with monkeypatch.context() as patch:
        for module in (layers_module, transformer_module):
            patch.setattr(module, "run_layers", lambda *_, **__: "left out")
        return steps(model, pieces)


CASES: list[dict[str, Any]] = [
    {},
    {"norm_first": True},
    {"norm_first": True, "activation": "relu", "norm": False},
    {"bias": False, "batch_first": True, "activation": nn.GELU("tanh")},
    {"norm_first": True, "window": (3, 0), "alibi": True},
    {"causal": False, "layers": 1, "window": (2, 2)},
]


@needs_exchange_table
@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_numbers_are_those_of_the_parts(
    case: dict[str, Any], dtype: torch.dtype, served: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, exact = encoder(dtype=dtype, **case), encoder(**case)
    exact.load_state_dict(model.state_dict())
    for B, sizes in ((1, [5, 1, 1, 1]), (3, [2, 1, 4, 1, 3]), (16, [3, 1])):
        shape = (B, sum(sizes), E) if case.get("batch_first") else (sum(sizes), B, E)
        whole = torch.randn(shape).to(dtype)
        pieces = [*whole.split(sizes, 1 if case.get("batch_first") else 0)]
        served.clear()
        found = steps(model, pieces)
        few = _native.cpu.most_rows()
        assert served == [False, *(B * size <= few for size in sizes[1:])]  # an empty cache has no room
        theirs = by_parts(monkeypatch, model, pieces)
        oracle = by_parts(monkeypatch, exact, [piece.double() for piece in pieces])
        assert_as_accurate(found, theirs, oracle)


@needs_exchange_table
def test_unbatched_tokens_and_a_single_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    served = spy_on(monkeypatch, layers_module)
    layer = encoder(layers=1).layers[0]
    pieces = [*torch.randn(6, E, dtype=torch.float64).split([3, 1, 2])]
    found = steps(layer, pieces)
    assert served == [False, True, True]
    torch.testing.assert_close(found, by_parts(monkeypatch, layer, pieces))


@needs_exchange_table
def test_no_number_stays_in_its_row(served: list[bool]) -> None:
    model, pieces = encoder(dtype=torch.float32), pieces_of_two(torch.float32)
    clean = steps(model, pieces)
    pieces[2][:, 0] = torch.nan
    spoilt = steps(model, pieces)
    assert served.count(True) == 6
    for before, after in zip(clean, spoilt, strict=True):
        assert torch.equal(before[:, 1], after[:, 1])
    assert spoilt[3][:, 0].isnan().all()


@needs_exchange_table
@pytest.mark.parametrize("scale", [1e-30, 1e9])
def test_numbers_of_every_size(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for norm_first in (False, True):
        model = encoder(dtype=torch.float32, norm_first=norm_first)
        exact = encoder(norm_first=norm_first)
        pieces = [*(torch.randn(4, 2, E) * scale).split(1)]
        oracle = by_parts(monkeypatch, exact, [piece.double() for piece in pieces])
        assert_as_accurate(steps(model, pieces), by_parts(monkeypatch, model, pieces), oracle)


@needs_exchange_table
def test_one_thread_or_two_give_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    served = spy_on(monkeypatch, layers_module)
    model = TransformerEncoderLayer(256, 4, 1024, causal=True).eval()
    prompt, token = torch.randn(5, 2, 256), torch.randn(1, 2, 256)
    before, results, cache = torch.get_num_threads(), [], model.new_cache()
    try:
        with torch.no_grad():
            model(prompt, cache=cache)
            for threads in (1, 2):
                torch.set_num_threads(threads)
                results.append(model(token, cache=cache.branch()))
    finally:
        torch.set_num_threads(before)
    assert served == [False, True, True]
    assert torch.equal(results[0], results[1])


def pieces_of_two(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [*torch.randn(4, 2, E, dtype=dtype).split(1)]


@pytest.mark.parametrize("hang", [name for name in HUNG if "backward" not in name])
@pytest.mark.parametrize("part", ["", *PARTS["TransformerEncoderLayer"]])
def test_what_hangs_on_a_layer_or_part_is_called(
    part: str, hang: str, monkeypatch: pytest.MonkeyPatch, served: list[bool]
) -> None:
    pieces = pieces_of_two()
    plain, model = steps(encoder(), pieces), encoder()
    seen: Seen = []
    HUNG[hang](model.layers[1].get_submodule(part), seen)
    served.clear()
    found = steps(model, pieces)
    assert not any(served)
    normalised_away = part.startswith("norm") and hang.startswith("before")  # what the hooks do to an input
    assert torch.allclose(found[-1], plain[-1]) == normalised_away
    seen_first = [*seen]
    seen.clear()
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces))
    assert_seen_alike(seen_first, seen)
    assert seen


def test_a_hook_on_all_modules_sees_the_parts(served: list[bool]) -> None:
    seen: list[str] = []
    handle = register_module_forward_hook(lambda module, *_: seen.append(type(module).__name__))
    try:
        steps(encoder(), pieces_of_two())
    finally:
        handle.remove()
    assert not any(served)
    assert seen.count("Linear") == 4 * 2 * 2  # tokens, layers, linear layers of each


@pytest.mark.parametrize("name", ["Linear", "LayerNorm", "Dropout"])
def test_a_class_whose_forward_was_replaced(
    name: str, served: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, calls = getattr(nn, name), []
    forward = cls.forward

    def replacement(self: Any, input: Tensor) -> Tensor:
        calls.append(name)
        return forward(self, input)

    monkeypatch.setattr(cls, "forward", replacement)
    steps(encoder(), pieces_of_two())
    assert not any(served)
    assert calls


def is_compiled(model: Any) -> None:
    linear = model.layers[1].linear2
    linear._compiled_call_impl = lambda x: 2 * nn.functional.linear(x, linear.weight, linear.bias)


def trains_a_part(model: Any) -> None:
    model.layers[0].dropout1.train()
    model.layers[0].dropout1.p = 1.0


def parametrizes(model: Any) -> None:
    class Doubled(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            return 2 * weight

    nn.utils.parametrize.register_parametrization(model.layers[1].linear2, "weight", Doubled())


def replaces_a_block(model: Any) -> None:
    model.layers[1]._ff_block = lambda x: 3 * x


def activates_otherwise(model: Any) -> None:
    del model.layers[0].activation  # a module; now a function
    model.layers[0].activation = torch.sin


def normalises_otherwise(model: Any) -> None:
    model.norm = nn.RMSNorm(E, dtype=torch.float64)


def adapts(model: Any) -> None:
    class Adapted(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return super().forward(input) + input.mean()

    model.layers[0].linear1.__class__ = Adapted


def is_no_module(model: Any) -> None:
    norm = model.layers[0].norm1
    del model.layers[0].norm1
    model.layers[0].norm1 = lambda x: 2 * norm(x)


def keeps_layers_in_a_list(model: Any) -> None:
    layers = [*model.layers]
    del model.layers
    model.layers = layers[::-1]


def lacks_affine(model: Any) -> None:
    model.layers[0].norm1 = nn.LayerNorm(E, elementwise_affine=False)


@pytest.mark.parametrize(
    "change",
    [
        trains_a_part, parametrizes, replaces_a_block, activates_otherwise, normalises_otherwise, adapts,
        lacks_affine, is_no_module, keeps_layers_in_a_list, is_compiled,
    ],
)  # fmt: skip
def test_what_was_changed_counts(change: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = pieces_of_two()
    plain, model = steps(encoder(), pieces), encoder()
    change(model)
    found = steps(model, pieces)
    assert not torch.allclose(found[-1], plain[-1])
    torch.testing.assert_close(found, by_parts(monkeypatch, model, pieces))


@needs_exchange_table
def test_weights_written_between_two_tokens_count(
    served: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However they are written: nothing is kept from call to call."""
    model, pieces = encoder(), pieces_of_two()
    cache = model.new_cache()
    with torch.no_grad():
        model(pieces[0], cache=cache)
        model.layers[0].linear1.weight.data.mul_(2)
        model.layers[1].self_attn.out_proj.weight.numpy()[:] *= 3
        branch = cache.branch()
        found = model(pieces[1], cache=cache)
        other = dict(model.named_parameters()) | {"layers.0.linear2.bias": torch.ones(E, dtype=torch.float64)}
        swapped = torch.func.functional_call(model, other, (pieces[1],), {"cache": branch.branch()})
        assert served == [False, True, True]
        for expected, values in ((found, {}), (swapped, other)):
            monkeypatch.setattr(transformer_module, "run_layers", lambda *_, **__: "left out")
            monkeypatch.setattr(layers_module, "run_layers", lambda *_, **__: "left out")
            parts = torch.func.functional_call(model, values, (pieces[1],), {"cache": branch.branch()})
            torch.testing.assert_close(expected, parts)


def test_calls_that_are_not_served(served: list[bool]) -> None:
    model, pieces = encoder(), pieces_of_two()
    padding = torch.zeros(2, 1, dtype=torch.bool)
    for options in ({"mask": torch.zeros(1, 1, dtype=torch.bool)}, {"src_key_padding_mask": padding}):
        cache = model.new_cache()
        with torch.no_grad():
            for piece in pieces:
                if "mask" in options:
                    options = {"mask": torch.zeros(1, cache.position + 1, dtype=torch.bool)}
                model(piece, cache=cache, **options)
    cache = model.new_cache()
    for piece in pieces:  # gradients are recorded
        assert model(piece, cache=cache).requires_grad
    model.train()
    with torch.no_grad():
        cache = model.new_cache()
        for piece in pieces:
            model(piece, cache=cache)
    assert not any(served)


@pytest.mark.parametrize("E_given", [E - 1, E + 1])
def test_other_features_are_refused_in_words(E_given: int) -> None:
    model, pieces = encoder(), pieces_of_two()
    cache = model.new_cache()
    with torch.no_grad():
        model(pieces[0], cache=cache)
        with pytest.raises((RuntimeError, AssertionError, ValueError), match=str(E)):
            model(torch.randn(1, 2, E_given, dtype=torch.float64), cache=cache)
        assert cache.position == 1
        model(pieces[1], cache=cache)
    assert cache.position == 2
