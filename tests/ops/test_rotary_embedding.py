"""Rotary position embedding: numbers, gradients, layouts, transforms, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import grad, jvp, vmap
from torch.library import opcheck

from pyrnn.nn import RotaryEmbedding
from pyrnn.ops import rotary_embedding, rotary_embedding_route
from pyrnn.reference.rotary_embedding import rotary_embedding as reference
from tests.helpers import assert_as_accurate

DTYPES = [torch.float32, torch.bfloat16, torch.float64]
NAMES = ("output", "d_input")
#: Shape, pairs and the dimension of the positions: around vectors, tasks and what is not turned.
CASES = [
    ((1, 2), 1, -2),
    ((5, 3), 1, -2),
    ((3, 7), 3, -2),
    ((7, 2, 3, 8), 4, -4),
    ((2, 7, 3, 24), 9, -3),
    ((2, 3, 7, 33), 16, -2),
    ((2, 3, 2, 5, 2, 10), 4, -4),
    ((700, 2, 40), 20, -3),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)


def table_of(length: int, pairs: int, dtype: torch.dtype = torch.float64) -> Tensor:
    angles = torch.arange(length, dtype=torch.float64)[:, None] + 0.3 * torch.arange(pairs)
    return torch.stack((angles.cos(), angles.sin()), dim=-1).to(dtype)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wide(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype is torch.float64 else torch.float32


def ours(input: Tensor, table: Tensor, sequence_dim: int = -2) -> Tensor:
    return rotary_embedding(input, table, sequence_dim=sequence_dim)


def run(
    operator: Callable[..., Tensor], input: Tensor, table: Tensor, dim: int, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """Result and gradient in `dtype`."""
    leaf = input.to(dtype, copy=True).requires_grad_()
    out = operator(leaf, table.to(wide(dtype)), dim)
    upstream = drawn(*input.shape, seed=7).to(input.dtype).to(dtype)
    return out.detach(), *torch.autograd.grad(out, leaf, upstream)


# ---- numbers -------------------------------------------------------------------------------------


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_as_accurate_as_torch(isa: str, dtype: torch.dtype, case: tuple[tuple[int, ...], int, int]) -> None:
    shape, pairs, dim = case
    x, table = drawn(*shape).to(dtype), table_of(shape[dim], pairs, torch.float32)
    exact = run(reference, x, table.double(), dim, torch.float64)
    found, theirs = (run(f, x, table, dim, dtype) for f in (ours, reference))
    assert_as_accurate(found, theirs, exact, names=NAMES)
    assert torch.equal(found[0][..., 2 * pairs :], x[..., 2 * pairs :])


@each_case
def test_float64_to_the_last_digits(isa: str, case: tuple[tuple[int, ...], int, int]) -> None:
    shape, pairs, dim = case
    given = (drawn(*shape), table_of(shape[dim], pairs), dim, torch.float64)
    torch.testing.assert_close(run(ours, *given), run(reference, *given), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan, 3e38])
def test_extreme_numbers_stay_in_their_pairs(isa: str, number: float, dtype: torch.dtype) -> None:
    x, table = drawn(5, 22).to(dtype), table_of(5, 10, wide(dtype))
    x[2, 7] = x[3, 21] = number
    found, exact = ours(x, table), reference(x, table, -2)
    assert torch.equal(found.isfinite(), exact.isfinite())
    assert found[2, [*range(6), *range(8, 22)]].isfinite().all()
    torch.testing.assert_close(found[3, 20:], x[3, 20:], equal_nan=True, rtol=0, atol=0)


def test_turning_back_is_the_inverse() -> None:
    x, table = drawn(6, 8).requires_grad_(), table_of(6, 4)
    out = ours(x, table)
    (grad,) = torch.autograd.grad(out, x, out.detach())
    torch.testing.assert_close(grad, x.detach())


def test_threads_change_no_bit() -> None:
    x, table, before = drawn(1000, 40).float(), table_of(1000, 20, torch.float32), torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(ours(x, table))
    torch.set_num_threads(before)
    assert all(torch.equal(again, results[0]) for again in results[1:])


@pytest.mark.parametrize(
    ("shape", "pairs"), [((0, 4), 2), ((3, 0, 4), 2), ((0, 3, 4), 2), ((3, 0), 0), ((3, 4), 0)]
)
def test_sizes_of_zero(shape: tuple[int, ...], pairs: int) -> None:
    x, table = drawn(*shape), table_of(shape[-2], pairs)
    torch.testing.assert_close(ours(x, table), reference(x, table, -2))


# ---- layouts -------------------------------------------------------------------------------------


def layouts() -> dict[str, Tensor]:
    """Tensors [3, 5, 4, 6] as views."""
    packed = drawn(3, 5, 3, 4, 6)
    return {
        "of a projection": packed[:, :, 1],
        "heads before positions": drawn(3, 4, 5, 6).transpose(1, 2),
        "features apart": drawn(3, 5, 6, 4).transpose(2, 3),
        "expanded": drawn(3, 1, 1, 6).expand(3, 5, 4, 6),
        "at an odd place": drawn(3, 5, 4, 7)[..., 1:],
        "backwards": drawn(4, 5, 3, 6).permute(2, 1, 0, 3),
        "five dimensions": drawn(4, 5, 3, 2, 6).permute(2, 1, 0, 3, 4),
    }


@pytest.mark.parametrize("layout", layouts())
@pytest.mark.parametrize("sequence_dim", [0, 1, 2])
def test_views_are_read_where_they_lie(layout: str, sequence_dim: int) -> None:
    x = layouts()[layout]
    table = table_of(x.shape[sequence_dim], 2)
    found = ours(x, table, sequence_dim)
    assert found.is_contiguous()
    assert torch.equal(found, ours(x.contiguous(), table, sequence_dim))
    torch.testing.assert_close(found, reference(x, table, sequence_dim - x.dim()))


def test_rows_of_a_longer_table() -> None:
    table, x = table_of(20, 3), drawn(20, 6)
    whole = ours(x, table)
    assert torch.equal(ours(x[11:17], table[11:17]), whole[11:17])
    assert torch.equal(ours(x[::2], table[::2]), whole[::2])


# ---- derivatives and transforms ------------------------------------------------------------------


def test_gradcheck_and_gradgradcheck() -> None:
    x, table = drawn(3, 5).requires_grad_(), table_of(3, 2)
    assert torch.autograd.gradcheck(ours, (x, table))
    assert torch.autograd.gradgradcheck(ours, (x, table))


def test_what_is_kept() -> None:
    kept: list[Tensor] = []
    table = table_of(3, 2)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        ours(drawn(3, 5).requires_grad_(), table)
    assert len(kept) == 1
    assert torch.equal(kept[0], table)


# torch compiles its formulas for forward-mode derivatives at the first use.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_functorch() -> None:
    x, table, tangent = drawn(4, 3, 6), table_of(4, 2), drawn(4, 3, 6, seed=1)

    def theirs(x: Tensor, table: Tensor) -> Tensor:
        return reference(x, table, -3)

    def by(f: Any) -> Callable[[Tensor], Tensor]:
        return lambda x: f(x, table).sin().sum()

    def mine(x: Tensor, table: Tensor) -> Tensor:
        return ours(x, table, -3)

    torch.testing.assert_close(*(grad(by(f))(x) for f in (mine, theirs)))
    seconds = [grad(lambda x, f=f: grad(by(f))(x).square().sum())(x) for f in (mine, theirs)]
    torch.testing.assert_close(*seconds)
    torch.testing.assert_close(*(jvp(lambda x, f=f: f(x, table), (x,), (tangent,)) for f in (mine, theirs)))
    for dims in ((1, None), (0, 0), (None, 0)):
        tables = table if dims[1] is None else torch.stack([table, table[[3, 2, 1, 0]]])
        samples = x if dims[0] is None else torch.stack((x, 2 * x), dim=dims[0])
        for of in (lambda f: f, lambda f: grad(lambda x, t: f(x, t).sin().sum())):
            torch.testing.assert_close(*(vmap(of(f), dims)(samples, tables) for f in (mine, theirs)))


def test_opcheck() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        x = drawn(3, 2, 7).to(dtype).requires_grad_()
        opcheck(torch.ops.pyrnn.rotary_embedding.default, (x, table_of(3, 2, torch.float32), -3))


def test_compiled_it_is_torch_s_own_operators() -> None:
    torch.compiler.reset()
    x, table = drawn(5, 2, 6).requires_grad_(), table_of(5, 3)
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    found, eager = compiled(x, table, 0), ours(x, table, 0)
    torch.testing.assert_close(found, eager)
    torch.testing.assert_close(*(torch.autograd.grad(y.sin().sum(), x) for y in (found, eager)))


# ---- routes and refusals -------------------------------------------------------------------------


def test_route() -> None:
    assert rotary_embedding_route(torch.zeros(1)).path == "native"
    assert "float16" in rotary_embedding_route(torch.zeros(1, dtype=torch.float16)).reason
    x, table = drawn(4, 6).half(), table_of(4, 3, torch.float32)
    torch.testing.assert_close(ours(x, table), ours(x.float(), table).half())
    assert ours(torch.empty(4, 6, device="meta"), table.to("meta")).device.type == "meta"


def test_the_layer_s_table_begins_at_any_position() -> None:
    x, rotary = drawn(9, 8), RotaryEmbedding(6)
    torch.testing.assert_close(rotary(x)[5:], rotary(x[5:], start=5), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"input": torch.zeros(2, 6).long()}, TypeError, "must be floating point, got torch.int64"),
        ({"input": torch.zeros(6)}, ValueError, r"a dimension of the input before its features, got -2 for"),
        ({"sequence_dim": 2}, ValueError, r"before its features, got 2 for shape \[2, 6\]"),
        ({"sequence_dim": -1}, ValueError, "before its features, got -1"),
        ({"sequence_dim": 1.5}, TypeError, "sequence_dim should be of type int, got: float"),
        ({"table": torch.zeros(2, 4, 2)}, ValueError, r"at most the input's 3 pairs; got \[2, 4, 2\]"),
        ({"table": torch.zeros(2, 5)}, ValueError, r"shape \[T, pairs, 2\].* got \[2, 5\]"),
        ({"table": torch.zeros(2, 3, 3)}, ValueError, r"got \[2, 3, 3\]"),
        ({"table": torch.zeros(3, 3, 2)}, ValueError, r"table must have shape .* = \[2, 3, 2\]"),
        ({"table": torch.zeros(2, 3, 2).double()}, ValueError, "expected torch.float32 for table"),
        ({"table": torch.zeros(2, 3, 2, device="meta")}, ValueError, "not at the same device"),
        ({"table": torch.zeros(2, 3, 2).requires_grad_()}, ValueError, "table has no derivative"),
    ],
)  # fmt: skip
def test_refusals(arguments: dict[str, Any], error: type[Exception], message: str) -> None:
    given = {"input": torch.zeros(2, 6), "table": torch.zeros(2, 3, 2), **arguments}
    with pytest.raises(error, match=message):
        rotary_embedding(**given)
