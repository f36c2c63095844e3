"""Calls with faults put into them, one for each number."""

from __future__ import annotations

from tools.fuzz.calls import Argument, Call, Environment, Names
from tools.fuzz.values import torch

#: By name: what is called on x, a leaf with numbers of about 1; each is to be 2 x.
FAULTS = {
    "nothing": "2 * x",
    "another number": "2.001 * x",
    "another gradient": "2 * x.detach() + 1.999 * (x - x.detach())",
    "nan": "2 * x + torch.where(torch.arange(5) == 3, torch.nan, 0)",
    "attribute": "x.no_such_thing",
    "crash": "__import__('ctypes').string_at(0)",
    "hang": "__import__('time').sleep(60)",
    "exit": "__import__('os')._exit(3)",
    "garbage": "2 * x * (1 + torch.rand(5, generator=torch.Generator().manual_seed(torch.seed() % 2**60)))",
    "writes": "2 * x.data.mul_(2)",
    "refusal": "torch.zeros(2) @ x",
    "no words": "(_ for _ in ()).throw(ValueError('no'))",
    "after another": "2 * x",
    "unread": "2 * x",
}
NAMES = tuple(FAULTS)


def draw(seed: str, index: int, target: str) -> Call:
    """Call number `index`."""
    arguments = {"x": Argument(f"leaf(normal({len(seed)}, (5,), torch.float32))")}
    if target == "unread":  # no oracle may read what the second argument has no memory for
        arguments = {
            "x": Argument("leaf(torch.zeros(0))"),
            "y": Argument("shrunk(torch.ones(5), 0.0)", refuse="shrunk"),
        }
    return Call(
        target,
        "torch.float32",
        arguments,
        FAULTS[target],
        Environment("baseline"),
        exact=_twice,
        theirs=_twice,
        results=("result",),
    )


def _twice(names: Names) -> torch.Tensor:
    return 2 * names["x"] + (names["y"].sum() if "y" in names else 0)
