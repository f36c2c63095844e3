"""The frame of the operators under the smallest specification: one tensor, no option, nothing saved."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.func import grad, vmap
from torch.library import opcheck

from pyrnn.ops._operator import Operator, Spec


def _square(input: Tensor) -> Tensor:
    return input * input


def _d_square(grad: Tensor, input: Tensor, needs: Sequence[bool]) -> Tensor:
    return 2 * input * grad


@pytest.fixture(scope="module")
def square() -> Operator:
    return Operator(
        Spec(
            name="square_for_tests",
            tensors="Tensor input",
            results="Tensor output",
            differentiable=(0,),
            devices=("cpu",),
            autocasts=False,
            infer=_square,
            forward=_square,
            backward=_d_square,
            reference=_square,
            fake_forward=_square,
            fake_backward=_d_square,
        )
    )


def test_an_operator_needs_no_option(square: Operator) -> None:
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.equal(square(x), x * x)
    assert torch.autograd.gradcheck(square, x)
    assert torch.autograd.gradgradcheck(square, x)
    assert torch.equal(vmap(grad(lambda row: square(row).sum()))(x), 2 * x)
    opcheck(torch.ops.pyrnn.square_for_tests.default, (x,))
