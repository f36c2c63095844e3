"""Every compiled kernel at sizes beside every tile, panel, block and chunk."""

from __future__ import annotations

import pytest

from pyrnn import _native
from tests.recurrent.cases import KERNELS, Case, cases, check


@pytest.mark.parametrize("case", [case for kernel in KERNELS for case in cases(*kernel)], ids=str)
def test_as_accurate_as_torch(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    before = _native.isa()
    _native.set_isa(case.isa)
    try:
        check(case)
    finally:
        _native.set_isa(before)
