"""Rotary position embedding on CUDA: numbers, gradients, layouts, bits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.library import opcheck

from pyrnn.ops import rotary_embedding_route
from pyrnn.reference.rotary_embedding import rotary_embedding as reference
from tests.cuda.cases import DTYPES
from tests.helpers import assert_as_accurate
from tests.ops.test_rotary_embedding import NAMES, drawn, ours, run, table_of, wide

#: Shape, pairs and the dimension of the positions: around pieces, warps, blocks, and rows that all threads of
#: a small GPU step over more than once.
CASES = [
    ((1, 2), 1, -2),
    ((5, 3), 1, -2),
    ((7, 2, 3, 8), 4, -4),
    ((2, 7, 3, 24), 9, -3),
    ((2, 3, 7, 33), 16, -2),
    ((3, 2, 264), 130, -3),
    ((2, 3, 2, 5, 2, 10), 4, -4),
    ((3, 700, 3, 8), 3, -3),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
Case = tuple[tuple[int, ...], int, int]


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_as_accurate_as_torch(dtype: torch.dtype, case: Case, device: str) -> None:
    shape, pairs, dim = case
    x, table = drawn(*shape).to(device, dtype), table_of(shape[dim], pairs, torch.float32).to(device)
    exact = run(reference, x.cpu(), table.cpu().double(), dim, torch.float64)
    found, theirs = ([t.cpu() for t in run(f, x, table, dim, dtype)] for f in (ours, reference))
    assert_as_accurate(found, theirs, exact, names=NAMES)


@each_case
def test_float64_to_the_last_digits(case: Case, device: str) -> None:
    shape, pairs, dim = case
    given = (drawn(*shape).to(device), table_of(shape[dim], pairs).to(device), dim, torch.float64)
    torch.testing.assert_close(run(ours, *given), run(reference, *given), rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_views_are_read_where_they_lie(dtype: torch.dtype, device: str) -> None:
    """Those of a projection in whole pieces, one that starts anywhere number by number."""
    packed = drawn(3, 5, 3, 4, 16).to(device, dtype)
    table = table_of(5, 8, wide(dtype)).to(device)
    views = [
        packed[:, :, 1],
        packed[:, :, 2].transpose(0, 2),
        packed[:, :, 0, :, 1:],
        packed[..., ::2][:, :, 0],
    ]
    for x in views:
        half = table[:, : x.shape[-1] // 2]
        assert torch.equal(ours(x, half, 1), ours(x.contiguous(), half, 1))
    begins = torch.zeros(packed.numel() + 1, device=device, dtype=dtype)[1:].view(packed.shape).copy_(packed)
    assert torch.equal(ours(begins[:, :, 1], table, 1), ours(packed[:, :, 1], table, 1))


def test_no_order_of_the_threads_changes_a_bit(device: str, schedules: Callable[[int], None]) -> None:
    x, table = drawn(60, 3, 40).float().to(device), table_of(60, 20, torch.float32).to(device)
    results = []
    for schedule in (1, 2, 3):
        schedules(schedule)
        results.append(run(ours, x, table, -3, torch.float32))
    for again in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(again, results[0], strict=True))


def test_gradients(device: str) -> None:
    given = (drawn(2, 5).to(device).requires_grad_(), table_of(2, 2).to(device))
    torch.autograd.gradcheck(ours, given)
    torch.autograd.gradgradcheck(ours, given)


def test_opcheck_and_route(device: str) -> None:
    x, table = drawn(3, 7).half().to(device).requires_grad_(), table_of(3, 2, torch.float32).to(device)
    opcheck(torch.ops.pyrnn.rotary_embedding.default, (x, table, -2))
    for dtype in DTYPES:
        reason = rotary_embedding_route(torch.zeros(1, dtype=dtype, device=device)).reason
        assert reason == f"CUDA kernels for {dtype}"
