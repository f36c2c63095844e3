"""The watch on other processes tells a quiet machine from a busy one."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from pyrnn.bench.quiet import Watch


def used_by_others(seconds: float) -> float:
    watch = Watch()
    time.sleep(seconds)
    load = watch.background_load()
    if load is None:
        pytest.skip("this system has no /proc/stat to read the cores' work from")
    return load


def test_another_process_is_seen() -> None:
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)  # it has started
        share = used_by_others(1.0)
    finally:
        busy.kill()
        busy.wait()
    # It gets a whole core, or its part of one where more want to run.
    assert share > 0.3 / (os.cpu_count() or 1)


def test_own_work_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    clocks = iter([10.0, 13.0])
    monkeypatch.setattr("pyrnn.bench.quiet._everyone", lambda: next(clocks))
    owns = iter([1.0, 4.0])
    monkeypatch.setattr("pyrnn.bench.quiet._own", lambda: next(owns))
    assert Watch().background_load() == 0.0
