"""The layers under torch's compilers, transforms, autocast and checkpointing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.exc import Unsupported
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils.checkpoint import checkpoint

import pyrnn
from tests.nn.pairs import CELLS, LAYERS, assert_same, gradients, pair, random_state

X = torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def compiled(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """Compiled in one graph, without the code generator, which is slow to start and not what is tested."""
    return torch.compile(function, fullgraph=True, backend="aot_eager", **options)


@pytest.mark.parametrize("name", LAYERS)
def test_compile(name: str) -> None:
    _, ours = pair(name, 3, 4, 2, bidirectional=True)
    x = X.clone().requires_grad_()
    hx = random_state(ours, 2)
    result, expected = compiled(ours)(x, hx), ours(x, hx)
    assert_same(result, expected)
    assert_same(gradients(ours, result, x), gradients(ours, expected, x))


@pytest.mark.parametrize("name", LAYERS)
def test_compile_with_changing_sizes(name: str) -> None:
    _, ours = pair(name, 3, 4, batch_first=True)
    function = compiled(ours, dynamic=True)
    for T, B in ((5, 2), (7, 3), (11, 4)):
        x = torch.randn(B, T, 3, dtype=torch.float64)
        assert_same(function(x), ours(x))


def test_compile_with_dropout_and_cells() -> None:
    _, ours = pair("LSTM", 3, 4, 2, dropout=0.5)
    output, state, cells = compiled(lambda x: ours(x, return_cells=True))(X)
    assert output.shape == cells.shape == (5, 2, 4)
    assert len(state) == 2


@pytest.mark.parametrize("name", LAYERS)
def test_compile_with_lengths(name: str) -> None:
    _, ours = pair(name, 3, 4)
    function = compiled(lambda x, lengths: ours(x, lengths=lengths))
    for lengths in (torch.tensor([2, 5]), torch.tensor([4, 0])):
        assert_same(function(X, lengths), ours(X, lengths=lengths))


@pytest.mark.parametrize("enforce_sorted", [True, False])
def test_compile_with_a_packed_sequence(enforce_sorted: bool) -> None:
    if enforce_sorted and torch.__version__ < "2.9":
        pytest.skip("the compiler of torch 2.8 reads no number from a tensor within one graph")
    _, ours = pair("LSTM", 3, 4)
    packed = pack_padded_sequence(X, torch.tensor([5, 3]), enforce_sorted=enforce_sorted)
    assert_same(compiled(ours)(packed), ours(packed))


@pytest.mark.parametrize("name", CELLS)
def test_compile_a_cell(name: str) -> None:
    _, ours = pair(name, 3, 4)
    assert_same(compiled(ours)(X[0]), ours(X[0]))


def test_export() -> None:
    _, ours = pair("GRU", 3, 4, 2)
    T = torch.export.Dim("T", min=2, max=100)
    program = torch.export.export(ours, (X,), dynamic_shapes=({0: T}, None)[:1])
    x = torch.randn(9, 2, 3, dtype=torch.float64)
    assert_same(program.module()(x), ours(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_trace(name: str) -> None:
    _, ours = pair(name, 3, 4)
    x = X[0] if name in CELLS else X
    traced: Any = torch.jit.trace(ours, (x,))
    other = torch.randn_like(x)
    assert_same(traced(other), ours(other))
    with torch.no_grad():
        ours.get_parameter("weight_hh" if name in CELLS else "weight_hh_l0").mul_(0.5)
    assert_same(traced(other), ours(other))  # the weights are not constants of the trace


@pytest.mark.parametrize("name", [*LAYERS, *CELLS])
def test_autocast(name: str) -> None:
    _, ours = pair(name, 3, 4, dtype=torch.float32)
    x = (X[0] if name in CELLS else X).float()
    expected = ours(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = ours(x)
        if name in LAYERS:
            hx = random_state(ours, 2)
            assert ours(x.bfloat16(), hx)[0].dtype is torch.bfloat16
    flat = [result] if isinstance(result, Tensor) else list(result)
    assert flat[0].dtype is torch.bfloat16
    exact = expected if isinstance(expected, Tensor) else expected[0]
    torch.testing.assert_close(flat[0].float(), exact, rtol=0.05, atol=0.05)
    flat[0].sum().backward()
    assert all(parameter.grad.dtype is torch.float32 for parameter in ours.parameters())


@pytest.mark.parametrize("use_reentrant", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_checkpointing(name: str, use_reentrant: bool) -> None:
    _, ours = pair(name, 3, 4, 2, dropout=0.3)
    grads = []
    for run in (lambda x: checkpoint(ours, x, use_reentrant=use_reentrant), ours):
        torch.manual_seed(5)
        ours.zero_grad()
        x = X.clone().requires_grad_()
        run(x)[0].square().sum().backward()
        grads.append([x.grad, *(parameter.grad for parameter in ours.parameters())])
    assert_same(*grads)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_twice(name: str) -> None:
    _, ours = pair(name, 3, 4)
    loss = ours(X)[0].square().sum()
    first = torch.autograd.grad(loss, list(ours.parameters()), retain_graph=True)
    assert_same(list(torch.autograd.grad(loss, list(ours.parameters()))), list(first))


@pytest.mark.parametrize("name", LAYERS)
def test_per_sample_gradients(name: str) -> None:
    _, ours = pair(name, 3, 4)
    weights = dict(ours.named_parameters())

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(ours, parameters, (x,))[0].square().sum()

    samples = X.transpose(0, 1)
    found = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, samples)
    for n, x in enumerate(samples):
        expected = torch.autograd.grad(loss(weights, x), list(weights.values()))
        assert_same([gradient[n] for gradient in found.values()], list(expected))


def test_second_derivative() -> None:
    theirs, ours = pair("GRU", 3, 4)
    results = []
    for module in (ours, theirs):
        x = X.clone().requires_grad_()
        (first,) = torch.autograd.grad(module(x)[0].square().sum(), x, create_graph=True)
        results.append(list(torch.autograd.grad(first.square().sum(), [x, *module.parameters()])))
    assert_same(*results)


def test_a_model_around_the_layer_compiles_in_one_graph() -> None:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(7, 3)
            self.lstm = pyrnn.LSTM(3, 4, bidirectional=True, batch_first=True)
            self.projection = nn.Linear(8, 5)

        def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
            return self.projection(self.lstm(self.embedding(tokens), lengths=lengths)[0])

    model = Tagger()
    tokens, lengths = torch.randint(7, (2, 6)), torch.tensor([6, 3])
    assert_same(compiled(model)(tokens, lengths), model(tokens, lengths), rtol=1e-5, atol=1e-6)


# ---- Dynamo, which refuses torch's recurrent layers by their class ---------------------------------------


@pytest.mark.parametrize("name", LAYERS)
def test_a_traced_type_check_agrees(name: str) -> None:
    ours, theirs = getattr(pyrnn, name)(3, 4), getattr(nn, name)

    def function(x: Tensor) -> Tensor:
        return ours(x)[0] if isinstance(ours, theirs) and isinstance(ours, nn.RNNBase) else x

    x = X.float()
    assert_same(compiled(function)(x), ours(x)[0])


def test_torch_s_own_layers_are_refused_as_before() -> None:
    compiled(pyrnn.GRU(3, 4))(X.float())
    for model in (nn.GRU(3, 4), nn.ModuleList([pyrnn.GRU(3, 4), nn.GRU(3, 4)])):
        layers = list(model) if isinstance(model, nn.ModuleList) else [model]
        with pytest.raises(Unsupported, match="RNN, GRU,"):
            compiled(lambda x, layers=layers: [layer(x) for layer in layers])(X.float())
    assert not torch._dynamo.config.allow_rnn  # type: ignore[attr-defined]


@torch.no_grad()
def test_without_the_door_there_is_a_graph_break(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a torch release would do in which it has moved."""
    from torch._dynamo.variables.builder import VariableBuilder

    assert VariableBuilder.wrap_module.__module__ == "torch._dynamo.variables.builder"
    original = VariableBuilder.wrap_module.__wrapped__  # type: ignore[attr-defined]
    monkeypatch.setattr(VariableBuilder, "wrap_module", original)
    layer = pyrnn.GRU(3, 4)
    model = nn.Sequential(nn.Linear(3, 3), layer)
    with pytest.raises(Unsupported):
        compiled(model)(X.float())
    torch.compiler.reset()
    assert_same(torch.compile(model, backend="eager")(X.float()), model(X.float()))


def test_the_door_is_opened_whoever_comes_first() -> None:
    check = (
        "import torch{first}\nimport pyrnn\nlayer = pyrnn.LSTM(3, 4)\n"
        "torch.compile(layer, fullgraph=True, backend='eager')(torch.zeros(2, 1, 3))\nprint('traced')"
    )
    for first in ("", "; import torch._dynamo"):
        command = [sys.executable, "-c", check.format(first=first)]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "traced\n"
