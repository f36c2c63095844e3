"""Builders that all tests of the emulator share: its own sources are compiled once a mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.emulator.building import Builder, run, why_not

GetBuilder = Callable[[str], Builder]
Outcomes = Callable[..., dict[str, str]]


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


@pytest.fixture(scope="session")
def outcomes(builder: GetBuilder) -> Outcomes:
    """What the cases of a source came to in a mode, all or the named ones; each is built and run once."""
    known: dict[tuple[str, str, tuple[str, ...]], dict[str, str]] = {}

    def of(source: str, mode: str, *names: str) -> dict[str, str]:
        key = (source, mode, names)
        if key not in known:
            result = run(builder(mode).program(Path(__file__).parent / source), *names)
            assert result.returncode == 0, result.stdout + result.stderr
            known[key] = dict(line.split(": ", 1) for line in result.stdout.splitlines())
        return known[key]

    return of
