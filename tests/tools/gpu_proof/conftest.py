"""Fixtures of the tests of the GPU proof, none of which needs a GPU."""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pyrnn.bench import record


@pytest.fixture
def run_main(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Path], int]:
    """Calls the main function of a stage's module as the runner does; the exit status is the result."""

    def run(name: str, folder: Path) -> int:
        told = ["--rows", str(folder / "rows.jsonl"), "--seconds", "30", "--record", str(folder / "x.json")]
        monkeypatch.setattr(sys, "argv", [name, *told])
        return importlib.import_module(f"tools.gpu_proof.{name}").main()

    return run


@pytest.fixture
def environment() -> record.Row:
    """What the record of a run on a GPU says of its machine."""
    return {
        **record.environment(),
        "device": "NVIDIA H200",
        "capability": "9.0",
        "sms": 132,
        "memory_gib": 139.7,
        "l2_mib": 60.0,
        "driver": "580.1",
        "cuda": "13.0",
        "cudnn": 91000,
        "nvcc": "13.0",
    }


@pytest.fixture
def fake_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """The processor's clock stands in for the events of a device, of which nothing is asked."""

    class Event:
        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing
            self.at = -1.0

        def record(self) -> None:
            self.at = time.perf_counter()

        def synchronize(self) -> None:
            assert self.at >= 0

        def elapsed_time(self, end: Event) -> float:
            return (end.at - self.at) * 1e3

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
