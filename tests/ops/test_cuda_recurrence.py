"""Plans of the CUDA kernels: asked of the right device, and only once. No kernel runs here."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from pyrnn import _native
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.cuda import recurrence

PROBLEM = Problem(
    cell="gru",
    T=7,
    B=3,
    I=4,
    H=5,
    P=5,
    D=2,
    N=21,
    packed=False,
    batch_first=False,
    checkpoint_every=0,
    dtype=torch.bfloat16,
)


class Module:
    """In a native module's place."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []

    def recurrent_plan(self, *question: Any) -> tuple[Any, ...]:
        self.asked.append(question)
        return ("step", False, 1, 8, 4, 256, 0, len(self.asked), "")


def bytes_of(problem: Problem = PROBLEM, *, backward: bool = False, index: int = 0) -> int:
    return recurrence.plan(problem, backward=backward, index=index).scratch_bytes


def test_a_plan_is_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    module = Module()
    monkeypatch.setattr(_native, "emulated_cuda", module)
    other_calls = [PROBLEM, PROBLEM._replace(T=9, N=27), PROBLEM._replace(checkpoint_every=2)]
    assert [bytes_of(problem) for problem in other_calls] == [1, 1, 1]
    assert module.asked == [((2, 1, 1, 3, 5, 2, 0), False, 0, 0)]
    assert bytes_of(backward=True) == 2
    assert bytes_of(index=1) == 3
    for number, changes in enumerate(
        ({"cell": "lstm"}, {"dtype": torch.float16}, {"B": 4}, {"H": 6}, {"D": 1})
    ):
        assert bytes_of(PROBLEM._replace(**changes)) == 4 + number
    monkeypatch.setattr(recurrence, "forced_engine", "step")
    assert bytes_of() == 9
    monkeypatch.setattr(recurrence, "forced_engine", "")
    assert bytes_of() == 1
    monkeypatch.setattr(_native, "emulated_cuda", other := Module())
    assert bytes_of() == len(other.asked) == 1


def test_a_plan_is_asked_for_on_its_device(monkeypatch: pytest.MonkeyPatch) -> None:
    entered: list[torch.device] = []

    @contextmanager
    def on_device(device: torch.device) -> Generator[None, None, None]:
        entered.append(device)
        yield

    monkeypatch.setattr(recurrence, "on_device", on_device)
    monkeypatch.setattr(_native, "emulated_cuda", None)
    monkeypatch.setattr(_native, "cuda", Module())
    bytes_of(index=1)
    assert entered == [torch.device("cuda", 1)]
