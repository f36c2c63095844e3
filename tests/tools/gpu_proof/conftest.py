"""Fixtures of the tests of the GPU proof, none of which needs a GPU."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

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
