"""torch.compile: forward and training in one graph, generated code, a module compiled in place."""

from __future__ import annotations

import pytest
import torch

from tests.integrations.model import assert_close, losses, twins


@pytest.fixture(autouse=True)
def fresh_compiler() -> None:
    torch.compiler.reset()


def test_a_model_trains_in_one_graph() -> None:
    theirs, ours = twins()
    assert_close(losses(torch.compile(ours, fullgraph=True, backend="aot_eager")), losses(theirs))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_generated_code() -> None:
    _, ours = twins()
    tokens = torch.randint(0, 11, (4, 6))
    expected = ours(tokens)
    assert_close(torch.compile(ours, fullgraph=True)(tokens), expected)


def test_a_module_compiled_in_place() -> None:
    theirs, ours = twins()
    ours.compile(backend="aot_eager")
    assert_close(losses(ours), losses(theirs))
