"""Draws the source of tensors and options; `random` decides everything."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, TypeVar

from tools.fuzz.calls import Argument

Item = TypeVar("Item")

#: Around the widths of vectors (2 to 16), panels, tiles (3 to 8) and blocks (64).
SMALL = (1, 1, 2, 3, 4, 5, 7, 8, 9)
WIDE = (*SMALL, *SMALL, 15, 16, 17, 31, 33, 48, 63, 64, 65, 80, 130)
LAYER_DTYPES = ("torch.float32",) * 4 + ("torch.float64",) * 2 + ("torch.bfloat16",)
DTYPES = ("torch.float32", "torch.float32", "torch.bfloat16", "torch.float64")


class Drawer:
    """Python source of random things."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)
        self._seeds = 0

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self.random.random() * len(items))]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def below(self, count: int) -> int:
        return int(self.random.random() * count)

    def seed(self) -> int:
        """A new seed for a source: no two tensors of a call hold the same numbers."""
        self._seeds += 1
        return self._seeds + 100 * self.below(10_000)

    def tensor(
        self, shape: Sequence[int], dtype: str, scale: float = 1.0, *, leaf: float = 0.0, whole: int = 0
    ) -> str:
        """A floating tensor in some layout; `leaf` is the probability that it wants a gradient."""
        shape = tuple(shape)
        if whole:
            source = f"whole({self.seed()}, {shape}, {dtype}, {whole})"
        else:
            scaled = "" if scale == 1 else f", {scale:.3g}"
            source = f"normal({self.seed()}, {shape}, {dtype}{scaled})"
        source = self.laid_out(source, shape)
        return f"leaf({source})" if self.chance(leaf) else source

    def laid_out(self, source: str, shape: Sequence[int]) -> str:
        """The source in some layout, half of the time the plain one."""
        if not shape or self.chance(0.5):
            return source
        kind = self.pick(("interleaved", "offset", "offset", "turned", "turned", "expanded"))
        return f"{kind}({source}, {self.below(len(shape))})" if kind == "expanded" else f"{kind}({source})"

    def odd_number(self) -> str:
        """An option that no caller should give, or only a strange one."""
        return self.pick(ODD_OPTIONS)

    def odd_tensor(self, source: str, *, shrink: bool) -> Argument:
        """Something instead of a tensor; `shrink`: also one whose memory is smaller than it seems, or opaque.

        torch's own operators read beyond such memory without a word, so ours alone are given it.
        """
        source = "torch.ones(2, 3)" if source == "None" else source
        changed, meaning = self.pick(ODD_TENSORS)
        while not shrink and ("shrunk" in changed or "mkldnn" in changed):
            changed, meaning = self.pick(ODD_TENSORS)
        given = changed.format(source)
        if meaning == REFUSE:
            return Argument(given, refuse=changed.format("..."))
        return Argument(given, source if meaning == SAME else None)


ODD_OPTIONS: tuple[str, ...] = (
    *(
        "sys.maxsize",
        "-sys.maxsize - 1",
        "2**63",
        "-2**63 - 1",
        "2**31",
        "2**32 + 1",
        "-2**31",
        "-1",
        "0",
        "7",
    ),
    *("0.5", "1e-300", "float('nan')", "float('inf')", "-float('inf')", "1e308", "-0.0"),
    *("None", "'1'", "''", "True", "False", "()", "[]", "(1, 2)", "1j", "object()"),
    *("torch.tensor(3)", "torch.tensor(0.5)", "torch.tensor([1, 2])", "torch.tensor(True)"),
    *("torch.tensor(1, device='meta')", "torch.tensor(float('nan'))"),
)

SAME = "same"  #: if it is taken at all, it means the same as the tensor
TAKEN = "taken"  #: it may be refused or taken as it is: the oracle is given the same
REFUSE = "refuse"  #: there is nothing that it could mean
ODD_TENSORS: tuple[tuple[str, str], ...] = (
    ("nn.Parameter({0}, requires_grad=False)", SAME),
    ("subclass({0})", SAME),
    ("subclass({0})", SAME),
    ("({0}).to_sparse()", SAME),
    ("({0}).detach().to_mkldnn()", SAME),
    ("torch._neg_view(-({0}))", SAME),
    ("({0}).to(torch.complex64)", REFUSE),
    ("({0}).to(torch.int32)", TAKEN),
    ("({0}).to(torch.int64)", TAKEN),
    ("({0}).to(torch.uint8)", TAKEN),
    ("({0}).to(torch.bool)", TAKEN),
    ("({0}).to(torch.float16)", TAKEN),
    ("({0}).to(torch.float64)", TAKEN),
    ("({0}).to(torch.float8_e4m3fn)", TAKEN),
    ("({0}).to('meta')", TAKEN),
    ("torch.quantize_per_tensor(({0}).float(), 0.1, 0, torch.qint8)", REFUSE),
    ("torch.nested.nested_tensor([{0}, {0}])", TAKEN),
    ("torch.nested.nested_tensor([{0}, {0}], layout=torch.jagged)", TAKEN),
    ("shrunk({0}, 0)", REFUSE),
    ("shrunk({0}, 0.5)", REFUSE),
    ("shrunk({0}, 0.9)", REFUSE),
    ("({0})[None]", TAKEN),
    ("({0})[0]", TAKEN),
    ("({0})[:0]", TAKEN),
    ("({0})[..., :-1]", TAKEN),
    ("({0})[..., :0]", TAKEN),
    ("({0}).flatten()", TAKEN),
    ("({0}).transpose(0, -1)", TAKEN),
    ("torch.cat((({0}), ({0})))", TAKEN),
    ("torch.empty(0)", TAKEN),
    ("torch.tensor(1.0)", TAKEN),
    ("None", TAKEN),
    ("3", REFUSE),
    ("0.5", REFUSE),
    ("'text'", REFUSE),
    ("[1.0, 2.0]", TAKEN),
    ("({0}).tolist()", TAKEN),
    ("({0}).float().detach().numpy()", TAKEN),
    ("object()", REFUSE),
)


def listed(arguments: dict[str, Any]) -> str:
    """Keyword arguments that pass every name on: name=name, ..."""
    return ", ".join(f"{name}={name}" for name in arguments)
