"""Small recurrent calls that are one call of C++: the bits of the operator, and what they leave to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import pyrnn.nn
from pyrnn import _native
from pyrnn._dispatch import HAS_EXCHANGE_TABLE
from pyrnn.ops.recurrent import eager_recurrent
from pyrnn.ops.recurrent.eager import STEP, EagerRecurrent
from tests.ops.kinds import TOO_LITTLE_MEMORY

CELLS = {"LSTM": pyrnn.nn.LSTMCell, "GRU": pyrnn.nn.GRUCell, "RNN": pyrnn.nn.RNNCell}
LAYERS = {"LSTM": pyrnn.nn.LSTM, "GRU": pyrnn.nn.GRU, "RNN": pyrnn.nn.RNN}
DTYPES = (torch.float32, torch.float64, torch.bfloat16)
pytestmark = pytest.mark.skipif(not HAS_EXCHANGE_TABLE, reason="this torch has no exchange table")


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each eager call was served, in turn."""
    answers: list[bool] = []
    call = EagerRecurrent.__call__

    def note(self: EagerRecurrent, *args: Any, **options: Any) -> Any:
        found = call(self, *args, **options)
        answers.append(not isinstance(found, str))
        return found

    monkeypatch.setattr(EagerRecurrent, "__call__", note)
    return answers


def flat(results: Any) -> list[Tensor]:
    if isinstance(results, Tensor):
        return [results]
    return [tensor for part in results for tensor in flat(part)]


def everything(module: nn.Module, input: Tensor, hx: Any) -> list[Tensor]:
    """Results, and gradients of whatever has any."""
    results = flat(module(input, hx))
    leaves = [input, *([] if hx is None else flat(hx)), *module.parameters()]
    leaves = [leaf for leaf in leaves if leaf.requires_grad]
    if not leaves:
        return results
    total = sum((o * torch.arange(1, o.numel() + 1).view(o.shape).sin()).sum() for o in results)
    return [*results, *torch.autograd.grad(total, leaves)]  # type: ignore[list-item]


def without_eager_calls(run: Callable[[], list[Tensor]]) -> list[Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EagerRecurrent, "__call__", lambda *_, **__: "left out")
        return run()


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_the_bits_are_those_of_the_operator(data: st.DataObject) -> None:
    draw = lambda *options: data.draw(st.sampled_from(options))  # noqa: E731
    kind, dtype, step = draw(*LAYERS), draw(*DTYPES), draw(True, False)
    T, B = draw(1, 2, 3, 7), draw(1, 2, 4, 5, 9)
    I, H = draw(1, 3, 17), draw(1, 5, 16, 33)  # noqa: E741
    batched, trains = draw(True, False), draw(True, False)
    torch.manual_seed(0)
    options: dict[str, Any] = {"bias": draw(True, False), "dtype": dtype}
    if kind == "RNN":
        options["nonlinearity"] = draw("tanh", "relu")
    if step:
        module: nn.Module = CELLS[kind](I, H, **options)
        shape: tuple[int, ...] = (B, I) if batched else (I,)
        state_shape: tuple[int, ...] = (B, H) if batched else (H,)
    else:
        batch_first, L, D = draw(True, False), draw(1, 2), draw(1, 2)
        module = LAYERS[kind](I, H, num_layers=L, bidirectional=D == 2, batch_first=batch_first, **options)
        shape = ((B, T, I) if batch_first else (T, B, I)) if batched else (T, I)
        state_shape = (L * D, B, H) if batched else (L * D, H)
    input = torch.randn(shape, dtype=dtype)
    if draw(True, False):  # every second feature of a wider tensor
        input = torch.randn(*shape[:-1], 2 * I, dtype=dtype)[..., ::2]
    hx: Any = torch.randn(state_shape, dtype=dtype)
    if kind == "LSTM":
        hx = (hx, torch.randn(state_shape, dtype=dtype))
    hx = draw(hx, None)
    module.requires_grad_(trains)
    for leaf in (input, *([] if hx is None else flat(hx))):
        leaf.requires_grad_(draw(True, False))

    found = everything(module, input, hx)
    exact = without_eager_calls(lambda: everything(module, input, hx))
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.requires_grad == theirs.requires_grad
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", CELLS)
def test_small_calls_are_served(kind: str, served: list[bool]) -> None:
    CELLS[kind](3, 4)(torch.randn(2, 3))
    LAYERS[kind](3, 4, num_layers=2)(torch.randn(5, 2, 3))
    assert served == [True] * 3


class Own(Tensor):
    """A class of somebody else's."""


def resized() -> Tensor:
    tensor = torch.randn(2, 3)
    tensor.untyped_storage().resize_(8)
    return tensor


CONTEXTS: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "a dispatch mode": lambda: FlopCounterMode(display=False),
    "a function mode": lambda: torch.device("cpu"),
    "forward mode": torch.autograd.forward_ad.dual_level,
}
INPUTS: dict[str, Callable[[], Any]] = {
    "no tensor": lambda: [[1.0, 2.0, 3.0]],
    "a subclass": lambda: torch.randn(2, 3).as_subclass(Own),
    "sparse": lambda: torch.randn(2, 3).to_sparse(),
    "meta": lambda: torch.randn(2, 3, device="meta"),
    "negated": lambda: torch.complex(torch.randn(2, 3), torch.randn(2, 3)).conj().imag,
    "another dtype": lambda: torch.randn(2, 3).half(),
    "another dtype than the weights": lambda: torch.randn(2, 3).double(),
    "integers": lambda: torch.zeros(2, 3, dtype=torch.uint8),
    "too wide": lambda: torch.randn(2, 4),
    "too many dimensions": lambda: torch.randn(1, 2, 3),
    "no dimension": lambda: torch.tensor(1.0),
    "no rows": lambda: torch.randn(0, 3),
    "cut storage": resized,
    "more rows than memory": lambda: torch.randn(1, 3).expand(2**40, 3),
}


@pytest.mark.parametrize("name", INPUTS)
def test_what_is_not_in_order_is_left_to_the_operator(name: str) -> None:
    cell = pyrnn.nn.GRUCell(3, 4)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    assert not isinstance(eager_recurrent("gru", STEP, torch.randn(2, 3), None, weights), str)
    assert isinstance(eager_recurrent("gru", STEP, INPUTS[name](), None, weights), str)


@pytest.mark.parametrize("position", range(4))
@pytest.mark.parametrize("wrong", ["too long", "freed", "a subclass", "another dtype", "no tensor"])
def test_weights_that_are_not_in_order(position: int, wrong: str) -> None:
    cell = pyrnn.nn.GRUCell(3, 4).requires_grad_(False)
    weights: list[Any] = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    weight = weights[position].detach()
    if wrong == "too long":
        weights[position] = torch.cat([weight, weight])
    elif wrong == "freed":
        weights[position] = weight.clone()
        weights[position].untyped_storage().resize_(0)
    elif wrong == "a subclass":
        weights[position] = weight.as_subclass(Own)
    elif wrong == "another dtype":
        weights[position] = weight.double()
    else:
        weights[position] = 3
    assert isinstance(eager_recurrent("gru", STEP, torch.randn(2, 3), None, tuple(weights)), str)


@pytest.mark.parametrize("wrong", TOO_LITTLE_MEMORY)
def test_a_frozen_weight_whose_memory_went_away(wrong: str) -> None:
    """A scope that knows where weights lie notices that one lies there no more."""
    cell, x = pyrnn.nn.GRUCell(3, 4).requires_grad_(False), torch.randn(2, 3)
    weights = [cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh]
    scope = _native.cpu.FrozenTensors(tuple(weights))
    scope.freeze()
    assert not isinstance(eager_recurrent("gru", STEP, x, None, tuple(weights)), str)
    weights[1].data = TOO_LITTLE_MEMORY[wrong](weights[1].data)
    assert isinstance(eager_recurrent("gru", STEP, x, None, tuple(weights)), str)
    weights[1].data = torch.zeros(12, 4)
    other = eager_recurrent("gru", STEP, x, None, tuple(weights))
    assert not isinstance(other, str)
    torch.testing.assert_close(other[0], cell(x))
    scope.thaw()
    scope.thaw()  # once more than it was entered


def test_a_frozen_scope_that_is_dropped_or_holds_what_has_no_kernel() -> None:
    cell, x = pyrnn.nn.GRUCell(3, 4).requires_grad_(False), torch.randn(2, 3)
    weights = (cell.weight_ih, cell.weight_hh, cell.bias_ih, cell.bias_hh)
    scope = _native.cpu.FrozenTensors(
        (*weights, None, 3, torch.zeros(0), torch.zeros(2).half(), torch.zeros(2, device="meta"))
    )
    scope.freeze()
    scope.freeze()
    scope.thaw()
    assert not isinstance(eager_recurrent("gru", STEP, x, None, weights), str)
    del scope
    assert not isinstance(eager_recurrent("gru", STEP, x, None, weights), str)


@pytest.mark.parametrize("name", CONTEXTS)
def test_a_watched_call_is_left_to_the_operator(name: str, served: list[bool]) -> None:
    cell = pyrnn.nn.GRUCell(3, 4)
    with torch.no_grad(), CONTEXTS[name]():
        cell(torch.randn(2, 3))
    assert served == [False]


def test_under_a_transform(served: list[bool]) -> None:
    cell, x = pyrnn.nn.GRUCell(3, 4), torch.randn(5, 2, 3)
    torch.testing.assert_close(torch.vmap(cell)(x), torch.stack([cell(each) for each in x]))
    assert served == [False, *[True] * 5]


def test_large_calls_are_left_to_the_operator(served: list[bool]) -> None:
    """It asks the system for large pages."""
    pyrnn.nn.GRU(4, 1024)(torch.randn(2, 2048, 4))
    assert served == [False]


def test_own_checks_of_a_subclass_run() -> None:
    class Checked(pyrnn.nn.GRU):
        def check_input(self, *args: Any, **kwargs: Any) -> None:
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        Checked(3, 4)(torch.randn(5, 2, 3))


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("step", [True, False])
def test_the_output_may_be_changed_in_place(kind: str, step: bool) -> None:
    torch.manual_seed(0)
    module = (CELLS if step else LAYERS)[kind](3, 4)
    x = torch.randn(2, 3) if step else torch.randn(5, 2, 3)
    results = []
    for change in (lambda out: out.mul_(0.5), lambda out: out * 0.5):
        out = flat(module(x))[0]
        results.append(torch.autograd.grad(change(out).sum(), [*module.parameters()]))
    for ours, theirs in zip(*results, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("layout", ["step", "step without a batch", "batch first", "two directions"])
def test_derivatives_of_derivatives(kind: str, layout: str) -> None:
    torch.manual_seed(0)
    options: dict[str, Any] = {"dtype": torch.float64}
    if layout.startswith("step"):
        module: nn.Module = CELLS[kind](3, 4, **options)
        x = torch.randn((3,) if "without" in layout else (2, 3), dtype=torch.float64)
    else:
        module = LAYERS[kind](3, 4, batch_first=layout == "batch first",
                              bidirectional=layout == "two directions", **options)  # fmt: skip
        x = torch.randn(2, 3, 3, dtype=torch.float64)
    names, weights = zip(*module.named_parameters(), strict=True)

    def function(x: Tensor, *weights: Tensor) -> Tensor:
        results = flat(torch.func.functional_call(module, dict(zip(names, weights, strict=True)), x))
        return sum(((n + 1) * out.pow(2).sum() for n, out in enumerate(results)), torch.zeros(()))

    leaves = (x.requires_grad_(), *(weight.detach().requires_grad_() for weight in weights))
    assert type(flat(module(x))[0].grad_fn).__name__ in ("RecurrentBackward", "CatBackward0")
    assert torch.autograd.gradcheck(function, leaves)
    assert torch.autograd.gradgradcheck(function, leaves)


def test_batched_gradients() -> None:
    cell, x = pyrnn.nn.LSTMCell(3, 4), torch.randn(2, 3, requires_grad=True)
    h, _ = cell(x)
    basis = torch.randn(5, *h.shape)
    (batched,) = torch.autograd.grad(h, x, basis, is_grads_batched=True, retain_graph=True)
    one_by_one = [torch.autograd.grad(h, x, each, retain_graph=True)[0] for each in basis]
    torch.testing.assert_close(batched, torch.stack(one_by_one))


def test_a_backward_pass_under_autocast() -> None:
    """The call was made without."""
    cell, x = pyrnn.nn.LSTMCell(3, 4), torch.randn(2, 3, requires_grad=True)
    (expected,) = torch.autograd.grad(cell(x)[0].sum(), x)
    h, _ = cell(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        (found,) = torch.autograd.grad(h.sum(), x)
    assert torch.equal(found, expected)


def test_saved_tensors_that_come_back_different() -> None:
    """Hooks may keep what is saved elsewhere, or as something else."""
    cell, x = pyrnn.nn.GRUCell(3, 4), torch.randn(2, 3, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t.numpy(force=True).copy(), torch.from_numpy):
        h = cell(x)
    (found,) = torch.autograd.grad(h.sum(), x)
    (expected,) = torch.autograd.grad(cell(x).sum(), x)
    assert torch.equal(found, expected)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t.flatten()[:1]):
        h = cell(x)
    with pytest.raises((ValueError, RuntimeError)):
        h.sum().backward()


def test_a_weight_changed_between_the_passes_is_an_error() -> None:
    cell = pyrnn.nn.GRUCell(3, 4)
    loss = cell(torch.randn(2, 3)).sum()
    with torch.no_grad():
        cell.weight_hh.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize(
    "tensors", [(), (None,), ("x",) * 7, (torch.zeros(2, 3),) * 7, (torch.zeros(()),) * 7]
)
def test_the_module_takes_anything(tensors: tuple[Any, ...]) -> None:
    """Nothing that Python may hand over reads memory that is not there."""
    native: Any = _native.cpu
    assert native.recurrent_train(3, STEP, 1, 0, tensors) is None
    assert native.recurrent_train(99, 7, 1, 0, tensors) is None
    assert isinstance(native.recurrent_call(None, 3, STEP, 1, 0, *tensors[:9]), str)
    needs = (True,) * len(tensors)
    with torch.no_grad():
        assert native.recurrent_gradients(3, STEP, 1, 0, tensors, (), None, needs) is None
    with pytest.raises(TypeError):
        native.recurrent_train(3)
    with pytest.raises(TypeError):
        native.recurrent_train("lstm", STEP, 1, 0, tensors)
