"""The layers and cells are torch's in everything but the arithmetic."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

import pyrnn
from tests.nn.pairs import CELLS, LAYERS, assert_same, pair

EVERY = (*LAYERS, *CELLS)

#: Options of each layer that show in `extra_repr` and in the set of parameters.
OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in EVERY),
    *((name, {"bias": False}) for name in EVERY),
    *(
        (name, {"num_layers": 3, "bidirectional": True, "dropout": 0.25, "batch_first": True})
        for name in LAYERS
    ),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    ("LSTM", {"proj_size": 2, "bias": False}),
    ("RNN", {"nonlinearity": "relu"}),
    ("RNNCell", {"nonlinearity": "relu"}),
]


def sample(name: str, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    shape = (2, 3) if name in CELLS else (5, 2, 3)
    return torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_same_parameters_from_the_same_seed(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, 3, 4, **options)
    expected, found = list(theirs.named_parameters()), list(ours.named_parameters())
    assert [label for label, _ in found] == [label for label, _ in expected]
    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(found, expected, strict=True))
    torch.manual_seed(9)
    theirs.reset_parameters()
    torch.manual_seed(9)
    ours.reset_parameters()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_same_attributes_and_text(name: str, options: dict[str, Any]) -> None:
    theirs, ours = pair(name, 3, 4, **options)
    assert repr(ours) == repr(theirs)
    public = {key: value for key, value in vars(theirs).items() if not key.startswith("_")}
    assert {key: vars(ours)[key] for key in public} == public
    assert ours.__constants__ == theirs.__constants__
    if name in LAYERS:
        names = {id(weight): label for label, weight in ours.named_parameters()}
        assert [[names[id(weight)] for weight in group] for group in ours.all_weights] == theirs._all_weights
        assert ours.flatten_parameters() is None


@pytest.mark.parametrize("name", LAYERS)
def test_same_signature(name: str) -> None:
    """torch declares it in its documentation: its own constructors take *args."""
    documented = {
        "RNN": "input_size hidden_size num_layers nonlinearity bias batch_first dropout bidirectional",
        "GRU": "input_size hidden_size num_layers bias batch_first dropout bidirectional",
        "LSTM": "input_size hidden_size num_layers bias batch_first dropout bidirectional proj_size",
    }
    parameters = inspect.signature(getattr(pyrnn, name)).parameters.values()
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == [*documented[name].split(), "device", "dtype"]


def test_positional_arguments() -> None:
    assert repr(pyrnn.RNN(3, 4, 2, "relu", False, True, 0.5, True)) == repr(
        nn.RNN(3, 4, 2, "relu", False, True, 0.5, True)
    )
    assert repr(pyrnn.LSTM(3, 4, 2, False, True, 0.5, True, 2)) == repr(
        nn.LSTM(3, 4, 2, False, True, 0.5, True, 2)
    )
    assert repr(pyrnn.RNNCell(3, 4, False, "relu")) == repr(nn.RNNCell(3, 4, False, "relu"))


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_state_dict_goes_both_ways(name: str, options: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = pair(name, 3, 4, **options)
    for source, target in ((theirs, ours), (ours, theirs)):
        source.reset_parameters()
        torch.save(source.state_dict(), tmp_path / "state.pt")
        target.load_state_dict(torch.load(tmp_path / "state.pt"))
        x = sample(name)
        assert_same(ours.eval()(x), theirs.eval()(x))


def test_state_dict_that_does_not_fit() -> None:
    with pytest.raises(RuntimeError, match="size mismatch for weight_ih_l0"):
        pyrnn.GRU(3, 4).load_state_dict(nn.GRU(5, 4).state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        pyrnn.GRU(3, 4, 2).load_state_dict(nn.GRU(3, 4).state_dict())


@pytest.mark.parametrize("name", EVERY)
def test_pickle_and_deepcopy(name: str) -> None:
    _, ours = pair(name, 3, 4)
    ours.register_buffer("extra", torch.ones(2))
    x = sample(name)
    buffer = io.BytesIO()
    torch.save(ours, buffer)
    buffer.seek(0)
    for twin in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(buffer, weights_only=False),
    ):
        assert type(twin) is type(ours)
        assert_same(twin(x), ours(x))
        assert not {id(p) for p in twin.parameters()} & {id(p) for p in ours.parameters()}
        with torch.no_grad():
            next(twin.parameters()).zero_()  # the twin computes with its own weights
        assert not torch.equal(next(ours.parameters()), next(twin.parameters()))
        twin(x)


def test_pickle_keeps_what_torch_does_not_know() -> None:
    layer = pickle.loads(pickle.dumps(pyrnn.LSTM(3, 4, checkpoint_every=7)))
    assert layer.checkpoint_every == 7


@pytest.mark.parametrize("name", EVERY)
def test_dtype_and_device_moves(name: str) -> None:
    theirs, ours = pair(name, 3, 4)
    x = sample(name, torch.float32)
    for module in (theirs, ours):
        module.float()
    assert_same(ours(x), theirs(x), rtol=1e-5, atol=1e-6)
    ours.to("meta")
    assert all(p.device.type == "meta" for p in ours.parameters())
    output = ours(x.to("meta"))
    assert [t.shape for t in flatten(output)] == [t.shape for t in flatten(theirs(x))]
    ours.to_empty(device="cpu").load_state_dict(theirs.state_dict())
    assert_same(ours(x), theirs(x), rtol=1e-5, atol=1e-6)


def flatten(result: Any) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else [t for part in result for t in flatten(part)]


@pytest.mark.parametrize("name", EVERY)
def test_hooks(name: str) -> None:
    _, ours = pair(name, 3, 4)
    seen: list[str] = []
    ours.register_forward_pre_hook(lambda *_: seen.append("before"))
    ours.register_forward_hook(lambda *_: seen.append("after"))
    ours.register_full_backward_hook(lambda *_: seen.append("backward"))
    flatten(ours(sample(name).requires_grad_()))[0].sum().backward()
    assert seen == ["before", "after", "backward"]


@pytest.mark.parametrize("name", EVERY)
def test_functional_call(name: str) -> None:
    theirs, ours = pair(name, 3, 4)
    other = {label: torch.randn_like(value) for label, value in ours.named_parameters()}
    x = sample(name)
    before = ours(x)
    expected = torch.func.functional_call(theirs, other, (x,))
    assert_same(torch.func.functional_call(ours, other, (x,)), expected)
    assert_same(ours(x), before)


@pytest.mark.parametrize("name", EVERY)
def test_a_weight_assigned_later(name: str) -> None:
    theirs, ours = pair(name, 3, 4)
    label = recurrent_weight(name)
    fresh = nn.Parameter(torch.randn_like(getattr(ours, label)))
    for module in (theirs, ours):
        setattr(module, label, fresh)
    assert_same(ours(sample(name)), theirs(sample(name)))


class Halved(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * 0.5


def recurrent_weight(name: str) -> str:
    return "weight_hh" if name in CELLS else "weight_hh_l0"


@pytest.mark.parametrize("name", EVERY)
def test_parametrized_weight(name: str) -> None:
    theirs, ours = pair(name, 3, 4)
    label = recurrent_weight(name)
    parametrize.register_parametrization(ours, label, Halved())
    weight = theirs.get_parameter(label)
    with torch.no_grad():
        weight.mul_(0.5)
    x = sample(name)
    assert_same(ours(x), theirs(x))
    flatten(ours(x))[0].sum().backward()
    flatten(theirs(x))[0].sum().backward()
    assert_same(ours.parametrizations[label].original.grad, weight.grad * 0.5)
    parametrize.remove_parametrizations(ours, label)
    assert_same(ours(x), theirs(x))


@pytest.mark.parametrize("label", ["weight_ih", "weight_hh", "bias_ih", "bias_hh"])
@pytest.mark.parametrize("name", EVERY)
def test_a_parametrization_is_computed_once_a_call(name: str, label: str) -> None:
    """Some go on with every call, as spectral_norm, or draw random numbers."""
    _, ours = pair(name, 3, 4)
    label += "" if name in CELLS else "_l0"
    calls: list[str] = []
    parametrize.register_parametrization(ours, label, Halved())
    ours.parametrizations[label][0].register_forward_hook(lambda *_: calls.append(label))
    ours(sample(name))
    assert calls == [label]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*is deprecated:FutureWarning")
@pytest.mark.parametrize("norm", [parametrizations.weight_norm, nn.utils.weight_norm])
@pytest.mark.parametrize("name", EVERY)
def test_weight_norm(name: str, norm: Any) -> None:
    """The older one is a hook that sets the weight before each call."""
    theirs, ours = pair(name, 3, 4)
    norm(ours, recurrent_weight(name))
    assert_same(ours(sample(name)), theirs(sample(name)))
    magnitude = next(value for _, value in ours.named_parameters() if value.shape[-1] == 1)
    with torch.no_grad():
        magnitude.mul_(2)
        theirs.get_parameter(recurrent_weight(name)).mul_(2)
    assert_same(ours(sample(name)), theirs(sample(name)))


def test_data_parallel_replica() -> None:
    _, ours = pair("GRU", 3, 4)
    replica = ours._replicate_for_data_parallel()
    for label, parameter in ours.named_parameters():
        setattr(replica, label, parameter.detach())
    assert_same(replica(sample("GRU")), ours(sample("GRU")))


def test_share_memory() -> None:
    _, ours = pair("LSTM", 3, 4)
    before = ours(sample("LSTM"))
    ours.share_memory()
    assert all(parameter.is_shared() for parameter in ours.parameters())
    assert_same(ours(sample("LSTM")), before)
