"""Tracers, compilers, autocast, and tensors without values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from pyrnn.ops import recurrent
from tests.helpers import Layer, gradients, make_layer
from tests.ops.conftest import KernelCalls

LENGTHS = torch.tensor([2, 4, 0])
RESET = torch.tensor([[True, False, False], [False, True, True], [False] * 3, [True] * 3])


def operator_args(
    layer: Layer, lengths: Tensor | None = None, checkpoint_every: int = 0, reset: Tensor | None = None
) -> tuple[Any, ...]:
    """The flat arguments of `pyrnn::recurrent`: the tensors, then the options."""
    reverse = layer.weights[1] if len(layer.weights) == 2 else [None] * 5
    tensors = (layer.input, layer.h0, layer.c0, lengths, None, reset, *layer.weights[0], *reverse)
    return (*tensors, layer.cell, False, layer.cell == "lstm", checkpoint_every)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(("cell", "D", "P"), [("rnn_tanh", 1, None), ("gru", 2, None), ("lstm", 2, 2)])
def test_opcheck(cell: str, D: int, P: int | None, requires_grad: bool) -> None:
    layer = make_layer(cell, D=D, P=P, dtype=torch.float32, requires_grad=requires_grad)
    lengths = LENGTHS if D == 2 else None
    opcheck(torch.ops.pyrnn.recurrent.default, operator_args(layer, lengths, D - 1))
    opcheck(torch.ops.pyrnn.recurrent.default, operator_args(layer, lengths, D - 1, RESET))


@pytest.mark.parametrize("checkpoint_every", [0, 2])
@pytest.mark.parametrize("cell", ["rnn_relu", "gru", "lstm"])
def test_opcheck_of_the_private_operators(cell: str, checkpoint_every: int) -> None:
    layer = make_layer(cell, D=2, dtype=torch.float32)
    args = operator_args(layer, LENGTHS, checkpoint_every, RESET)
    # No comparison of values with a traced call: nobody writes the padding of the workspace.
    checks = ("test_schema", "test_faketensor", "test_autograd_registration")
    opcheck(torch.ops.pyrnn._recurrent_fwd.default, args, test_utils=checks)
    out = torch.ops.pyrnn._recurrent_fwd(*args)
    grads = (torch.ones_like(out[0]), out[1], None, None)
    needs = [True, False, *[True] * 11]
    backward_args = (*grads, *args[:16], out[0], out[4], *args[16:], needs)
    opcheck(torch.ops.pyrnn._recurrent_bwd.default, backward_args)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_compiled_training_is_one_graph(kernel_calls: KernelCalls, cell: str, dynamic: bool) -> None:
    torch.compiler.reset()
    compiled = torch.compile(recurrent, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for T, B in ((4, 3), (5, 2)):
        layer = make_layer(cell, T=T, B=B, D=2, requires_grad=True)
        eager = layer.run(recurrent)
        before = kernel_calls.counts
        ours = layer.run(compiled)
        torch.testing.assert_close(ours, eager)
        torch.testing.assert_close(gradients(layer, ours), gradients(layer, eager))
        assert kernel_calls.counts == (before[0] + 1, before[1] + 2)


def test_compiled_lengths_resets_and_cells() -> None:
    torch.compiler.reset()
    layer = make_layer("lstm", D=2, requires_grad=True)

    def run(operator: Any) -> Any:
        return layer.run(operator, lengths=LENGTHS, reset=RESET, return_cells=True)

    ours, eager = run(torch.compile(recurrent, fullgraph=True, backend="aot_eager")), run(recurrent)
    torch.testing.assert_close(ours, eager)
    torch.testing.assert_close(gradients(layer, ours), gradients(layer, eager))


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_by_inductor() -> None:
    torch.compiler.reset()
    layer = make_layer("gru", dtype=torch.float32, requires_grad=True)

    def run(*leaves: Tensor) -> Tensor:
        moved = layer.with_leaves(leaves)
        return recurrent(
            "gru", moved.input.transpose(0, 1), None, None, moved.weights, batch_first=True
        ).output

    ours, eager = torch.compile(run, fullgraph=True)(*layer.leaves), run(*layer.leaves)
    torch.testing.assert_close(ours, eager)
    wanted = (layer.input, *layer.weights[0][:4])
    grad = torch.ones_like(eager)
    torch.testing.assert_close(
        torch.autograd.grad(ours, wanted, grad), torch.autograd.grad(eager, wanted, grad)
    )


def test_compiled_func_grad() -> None:
    torch.compiler.reset()
    layer = make_layer("gru", T=2)

    def loss(x: Tensor) -> Tensor:
        return recurrent("gru", x, None, None, layer.weights).output.square().sum()

    compiled = torch.compile(torch.func.grad(loss), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(layer.input), torch.func.grad(loss)(layer.input))


class TinyLayer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        weights = make_layer("gru", dtype=torch.float32).weights[0][:4]
        self.weights = torch.nn.ParameterList(torch.nn.Parameter(w) for w in weights)

    def forward(self, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        out = recurrent("gru", x, None, None, ((*self.weights, None),), lengths=lengths)
        return out.output, out.h_n


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore::FutureWarning:torch")
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning:torch")  # export.load's own
def test_export_round_trip(tmp_path: Path) -> None:
    module, x = TinyLayer(), make_layer("gru", dtype=torch.float32).input
    steps, batch = torch.export.Dim("steps", min=2), torch.export.Dim("batch", min=2)
    shapes = {"x": {0: steps, 1: batch}, "lengths": {0: batch}}
    program = torch.export.export(module, (x, LENGTHS), dynamic_shapes=shapes)
    assert "pyrnn.recurrent.default" in program.graph_module.code
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    for T, B in ((4, 3), (7, 5)):
        x = make_layer("gru", T=T, B=B, dtype=torch.float32).input
        lengths = torch.arange(B).clamp(max=T)
        torch.testing.assert_close(loaded(x, lengths), module(x, lengths))


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
def test_traced_module_computes_on_new_values() -> None:
    module, x = TinyLayer(), make_layer("gru", dtype=torch.float32).input
    traced: Any = torch.jit.trace(module, (x, LENGTHS))
    new_x, new_lengths = make_layer("gru", T=6, dtype=torch.float32, seed=5).input, torch.tensor([6, 1, 3])
    torch.testing.assert_close(traced(new_x, new_lengths), module(new_x, new_lengths))
    with torch.no_grad():
        module.weights[0].mul_(2)
    torch.testing.assert_close(traced(new_x, new_lengths), module(new_x, new_lengths))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_meta_tensors_have_the_shapes(requires_grad: bool) -> None:
    layer = make_layer("lstm", D=2, requires_grad=requires_grad)
    meta = layer.with_leaves(t.detach().to("meta").requires_grad_(requires_grad) for t in layer.leaves)
    real, ours = layer.run(recurrent, return_cells=True), meta.run(recurrent, return_cells=True)
    assert [(t.shape, t.stride(), t.dtype) for t in ours] == [(t.shape, t.stride(), t.dtype) for t in real]
    assert all(t.device.type == "meta" for t in ours)
    if requires_grad:
        ours.output.sum().backward()
        assert meta.input.grad is not None
        assert meta.input.grad.shape == layer.input.shape


@pytest.mark.parametrize("requires_grad", [False, True])
def test_fake_tensors_reach_no_kernel(kernel_calls: KernelCalls, requires_grad: bool) -> None:
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        layer = make_layer("gru", D=2, batch_first=True)
        fake = layer.with_leaves(mode.from_tensor(t).requires_grad_(requires_grad) for t in layer.leaves)
        out = fake.run(recurrent, lengths=LENGTHS, batch_first=True)
        if requires_grad:
            out.output.sum().backward()
            assert fake.input.grad is not None
    assert out.output.shape == (3, 4, 10)
    assert kernel_calls.counts == (0, 0)


def test_fake_packed_data() -> None:
    with FakeTensorMode() as mode:
        layer = make_layer("gru")
        rows = mode.from_tensor(torch.zeros(7, 3, dtype=torch.float64))
        sizes = mode.from_tensor(torch.tensor([3, 2, 1, 1]))
        out = recurrent("gru", rows, layer.h0, None, layer.weights, batch_sizes=sizes)
    assert out.output.shape == (7, 5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_and_returns_gradients_of_the_parameters_dtype(dtype: torch.dtype) -> None:
    layer = make_layer("lstm", D=2, dtype=torch.float32, requires_grad=True)
    with torch.autocast("cpu", dtype=dtype):
        out = layer.run(recurrent)
    assert {t.dtype for t in out[:3]} == {dtype}
    exact = layer.to(dtype, requires_grad=True)
    torch.testing.assert_close(out[:3], exact.run(recurrent)[:3])
    grads = gradients(layer, out)
    assert all(grad is not None and grad.dtype == torch.float32 for grad in grads)


def test_autocast_under_torch_func(kernel_calls: KernelCalls) -> None:
    layer = make_layer("gru", dtype=torch.float32)

    def run(x: Tensor) -> Tensor:
        return recurrent("gru", x, layer.h0, None, layer.weights).output

    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert run(layer.input).dtype == torch.bfloat16
        grad = torch.func.grad(lambda x: run(x).float().sum())(layer.input)
    assert grad.dtype == torch.float32
    assert kernel_calls.counts == (2, 1)


def test_autocast_leaves_float64_alone() -> None:
    layer = make_layer("gru")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layer.run(recurrent).output.dtype == torch.float64


def test_second_derivative_under_autocast_keeps_the_dtype() -> None:
    layer = make_layer("gru", T=2, dtype=torch.float32, requires_grad=True)

    def second(out: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(out.float().square().sum(), layer.input, create_graph=True)
        return torch.autograd.grad(first.square().sum(), layer.input)[0]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = second(layer.run(recurrent).output)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, second(layer.run(recurrent).output), rtol=0.1, atol=0.1)
