"""When the CUDA kernels compute, what is said of them, and calls without values."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses import FakeTensorMode

import pyrnn
from pyrnn import _checks, _native
from pyrnn.ops import recurrent, route
from pyrnn.ops.recurrent import cuda
from pyrnn.ops.recurrent.cuda import recurrence
from tests.cuda.cases import captured_in_a_graph
from tests.cuda.conftest import MODE
from tests.helpers import gradients, make_layer
from tests.ops.test_recurrent_tracing import RESET, operator_args


def calls_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the passes that the CUDA route runs from now on, in order."""
    calls: list[str] = []
    for name in ("forward", "backward"):
        original = getattr(cuda, name)

        def counted(*args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            calls.append(_name)
            return _original(*args, **kwargs)

        monkeypatch.setattr(cuda, name, counted)
    return calls


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
def test_the_kernels_compute_these(device: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of(monkeypatch)
    layer = make_layer("gru", dtype=dtype).on(device)
    assert route(layer.input) == ("native", f"CUDA kernels for {dtype}")
    layer.run(recurrent).output.sum().backward()
    with torch.no_grad():
        layer.run(recurrent)
    assert calls == ["forward", "backward", "forward"]


def test_autocast(device: str) -> None:
    layer = make_layer("lstm", P=3, dtype=torch.float32).on(device)
    rounded = layer.to(torch.bfloat16, requires_grad=True).run(recurrent)
    with torch.autocast(device, dtype=torch.bfloat16):
        assert route(layer.input).reason == "CUDA kernels for torch.bfloat16"
        out = layer.run(recurrent)
        by_functorch = torch.func.vjp(
            lambda x: layer.with_leaves((x, *layer.leaves[1:])).run(recurrent), layer.input
        )[0]
    assert torch.equal(out.output, rounded.output)
    assert torch.equal(by_functorch.output, rounded.output)


def test_without_the_module_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "a reason")
    with FakeTensorMode():
        input = torch.zeros(3, 2, 3, device="cuda")
        assert route(input) == ("reference", "there is no native kernel for device type 'cuda': a reason")


@pytest.mark.parametrize("checkpoint_every", [0, 2])
@pytest.mark.parametrize(("cell", "P"), [("rnn_tanh", None), ("gru", None), ("lstm", 2)])
def test_fake_tensors_on_cuda(
    cell: str, P: int | None, checkpoint_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_native, "why_no_cuda", lambda: "")
    real = make_layer(cell, P=P, D=2, dtype=torch.float16)
    args = operator_args(real, torch.tensor([4, 0, 2]), checkpoint_every, RESET)
    with FakeTensorMode():
        args = [
            torch.empty(a.shape, dtype=a.dtype, device="cuda") if isinstance(a, torch.Tensor) else a
            for a in args
        ]
        assert route(args[0]).path == "native"
        *results, workspace, history = torch.ops.pyrnn._recurrent_fwd(*args)
        public = torch.ops.pyrnn.recurrent(*args)
        grads = torch.ops.pyrnn._recurrent_bwd(
            *(results[0], results[1], None, None, *args[:16], history, workspace),
            *(*args[16:], [True] * 13),
        )
    assert [t.shape for t in public] == [t.shape for t in results]
    assert {t.device.type for t in (*public, *grads, workspace)} == {"cuda"}
    assert workspace.dtype is torch.float32
    leaves = (real.input, real.h0, real.c0, *(w for group in real.weights for w in group))
    assert [t.shape for t in grads] == [(0,) if leaf is None else leaf.shape for leaf in leaves]


def test_explain(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = pyrnn.LSTM(3, 20, device=device)
    input = torch.zeros(4, 9, 3, device=device)
    monkeypatch.setattr(recurrence, "forced_engine", "persistent")
    (entry,) = pyrnn.explain(layer, input).layers
    assert entry.path == "native"
    assert (entry.isa, entry.threads) == (None, None)
    assert entry.engine == "persistent: one launch for all steps, the weights stay in shared memory"
    monkeypatch.setattr(recurrence, "forced_engine", "step")
    with torch.no_grad():
        (entry,) = pyrnn.explain(layer, input).layers
    assert entry.engine == "step: one launch a step, the weights are read again in each step"
    assert entry.split is not None
    assert entry.split.endswith("the step engine was asked for")
    lines = [line.split()[0] for line in str(pyrnn.explain(layer, input)).splitlines()[1:]]
    assert lines == ["layer", "route", "kernel", "small", "engine", "split", "memory"]


@pytest.mark.parametrize("name", ["lengths", "list"])
def test_lengths_on_the_cpu_are_checked(name: str, device: str) -> None:
    layer, lengths = pyrnn.GRU(3, 4, device=device), torch.tensor([5, 1])
    with pytest.raises(ValueError, match="lengths must lie in"):
        layer(torch.zeros(4, 2, 3, device=device), lengths=lengths if name == "lengths" else lengths.tolist())


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.skipif(MODE != "plain", reason="a debug build stops at such lengths")
def test_lengths_on_the_gpu_are_clamped(cell: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_checks, "is_readable", lambda tensor: False)  # also where "the GPU" is the CPU
    layer = make_layer(cell, T=4, B=3, D=2, requires_grad=True).on(device)
    results = []
    for lengths in ([-3, 9, 2], [0, 4, 2]):
        out = layer.run(recurrent, lengths=torch.tensor(lengths, device=device), checkpoint_every=2)
        results.append([*out[:3], *gradients(layer, out)])
    for wild, tame in zip(*results, strict=True):
        torch.testing.assert_close(wild, tame, rtol=0, atol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize(("cell", "P"), [("gru", None), ("lstm", 7)])
@pytest.mark.parametrize("every", [0, 2])
def test_training_is_captured_in_a_graph(cell: str, P: int | None, every: int) -> None:
    layer = make_layer(cell, T=5, B=9, H=17, P=P, D=2, dtype=torch.float32).on("cuda")
    lengths = torch.tensor([5, 0, 2, 1, 4, 5, 3, 2, 1]).cuda()

    def step() -> tuple[torch.Tensor, ...]:
        out = layer.run(recurrent, lengths=lengths, checkpoint_every=every)
        return out.output, *torch.autograd.grad(out.output.square().sum(), layer.leaves)

    graph, captured = captured_in_a_graph(step)
    with torch.no_grad():
        layer.input.neg_()
        lengths.copy_(lengths.flip(0))
    graph.replay()
    assert all(torch.equal(a, b) for a, b in zip(captured, step(), strict=True))
