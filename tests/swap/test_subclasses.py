"""Layers of a user's own subclass of torch's, swapped and restored."""

from __future__ import annotations

import copy
import io
import pickle
from abc import ABC, abstractmethod
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations

import pyrnn
from pyrnn.nn.explain import explain
from tests.nn.pairs import tensors_in


class HandlesStates(nn.LSTM):
    """Methods beside torch's, as forecasting libraries write them."""

    kind = "lstm"

    def __init__(self, *args: Any, scale: float = 2.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scale = scale

    def initial_state(self, x: Tensor) -> tuple[Tensor, Tensor]:
        zeros = x.new_zeros(self.num_layers, x.shape[1], self.hidden_size)
        return zeros, zeros

    def scaled(self, x: Tensor) -> Tensor:
        return super().__call__(x, self.initial_state(x))[0] * self.scale

    def reset_parameters(self) -> None:
        super().reset_parameters()
        nn.init.zeros_(self.get_parameter("bias_hh_l0"))


class Deeper(HandlesStates):
    """A subclass of the subclass."""


class Called:
    """A mix-in."""

    calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return super().__call__(*args, **kwargs)  # type: ignore[misc]


class Mixed(Called, nn.GRUCell):
    pass


class Named(nn.MultiheadAttention):
    def describe(self) -> str:
        return f"{self.num_heads} heads"


class Blocks(nn.TransformerEncoderLayer):
    def _ff_block(self, x: Tensor) -> Tensor:
        return super()._ff_block(x) * 3  # ours call it where it was replaced


class Abstract(ABC, nn.RNNBase):
    @abstractmethod
    def width(self) -> int:
        """Of the output."""


class Concrete(Abstract, nn.LSTM):
    def width(self) -> int:
        return self.hidden_size


class OwnReduce(nn.RNN):
    def __reduce__(self) -> Any:
        return OwnReduce, (self.input_size, self.hidden_size), self.__getstate__()


SUBCLASSES = {
    "HandlesStates": (lambda: HandlesStates(3, 4, scale=0.5), (torch.randn(5, 2, 3),)),
    "Deeper": (lambda: Deeper(3, 4, 2, bidirectional=True), (torch.randn(5, 2, 3),)),
    "Mixed": (lambda: Mixed(3, 4), (torch.randn(2, 3),)),
    "Named": (lambda: Named(8, 2), (torch.randn(5, 2, 8),) * 3),
    "Blocks": (lambda: Blocks(8, 2, 16, 0.0), (torch.randn(5, 2, 8),)),
    "Concrete": (lambda: Concrete(3, 4), (torch.randn(5, 2, 3),)),
    "OwnReduce": (lambda: OwnReduce(3, 4), (torch.randn(5, 2, 3),)),
}


def through_torch_save(layer: nn.Module) -> nn.Module:
    buffer = io.BytesIO()
    torch.save(layer, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


@pytest.mark.parametrize("name", SUBCLASSES)
def test_it_is_swapped_and_stays_of_the_user_s_class(name: str) -> None:
    make, args = SUBCLASSES[name]
    theirs = make()
    ours = copy.deepcopy(theirs)
    kind = type(ours)
    report = pyrnn.accelerate(ours)
    assert len(report.kept) == 0
    assert report.layers[0].layer.startswith(f"{__name__}.{name}(")
    assert isinstance(ours, kind)
    assert (type(ours).__name__, type(ours).__module__) == (name, __name__)
    assert repr(ours) == repr(theirs)
    assert type(ours).forward.__module__.startswith("pyrnn.")
    for found, expected in zip(tensors_in(ours(*args)), tensors_in(theirs(*args)), strict=True):
        torch.testing.assert_close(found, expected)

    restored = pyrnn.restore(ours)
    assert not restored.kept
    assert type(ours) is kind
    for found, expected in zip(tensors_in(ours(*args)), tensors_in(theirs(*args)), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("name", SUBCLASSES)
@pytest.mark.parametrize(
    "copied",
    [
        copy.copy,
        copy.deepcopy,
        through_torch_save,
        *(
            lambda layer, p=p: pickle.loads(pickle.dumps(layer, p))
            for p in range(pickle.HIGHEST_PROTOCOL + 1)
        ),
    ],
)
def test_it_is_copied_and_pickled(name: str, copied: Any) -> None:
    make, args = SUBCLASSES[name]
    layer = make()
    pyrnn.accelerate(layer)
    twin = copied(layer)
    assert type(twin) is type(layer)
    assert twin is not layer
    assert vars(twin).keys() == vars(layer).keys()
    for found, expected in zip(tensors_in(twin(*args)), tensors_in(layer(*args)), strict=True):
        assert torch.equal(found, expected)


def test_what_the_user_wrote_is_called() -> None:
    layer = HandlesStates(3, 4)
    pyrnn.accelerate(layer)
    x = torch.randn(5, 2, 3)
    assert torch.equal(layer.scaled(x), layer(x)[0] * 2)
    assert layer.kind == "lstm"
    layer.reset_parameters()
    assert layer.get_parameter("bias_hh_l0").count_nonzero() == 0
    output, _, cells = layer(x, return_cells=True)  # type: ignore[call-arg]
    assert output.shape == cells.shape
    assert explain(layer, x).layers[0].path == "native"

    cell = Mixed(3, 4)
    pyrnn.accelerate(cell)
    cell(torch.randn(2, 3))
    assert cell.calls == 1


def test_layers_of_one_class_stay_of_one_class() -> None:
    layers = [HandlesStates(3, 4), HandlesStates(4, 3)]
    for layer in layers:
        pyrnn.accelerate(layer)
    assert type(layers[0]) is type(layers[1])
    assert "already pyrnn's" in pyrnn.accelerate(layers[0]).kept[0].reason


def test_it_compiles_and_takes_weight_norm() -> None:
    torch.compiler.reset()
    layer = HandlesStates(3, 4)
    pyrnn.accelerate(layer)
    x = torch.randn(5, 2, 3)
    expected = layer(x)[0]
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x)[0], expected)
    parametrizations.weight_norm(layer, "weight_hh_l0")
    torch.testing.assert_close(layer(x)[0], expected)
    assert isinstance(layer, HandlesStates)


class OwnForward(nn.GRU):
    def forward(self, *args: Any) -> Any:
        return super().forward(*args)[0]


class OwnCheck(nn.LSTM):
    def permute_hidden(self, hx: Any, permutation: Any) -> Any:
        return super().permute_hidden(hx, permutation)


class OwnWeights(nn.GRU):
    @property
    def _flat_weights(self) -> list[Tensor]:
        return [weight * 2 for weight in self._stored]

    @_flat_weights.setter
    def _flat_weights(self, weights: list[Tensor]) -> None:
        self._stored = weights


class Registers(nn.GRU):
    known: list[type] = []  # noqa: RUF012

    def __init_subclass__(cls) -> None:
        cls.known.append(cls)


class Slotted(nn.GRU):
    __slots__ = ("extra",)


class Meta(type):
    pass


class HasMeta(nn.GRU, metaclass=Meta):
    pass


@pytest.mark.parametrize(
    ("cls", "words"),
    [
        (OwnForward, "whose forward is its own"),
        (OwnCheck, "whose permute_hidden is its own"),
        (OwnWeights, "whose _flat_weights is its own"),
        (Registers, "__init_subclass__"),
        (Slotted, "__slots__"),
        (HasMeta, "a metaclass"),
    ],
)
def test_what_may_compute_something_else_is_left_alone(cls: Any, words: str) -> None:
    layer = cls(3, 4)
    (entry,) = pyrnn.accelerate(layer).layers
    assert not entry.swapped
    assert words in entry.reason
    assert type(layer) is cls
    assert not Registers.known
