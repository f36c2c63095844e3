"""Fixtures of the operator tests."""

from __future__ import annotations

from typing import Any

import pytest

from pyrnn.ops.recurrent import cpu


class KernelCalls:
    """How often each native kernel ran."""

    def __init__(self) -> None:
        self.forward = 0
        self.backward = 0
        self.trained = False  # whether the last forward kept a workspace
        self.needs: tuple[bool, ...] = ()  # of the last backward

    @property
    def counts(self) -> tuple[int, int]:
        return self.forward, self.backward


@pytest.fixture
def kernel_calls(monkeypatch: pytest.MonkeyPatch) -> KernelCalls:
    """Count calls of the native kernels, which still run."""
    calls = KernelCalls()
    forward, backward = cpu.forward, cpu.backward

    def counted_forward(*args: Any, **kwargs: Any) -> Any:
        calls.forward += 1
        calls.trained = kwargs["train"]
        return forward(*args, **kwargs)

    def counted_backward(*args: Any, **kwargs: Any) -> Any:
        calls.backward += 1
        calls.needs = kwargs["needs"]
        return backward(*args, **kwargs)

    monkeypatch.setattr(cpu, "forward", counted_forward)
    monkeypatch.setattr(cpu, "backward", counted_backward)
    return calls
