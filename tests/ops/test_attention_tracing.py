"""Attention under tracers, compilers, autocast, and on tensors without values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.library import opcheck

from pyrnn.ops import scaled_dot_product_attention
from tests.attention.cases import Calls, operands
from tests.attention.checking import of_kernel, of_reference

SEED = torch.tensor(9)


def operator_args(
    *,
    requires_grad: bool = False,
    mask: Tensor | None = None,
    layout: bool = False,
    kind: str = "none",
    p: float = 0.0,
) -> tuple[Any, ...]:
    """The flat arguments of the operator, with every other tensor; `layout`: in memory as [T, B, H, D]."""
    tensors = operands(H=4, K=2, dtype=torch.float32)
    if layout:
        tensors = tuple(t.permute(2, 0, 1, 3).contiguous().permute(1, 2, 0, 3) for t in tensors)
    others = (torch.rand(2, 7) < 0.3, torch.tensor([7, 4]), torch.rand(1, 4), SEED)
    leaves = [t.detach().requires_grad_(requires_grad) for t in tensors]
    return (*leaves, mask, *others, p, True, None, 2, 3, -1, 2.0, kind)


@pytest.mark.parametrize("requires_grad", [False, True])
@pytest.mark.parametrize(("kind", "layout"), [("none", True), ("mean", False), ("full", True)])
def test_opcheck(kind: str, layout: bool, requires_grad: bool) -> None:
    mask = torch.randn(4, 5, 7)[None].requires_grad_(requires_grad)
    args = operator_args(requires_grad=requires_grad, mask=mask, layout=layout, kind=kind, p=0.3)
    opcheck(torch.ops.pyrnn.scaled_dot_product_attention.default, args)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_opcheck_of_other_dtypes(dtype: torch.dtype) -> None:
    q, k, v = (t.transpose(1, 2).contiguous().transpose(1, 2) for t in operands(dtype=dtype))
    args = (q, k, v, *[None] * 5, 0.0, True, 0.3, 0, -1, -1, 0.0, "mean")
    opcheck(torch.ops.pyrnn.scaled_dot_product_attention.default, args)


@pytest.mark.parametrize(
    ("kind", "shape"), [("none", (1, 1, 5, 7)), ("mean", (2, 4, 5, 7)), ("full", (2, 1, 1, 1))]
)
def test_opcheck_of_the_private_operators(kind: str, shape: tuple[int, ...]) -> None:
    args = operator_args(mask=torch.randn(shape), layout=True, kind=kind, p=0.3)
    opcheck(torch.ops.pyrnn._scaled_dot_product_attention_fwd.default, args)
    out, weights, statistics = torch.ops.pyrnn._scaled_dot_product_attention_fwd(*args)
    grads = (torch.ones_like(out), None if kind == "none" else torch.ones_like(weights))
    for needs in ([True] * 4, [False, True, False, True]):
        opcheck(
            torch.ops.pyrnn._scaled_dot_product_attention_bwd.default,
            (*grads, *args[:8], out, statistics, *args[8:], needs),
        )


def gradients(out: tuple[Tensor, ...], leaves: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return torch.autograd.grad([t.square().sum() for t in out], leaves)


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("kind", [None, "mean"])
def test_compiled_training_is_one_graph(
    monkeypatch: pytest.MonkeyPatch, kind: str | None, dynamic: bool
) -> None:
    calls = Calls(monkeypatch)
    torch.compiler.reset()

    def run(q: Tensor, k: Tensor, v: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        start = k.shape[2] - q.shape[2]
        options = {"is_causal": True, "query_start": start, "lengths": lengths, "seed": SEED}
        return of_kernel(q, k, v, dropout_p=0.3, return_weights=kind, **options)

    compiled = torch.compile(run, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for B, T, S in ((2, 4, 6), (3, 5, 8), (3, 6, 9)):
        q, k, v = leaves = operands(B=B, T=T, S=S, requires_grad=True)
        lengths = torch.arange(B) + S - B
        eager = run(q, k, v, lengths)
        expected = gradients(eager, leaves)
        before = calls.counts
        ours = compiled(q, k, v, lengths)
        torch.testing.assert_close(ours, eager)
        torch.testing.assert_close(gradients(ours, leaves), expected)
        assert calls.counts == (before[0] + 1, before[1] + 1)


def test_sizes_and_starts_do_not_compile_again() -> None:
    """A cache that grows by one key a step must not make a graph a step."""
    torch.compiler.reset()
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: Any) -> Any:
        graphs.append(graph)
        return graph

    def run(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return of_kernel(q, k, v, is_causal=True, query_start=k.shape[2] - 1)[0]

    compiled = torch.compile(run, fullgraph=True, dynamic=True, backend=backend)
    for S in range(8, 14):
        q, k, v = operands(T=1, S=S)
        torch.testing.assert_close(compiled(q, k, v), run(q, k, v))
    assert len(graphs) == 1


def test_compiled_dropout_draws_anew() -> None:
    torch.compiler.reset()
    compiled = torch.compile(
        lambda q, k, v: of_kernel(q, k, v, dropout_p=0.5)[0], fullgraph=True, backend="aot_eager"
    )
    tensors = operands(T=9, S=9)
    torch.manual_seed(1)
    first, second = compiled(*tensors), compiled(*tensors)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    torch.testing.assert_close(first, of_kernel(*tensors, dropout_p=0.5)[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_compiled_by_inductor() -> None:
    torch.compiler.reset()

    def run(x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in x.chunk(3, -1))
        out = scaled_dot_product_attention(q, k, v, mask, is_causal=True)
        assert isinstance(out, Tensor)
        return out.transpose(1, 2).flatten(2)

    x = torch.randn(2, 5, 24, requires_grad=True)
    mask = torch.randn(5, 5, requires_grad=True)
    ours, eager = torch.compile(run, fullgraph=True)(x, mask), run(x, mask)
    torch.testing.assert_close(ours, eager)
    grad = torch.randn(eager.shape)
    torch.testing.assert_close(
        torch.autograd.grad(ours, (x, mask), grad), torch.autograd.grad(eager, (x, mask), grad)
    )


def test_compiled_under_autocast() -> None:
    torch.compiler.reset()
    compiled = torch.compile(scaled_dot_product_attention, fullgraph=True, backend="aot_eager")
    q, k, v = operands(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours, eager = compiled(q, k, v, torch.zeros(5, 7)), scaled_dot_product_attention(q, k, v)
    assert isinstance(eager, Tensor)
    assert eager.dtype == torch.bfloat16
    torch.testing.assert_close(ours, eager)


def test_compiled_func_grad() -> None:
    torch.compiler.reset()
    q, k, v = operands(T=2)

    def loss(query: Tensor) -> Tensor:
        return of_kernel(query, k, v)[0].square().sum()

    compiled = torch.compile(torch.func.grad(loss), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q), torch.func.grad(loss)(q))


class SelfAttention(torch.nn.Module):
    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.project = torch.nn.Linear(6, 24)

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in self.project(x).chunk(3, -1))
        out = scaled_dot_product_attention(q, k, v, is_causal=True, lengths=lengths, dropout_p=self.p)
        assert isinstance(out, Tensor)
        return out.transpose(1, 2).flatten(2)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.filterwarnings("ignore::FutureWarning:torch")
@pytest.mark.filterwarnings("ignore:The given buffer is not writable:UserWarning:torch")  # export.load's own
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_export_round_trip(p: float, tmp_path: Path) -> None:
    module = SelfAttention(p)
    steps, batch = torch.export.Dim("steps", min=2), torch.export.Dim("batch", min=2)
    shapes = {"x": {0: batch, 1: steps}, "lengths": {0: batch}}
    program = torch.export.export(
        module, (torch.randn(3, 5, 6), torch.tensor([5, 2, 0])), dynamic_shapes=shapes
    )
    assert "pyrnn.scaled_dot_product_attention.default" in program.graph_module.code
    torch.export.save(program, tmp_path / "layer.pt2")
    loaded = torch.export.load(tmp_path / "layer.pt2").module()
    for B, T in ((3, 5), (4, 7)):
        x, lengths = torch.randn(B, T, 6), torch.arange(B) + 1
        torch.manual_seed(4)
        ours = loaded(x, lengths)
        torch.manual_seed(4)
        torch.testing.assert_close(ours, module(x, lengths))
        assert torch.equal(ours, loaded(x, lengths)) == (p == 0)


@pytest.mark.filterwarnings("ignore:`torch.jit.trace:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_traced_module_computes_on_new_values() -> None:
    module = SelfAttention(0.0)
    traced: Any = torch.jit.trace(module, (torch.randn(3, 5, 6), torch.tensor([5, 2, 0])))
    x, lengths = torch.randn(3, 5, 6), torch.tensor([1, 3, 5])
    torch.testing.assert_close(traced(x, lengths), module(x, lengths))


@pytest.mark.parametrize("requires_grad", [False, True])
def test_meta_tensors_have_the_shapes(requires_grad: bool) -> None:
    options: dict[str, Any] = {"return_weights": "mean", "dropout_p": 0.5, "seed": SEED}
    real = of_kernel(*operands(), **options)
    leaves = [t.to("meta").requires_grad_(requires_grad) for t in operands()]
    ours = of_kernel(*leaves, **options)
    assert [(t.shape, t.stride(), t.dtype) for t in ours] == [(t.shape, t.stride(), t.dtype) for t in real]
    assert all(t.device.type == "meta" for t in ours)
    if requires_grad:
        ours[0].sum().backward()
        assert leaves[1].grad is not None
        assert leaves[1].grad.shape == leaves[1].shape


@pytest.mark.parametrize("requires_grad", [False, True])
def test_fake_tensors_reach_no_kernel(monkeypatch: pytest.MonkeyPatch, requires_grad: bool) -> None:
    calls = Calls(monkeypatch)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        leaves = [mode.from_tensor(t).requires_grad_(requires_grad) for t in operands()]
        (out,) = of_kernel(*leaves, dropout_p=0.5, lengths=torch.tensor([3, 7]))
        if requires_grad:
            out.sum().backward()
            assert leaves[0].grad is not None
    assert out.shape == (2, 2, 5, 3)
    assert calls.counts == (0, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_casts_and_returns_gradients_of_the_parameters_dtype(dtype: torch.dtype) -> None:
    leaves = [t.requires_grad_() for t in operands(dtype=torch.float32)]
    mask, slopes = torch.randn(5, 7, requires_grad=True), torch.tensor([0.123456, 0.7])
    with torch.autocast("cpu", dtype=dtype):
        (out,) = of_kernel(*leaves, attn_mask=mask, alibi_slopes=slopes)
    assert out.dtype == dtype
    cast = [t.detach().to(dtype) for t in (*leaves, mask)]
    torch.testing.assert_close(out, of_kernel(*cast[:3], attn_mask=cast[3], alibi_slopes=slopes)[0])
    grads = torch.autograd.grad(out.sum(), (*leaves, mask))
    assert all(grad.dtype == torch.float32 for grad in grads)


def test_autocast_under_torch_func(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls(monkeypatch)
    q, k, v = operands(dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        grad = torch.func.grad(lambda x: of_kernel(x, k, v)[0].float().sum())(q)
    assert grad.dtype == torch.float32
    assert calls.counts == (1, 1)


def test_autocast_leaves_float64_alone() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert of_kernel(*operands())[0].dtype == torch.float64


def test_second_derivative_under_autocast_keeps_the_dtype() -> None:
    q, k, v = (t.requires_grad_() for t in operands(dtype=torch.float32))

    def second(out: Tensor) -> Tensor:
        (first,) = torch.autograd.grad(out.float().square().sum(), q, create_graph=True)
        return torch.autograd.grad(first.square().sum(), q)[0]

    with torch.autocast("cpu", dtype=torch.bfloat16):
        ours = second(of_kernel(q, k, v)[0])
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, second(of_reference(q, k, v)[0]), rtol=0.1, atol=0.1)
