"""Each stand-in for a project with torch's layers, with ours in their place, and restored."""

from __future__ import annotations

import copy
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import pyrnn
from tests.nn.pairs import tensors_in
from tests.projects.stand_ins import STAND_INS
from tests.projects.with_attention import Hooked

pytestmark = pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")


def make(name: str) -> tuple[Any, tuple[Any, ...]]:
    torch.manual_seed(0)
    return STAND_INS[name]()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Generator[None, None, None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def outputs(model: nn.Module, args: tuple[Any, ...]) -> list[Tensor]:
    torch.manual_seed(1)
    return tensors_in(model(*args))


def curve(model: nn.Module, args: Sequence[Any]) -> list[float]:
    """Losses of 50 steps towards a fixed target."""
    torch.manual_seed(2)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(50):
        loss = torch.stack([(t - 0.3).square().mean() for t in tensors_in(model(*args))]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("name", STAND_INS)
def test_a_project(name: str) -> None:
    theirs, args = make(name)
    ours, _ = make(name)
    report = pyrnn.accelerate(ours)
    assert report.swapped
    assert not report.kept, str(report)
    before = [type(module) for module in theirs.modules()]
    assert all(isinstance(m, kind) for m, kind in zip(ours.modules(), before, strict=True))

    if hasattr(theirs, "initialise"):
        told = []
        for model in (theirs, ours):
            torch.manual_seed(3)
            told.append(model.initialise())
        assert told[1] == told[0] != []

    for mode in (True, False):
        found, expected = outputs(ours.train(mode), args), outputs(theirs.train(mode), args)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    # In float64: what Adam makes of a rounding error grows with each step.
    exact = tuple(
        arg.double() if isinstance(arg, Tensor) and arg.is_floating_point() else arg for arg in args
    )
    with default_dtype(torch.float64):
        losses = curve(theirs.train().double(), exact)
        assert losses[-1] < losses[0]
        torch.testing.assert_close(curve(ours.train().double(), exact), losses, rtol=1e-6, atol=0)
    theirs.float()
    ours.float()

    # Back to torch's layers, with the parameters of the training.
    state = copy.deepcopy(ours.state_dict())
    expected = outputs(ours.eval(), args)
    assert not pyrnn.restore(ours).kept
    assert [type(module) for module in ours.modules()] == before
    torch.testing.assert_close(outputs(ours, args), expected, rtol=1e-5, atol=1e-6)
    theirs.load_state_dict(state)
    assert all(
        torch.equal(a, b) for a, b in zip(outputs(theirs.eval(), args), outputs(ours, args), strict=True)
    )


@pytest.mark.filterwarnings(
    "ignore:.*torch.jit.*:DeprecationWarning", "ignore:.*compiles torch's:UserWarning"
)
def test_the_scripted_head() -> None:
    model, (chunks,) = make("step loop with a scripted head")
    pyrnn.accelerate(model.eval())
    scripted: Any = torch.jit.script(copy.deepcopy(model.head))
    expected = model(chunks)
    model.head = scripted
    assert torch.equal(model(chunks), expected)
    cell: Any = torch.jit.script(copy.deepcopy(model.rnn))
    torch.testing.assert_close(cell(chunks[0]), model.rnn(chunks[0]))


def test_hooks_see_what_they_saw() -> None:
    theirs, args = make("hooks")
    ours, _ = make("hooks")
    pyrnn.accelerate(ours)
    assert isinstance(ours, Hooked)
    for model in (theirs, ours):
        model(*args)
    torch.testing.assert_close(ours.seen, theirs.seen)
