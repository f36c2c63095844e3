"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Before torch loads OpenMP. Its threads wait for their next work by spinning, and where a test run has more
# threads than there are cores, they take the time of those that have work: small tests took nine times as
# long. Numbers and the count of threads are the same.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

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


@pytest.fixture(scope="module", autouse=True)
def _small_trainings_take_one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Models this small gain nothing by a second thread, and wait for it where other tests have the cores."""
    if request.path.parent.name not in ("cli", "embeddings", "search", "tasks", "train"):
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # processes that a test starts
        yield
    torch.set_num_threads(before)


@pytest.fixture
def two_threads() -> Iterator[None]:
    """The test may use two threads, however many there were."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


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
