"""Every compiled kernel at sizes beside every tile, panel, block and segment."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pyrnn import _native
from tests.recurrent.cases import KERNELS, Case, cases, check

pytestmark = pytest.mark.usefixtures("isa_put_back")


@pytest.mark.parametrize("case", [case for kernel in KERNELS for case in cases(*kernel)], ids=str)
def test_as_accurate_as_torch(case: Case) -> None:
    _native.set_isa(case.isa)
    check(case)


@pytest.mark.parametrize(("isa", "cell"), [kernel[:2] for kernel in KERNELS if kernel[2] is torch.float32])
def test_long_sums_are_as_accurate_as_torch(isa: str, cell: str) -> None:
    """Rounding grows with the length of a chain of sums, and torch's libraries keep theirs short."""
    _native.set_isa(isa)
    case = next(cases(isa, cell, torch.float32))
    check(replace(case, T=3, B=8, I=1024, H=384, P=None, D=1, shortest=None, bias=True, states=True))
