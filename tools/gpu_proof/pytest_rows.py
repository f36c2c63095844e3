"""A pytest plugin: writes each test's outcome at once, so that a run ended by its time limit still tells."""

from __future__ import annotations

from typing import Any

import pytest

from pyrnn.bench import record
from tools.gpu_proof.stages import add_orders


def pytest_addoption(parser: pytest.Parser) -> None:
    """What every stage is told."""
    add_orders(parser.addoption)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what compiles the kernels for the host, no GPU's business. A few tests do for a rehearsal."""
    kept = [item for item in items if "emulated" not in getattr(item, "fixturenames", ())]
    if config.getoption("--rehearse"):
        kept = [item for item in kept if item.path.name == _REHEARSED]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


_REHEARSED = "test_route.py"


class _Writer:
    def __init__(self, config: pytest.Config) -> None:
        self.path: Any = config.getoption("--rows")
        self.last = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """One row a test, written when its call ends, or its set-up where that is where it ended."""
        self.last = report.nodeid
        if report.when != "call" and report.outcome == "passed":
            return
        why = "" if report.outcome == "passed" else _last_line(report.longrepr)
        record.append(self.path, {"test": report.nodeid, "outcome": report.outcome, "why": why})

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """What ended the run, for instance `pytest.exit` after a test that lost the device."""
        why = f"the run ended here: {excinfo.value}".splitlines()[0]
        record.append(self.path, {"test": self.last, "outcome": "failed", "why": why})


def _last_line(explanation: Any) -> str:
    """A skip's reason is the last of three parts; a failure's message ends its text."""
    if isinstance(explanation, tuple):
        return str(explanation[2])
    crash = getattr(explanation, "reprcrash", None)
    return str(crash.message if crash else explanation).strip().splitlines()[0][:300]


def pytest_configure(config: pytest.Config) -> None:
    """Start writing."""
    config.pluginmanager.register(_Writer(config))
