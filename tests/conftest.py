"""Settings and fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings

from pyrnn import _native

# Other processes share the cores, so the time of a single example is no sign of a fault.
settings.register_profile("pyrnn", deadline=None, print_blob=True)
settings.load_profile("pyrnn")


@pytest.fixture(autouse=True)
def _seed() -> None:
    """Every test draws the same numbers, alone or among others."""
    torch.manual_seed(0)


@pytest.fixture
def isa_put_back() -> Iterator[None]:
    """The test may choose any instruction set; the one that was in use is put back."""
    before = _native.isa()
    yield
    _native.set_isa(before)


@pytest.fixture(params=_native.isas())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs the test once on each instruction set that this processor has."""
    before = _native.isa()
    _native.set_isa(request.param)
    yield request.param
    _native.set_isa(before)
