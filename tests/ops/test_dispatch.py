"""What the operator library asks of torch."""

from __future__ import annotations

import pytest
import torch

from pyrnn import _dispatch


def test_a_missing_private_name_is_named() -> None:
    with pytest.raises(ImportError, match=r"torch\._C\._no_such_thing\.deeper, which torch .* does not have"):
        _dispatch._private("_C._no_such_thing.deeper")


def test_functorch_levels_are_told_apart() -> None:
    seen = []

    def look(x: torch.Tensor) -> torch.Tensor:
        seen.append((_dispatch.functorch_active(), _dispatch.functorch_differentiates()))
        return x.sum()

    x = torch.ones(2)
    look(x)
    torch.func.vmap(look)(x)
    torch.func.grad(look)(x)
    torch.func.vmap(torch.func.grad(look))(torch.ones(2, 2))
    assert seen == [(False, False), (True, False), (True, True), (True, True)]
