"""Builders that all tests of the emulator share: its own sources are compiled once a mode."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.emulator.building import Builder, why_not

GetBuilder = Callable[[str], Builder]


@pytest.fixture(scope="session")
def builder(tmp_path_factory: pytest.TempPathFactory) -> GetBuilder:
    """The builder of a mode: "plain", "sanitized" or "race"."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("emulator")
    made: dict[str, Builder] = {}

    def of_mode(mode: str) -> Builder:
        if mode not in made:
            made[mode] = Builder(folder, mode)
        return made[mode]

    return of_mode
