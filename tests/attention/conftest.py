"""Fixtures of the tests of the kernels."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attention.cases import on_threads


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On small tensors torch gains nothing from a second thread, and on busy cores idle threads spin long."""
    with on_threads(1):
        yield
