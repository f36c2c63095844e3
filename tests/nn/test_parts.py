"""Nothing that hangs on a part of a Transformer layer is passed by: results and calls are torch's."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules import module as hooks_of_all
from torch.nn.utils import parametrizations, parametrize, spectral_norm, weight_norm

import pyrnn.nn
from pyrnn.nn import MultiheadAttention, TransformerEncoderLayer
from tests.nn.hung import (
    BLOCKS,
    EVERY_PART,
    HUNG,
    PARTS,
    SEED,
    Seen,
    assert_alike,
    call,
    changed,
    layer_of,
    tensors,
)

BOTH = [False, True]


def layers(name: str, **options: Any) -> tuple[Any, Any]:
    """Our layer and torch's."""
    return layer_of(pyrnn.nn, name, **options), layer_of(nn, name, **options)


@pytest.mark.parametrize("hang", HUNG)
@pytest.mark.parametrize(("name", "part"), EVERY_PART)
def test_what_hangs_on_a_part_is_called(name: str, part: str, hang: str) -> None:
    for norm_first in BOTH:
        ours, theirs = layers(name, norm_first=norm_first)
        plain = call(ours, masked=True)
        seen: Seen = []
        for layer in (ours, theirs):
            HUNG[hang](layer.get_submodule(part), seen)
        assert_alike(ours, theirs, seen)
        ours.train()
        seen.clear()
        result = call(ours, masked=True)
        assert seen
        assert not torch.allclose(result[-1], plain[-1])  # of backward hooks it is the gradient that shows


@pytest.mark.parametrize("hang", HUNG)
@pytest.mark.parametrize("name", PARTS)
def test_all_parts_are_called_in_torch_s_order(name: str, hang: str) -> None:
    for norm_first in BOTH:
        ours, theirs = layers(name, norm_first=norm_first)
        seen: Seen = []
        for layer in (ours, theirs):
            for part in PARTS[name]:
                HUNG[hang](layer.get_submodule(part), seen)
        assert_alike(ours, theirs, seen, masked=False)


# ---- hooks on all modules ------------------------------------------------------------------------


def watch(kind: str, seen: Seen) -> Any:
    """Register a hook of all modules."""

    def note(module: nn.Module, *found: Any) -> None:
        seen.extend([f"{kind} {type(module).__name__}", *tensors(found)])

    def note_kwargs(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        seen.extend([f"{kind} {type(module).__name__}", *sorted(kwargs), *tensors((args, kwargs, output))])

    if kind == "forward":
        return hooks_of_all.register_module_forward_hook(note)
    if kind == "with kwargs":
        return hooks_of_all.register_module_forward_hook(note_kwargs, with_kwargs=True, always_call=True)
    if kind == "before forward":
        return hooks_of_all.register_module_forward_pre_hook(note)
    if kind == "backward":
        return hooks_of_all.register_module_full_backward_hook(note)
    return hooks_of_all.register_module_full_backward_pre_hook(note)


@pytest.fixture
def _no_hooks_left() -> Iterator[None]:
    """torch remembers the kind of backward hooks, and which took keywords, when there are none any more."""
    yield
    hooks_of_all._global_is_full_backward_hook = None
    hooks_of_all._global_forward_hooks_with_kwargs.clear()


@pytest.mark.usefixtures("_no_hooks_left")
@pytest.mark.parametrize("kind", ["forward", "with kwargs", "before forward", "backward", "before backward"])
@pytest.mark.parametrize("name", PARTS)
def test_hooks_on_all_modules_see_every_part(name: str, kind: str) -> None:
    for norm_first in BOTH:
        ours, theirs = layers(name, norm_first=norm_first)
        seen: Seen = []
        handle = watch(kind, seen)
        try:
            assert_alike(ours, theirs, seen)
            ours.train()
            call(ours, masked=True)
        finally:
            handle.remove()
        assert {entry.split()[-1] for entry in seen if isinstance(entry, str)} >= {
            "Linear",
            "Dropout",
            "GELU",
        }


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype stage")
def test_a_layer_is_called_once_for_nested_tensors() -> None:
    calls: list[str] = []
    layer = TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True)
    for name, module in (("layer", layer), ("attention", layer.self_attn)):
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    nested = torch.nested.nested_tensor([torch.randn(length, 8) for length in (5, 2)])
    layer(nested)
    assert calls == ["attention", "layer"]
    layer.self_attn(nested, nested, nested)
    assert calls == ["attention", "layer", "attention"]


# ---- other parts ---------------------------------------------------------------------------------


class LowRank(nn.Module):
    """W x + B A x, as adapters put it in a linear layer's place."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base
        self.A = nn.Linear(base.in_features, 2, bias=False, dtype=torch.float64)
        self.B = nn.Linear(2, base.out_features, bias=False, dtype=torch.float64)

    def forward(self, input: Tensor) -> Tensor:
        return self.base(input) + self.B(self.A(input))


class Observed(nn.Linear):
    """As observers of quantisation are: a linear layer that does more."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward((input * 8).round() / 8)


def observed(linear: Any) -> nn.Module:
    other = Observed(linear.in_features, linear.out_features, dtype=torch.float64)
    other.load_state_dict(linear.state_dict())
    return other


REPLACEMENTS: dict[str, tuple[str, Callable[[Any], nn.Module]]] = {
    f"{part}: {words}": (part, make)
    for part, words, make in [
        *((part, "LowRank", LowRank) for part in ("linear1", "linear2")),
        *((part, "Observed", observed) for part in ("linear1", "linear2")),
        *((part, "weight_norm", parametrizations.weight_norm) for part in ("linear1", "linear2")),
        *((part, "spectral_norm", parametrizations.spectral_norm) for part in ("linear1", "linear2")),
        *((part, "old weight_norm", weight_norm) for part in ("linear1", "linear2")),
        *((part, "old spectral_norm", spectral_norm) for part in ("linear1", "linear2")),
        ("self_attn.out_proj", "weight_norm", parametrizations.weight_norm),
        ("self_attn.out_proj", "spectral_norm", parametrizations.spectral_norm),
        ("self_attn.out_proj", "Observed", observed),
        *((part, "Identity", lambda _: nn.Identity()) for part in ("dropout", "dropout1", "dropout2")),
        *((part, "drops all", lambda _: nn.Dropout(1.0)) for part in ("dropout", "dropout1", "dropout2")),
        *((part, "in place", lambda _: nn.Dropout(1.0, inplace=True)) for part in ("dropout1", "dropout2")),
        ("activation", "Tanh", lambda _: nn.Tanh()),
        ("activation", "GELU tanh", lambda _: nn.GELU("tanh")),
        ("activation", "ReLU", lambda _: nn.ReLU(inplace=True)),
    ]
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("replacement", REPLACEMENTS)
@pytest.mark.parametrize("name", PARTS)
def test_a_part_in_another_s_place_is_used(name: str, replacement: str) -> None:
    part, make = REPLACEMENTS[replacement]
    for norm_first in BOTH:
        ours, theirs = layers(name, norm_first=norm_first)
        for layer in (ours, theirs):
            torch.manual_seed(SEED)
            *above, own = part.split(".")
            setattr(layer.get_submodule(".".join(above)), own, make(layer.get_submodule(part)))
        assert_alike(ours, theirs, [])  # spectral norms iterate in training: once a call, as in torch


@pytest.mark.parametrize("name", PARTS)
def test_a_part_s_own_settings_are_followed(name: str) -> None:
    """Dropping everything shows without random numbers what a dropout does."""
    for part in ("dropout", "dropout1", "dropout2"):
        for p, training in itertools.product((0.0, 1.0), BOTH):
            ours, theirs = layers(name)
            for layer in (ours, theirs):
                dropout = layer.get_submodule(part)
                dropout.p = p
                dropout.train(training)
            torch.testing.assert_close(call(ours, masked=True), call(theirs, masked=True))


def doubled(x: Tensor) -> Tensor:
    return 2 * functional.relu(x)


@pytest.mark.parametrize("name", PARTS)
def test_a_function_as_activation_may_be_exchanged(name: str) -> None:
    ours, theirs = layers(name, activation="relu")
    assert_alike(ours, theirs, [])
    for activation in (functional.gelu, doubled, torch.relu, functional.silu):
        ours.activation = theirs.activation = activation
        assert_alike(ours, theirs, [])


@pytest.mark.parametrize("where", ["instance", "subclass"])
@pytest.mark.parametrize(("name", "method"), BLOCKS)
def test_what_replaces_a_method_of_torch_s_layer_is_called(name: str, where: str, method: str) -> None:
    seen: Seen = []
    for norm_first in BOTH:
        both = layers(name, norm_first=norm_first)
        for layer in both:
            block = getattr(layer, method)

            def replaced(*args: Any, block: Any = block, **kwargs: Any) -> Tensor:
                seen.extend(["block", *sorted(kwargs), *tensors((args, kwargs))])
                return changed(block(*args, **kwargs))

            if where == "instance":
                setattr(layer, method, replaced)
            else:
                layer.__class__ = type("Sub", (type(layer),), {method: staticmethod(replaced)})
        assert_alike(*both, seen)
        assert seen


def test_an_encoder_hands_masks_on_as_torch_s_does() -> None:
    """To layers and attentions that are not ours, bool masks come as numbers to add."""

    class Body(nn.Module):
        def __init__(self, layer: nn.Module) -> None:
            super().__init__()
            self.self_attn = layer.self_attn  # torch's encoder looks at it
            self.layer = layer

        def forward(self, src: Tensor, **masks: Any) -> Tensor:
            seen.extend([*sorted(masks), *tensors(masks)])
            return self.layer(src, **masks)

    seen: Seen = []
    x = torch.randn(5, 3, 8, dtype=torch.float64)
    masks = {
        "mask": torch.ones(5, 5, dtype=torch.bool).triu(1),
        "src_key_padding_mask": torch.zeros(3, 5) > 0,
    }
    found = []
    for package in (pyrnn.nn, nn):
        layer = Body(layer_of(package, "TransformerEncoderLayer"))
        stack = package.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        seen.clear()
        found.append([stack(x, **masks), *(entry for entry in seen if isinstance(entry, Tensor))])
    torch.testing.assert_close(found[0], found[1])


# ---- weights that are not there until the forward runs -------------------------------------------


def offload(module: Any) -> None:
    """Keep the weights elsewhere; an instance forward brings them, and takes them away again."""
    kept = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    forward = module.forward

    def replacement(*args: Any, **kwargs: Any) -> Any:
        module.to_empty(device="cpu").load_state_dict(kept)
        try:
            return forward(*args, **kwargs)
        finally:
            module.to("meta")

    module.forward = replacement
    module.to("meta")


@pytest.mark.parametrize("name", PARTS)
def test_weights_that_an_instance_forward_brings(name: str) -> None:
    for norm_first, training in itertools.product(BOTH, BOTH):
        layer = layer_of(pyrnn.nn, name, norm_first=norm_first).train(training)
        with torch.no_grad():
            expected = call(layer, masked=True)
            for part in PARTS[name]:
                offload(layer.get_submodule(part))
            assert {parameter.device.type for parameter in layer.parameters()} == {"meta"}
            torch.testing.assert_close(call(layer, masked=True), expected)


def test_functional_call_exchanges_the_weights_of_parts() -> None:
    for name in PARTS:
        ours, theirs = layers(name)
        other = {label: torch.randn_like(weight) for label, weight in ours.named_parameters()}
        x = torch.randn(5, 3, 8, dtype=torch.float64)
        args = (x, x) if "Decoder" in name else (x,)
        found, expected = (torch.func.functional_call(layer, other, args) for layer in (ours, theirs))
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("label", ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"])
@pytest.mark.parametrize("same", BOTH)
def test_a_parametrization_of_an_attention_is_computed_once_a_call(label: str, same: bool) -> None:
    attention, calls = MultiheadAttention(8, 2), []

    class Counted(nn.Module):
        def forward(self, weight: Tensor) -> Tensor:
            calls.append(label)
            return 2 * weight

    *above, own = label.split(".")
    parametrize.register_parametrization(attention.get_submodule(".".join(above)), own, Counted())
    calls.clear()
    x = torch.randn(5, 3, 8)
    attention(x, x if same else x.clone(), x)
    assert calls == [label]
