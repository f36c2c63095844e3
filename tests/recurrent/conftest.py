"""Fixtures of the kernel tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.recurrent.cases import split


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Tests say themselves where they want more: on a busy machine torch's idle threads spin for long."""
    with split(1):
        yield
