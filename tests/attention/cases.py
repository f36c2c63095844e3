"""Calls that together take every compiled kernel of attention through every size."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops.attention import cpu

DTYPES = (torch.float32, torch.bfloat16, torch.float64)

#: One pair of kernels is compiled for each of these.
KERNELS = tuple((isa, dtype) for isa in _native.isas() for dtype in DTYPES)

MASKS = {  # [B, H, T, S] or what is broadcast to it
    "bool": lambda B, H, T, S: torch.rand(B, H, T, S) < 0.7,
    "bool of heads": lambda B, H, T, S: torch.rand(H, T, S) < 0.7,
    "bool of keys": lambda B, H, T, S: torch.rand(B, 1, 1, S) < 0.7,
    "float": lambda B, H, T, S: torch.randn(B, H, T, S),
    "float of pairs": lambda B, H, T, S: torch.randn(T, S),
    "float of keys": lambda B, H, T, S: torch.randn(S),
    "float of queries": lambda B, H, T, S: torch.randn(B, 1, T, 1),
    "float of heads": lambda B, H, T, S: torch.randn(H, 1, 1),
    "float turned": lambda B, H, T, S: torch.randn(B, S, T, H).transpose(1, 3),
    "float in steps": lambda B, H, T, S: torch.randn(H, T, 2 * S)[..., ::2],
    "float with holes": lambda B, H, T, S: torch.randn(B, 1, T, S).masked_fill(
        torch.rand(B, 1, T, S) < 0.3, -torch.inf
    ),
}

# Around the widths of vectors (2 to 16), panels of queries (to 64), blocks of keys (64) and tiles.
VALUES: dict[str, tuple[Any, ...]] = {
    "TS": ((1, 1), (239, 1), (1, 239), (799, 3), (3, 799), (130, 131), (17, 64), (65, 63), (9, 200)),
    "D": (1, 7, 8, 16, 40, 64, 80, 128, 256),
    "V": (None, None, None, 1, 5, 17, 33, 72, 129),
    "B": (1, 2, 3),
    "heads": ((1, 1), (3, 3), (2, 2), (4, 2), (6, 1)),
    "is_causal": (False, True),
    "query_start": ("zero", "end", "zero", 5),
    "window": (None, None, None, (0, 0), (5, -1), (-1, 2), (70, 9)),
    "shortest": (None, None, 0, 1),
    "padding": (False, False, True),
    "mask": (None, None, None, None, None, *MASKS),
    "alibi": (None, None, "heads", "batch"),
    "softcap": (0.0, 0.0, 2.0, 30.0),
    "dropout_p": (0.0, 0.0, 0.1, 0.5),
    "return_weights": (None, None, "mean", "full"),
    "layout": ("[B, H, T, D]", "[T, B, H, D]", "packed"),
    "threads": (1, 2),
}


@dataclass(frozen=True)
class Case:
    """One call of one kernel; the fields are those of `VALUES`."""

    isa: str
    dtype: torch.dtype
    TS: tuple[int, int]
    D: int
    V: int | None
    B: int
    heads: tuple[int, int]
    is_causal: bool
    query_start: str | int
    window: tuple[int, int] | None
    shortest: int | None
    padding: bool
    mask: str | None
    alibi: str | None
    softcap: float
    dropout_p: float
    return_weights: str | None
    layout: str
    threads: int

    def operands(self) -> tuple[Tensor, Tensor, Tensor]:
        """Random query, key and value, rounded to the case's dtype."""
        (T, S), (H, K), V = self.TS, self.heads, self.V or self.D
        return (
            laid_out(self.layout, self.B, H, T, self.D, self.dtype),
            laid_out(self.layout, self.B, K, S, self.D, self.dtype),
            laid_out(self.layout, self.B, K, S, V, self.dtype),
        )

    def options(self) -> dict[str, Any]:
        """The other arguments of the operator."""
        (T, S), (H, K), B = self.TS, self.heads, self.B
        lengths = padding = mask = slopes = None
        if self.shortest is not None:
            lengths = torch.randint(min(self.shortest, S), S + 1, (B,))
            lengths[-1] = S
        if self.padding:
            padding = torch.rand(B, S) < 0.3
        if self.mask is not None:
            mask = MASKS[self.mask](B, H, T, S)
            mask = mask if mask.dtype is torch.bool else mask.to(self.dtype)
        if self.alibi is not None:
            slopes = torch.rand((H,) if self.alibi == "heads" else (B, H)) * 0.1
        start = {"zero": 0, "end": S - T}.get(str(self.query_start), 5)
        return {
            "attn_mask": mask,
            "dropout_p": self.dropout_p,
            "is_causal": self.is_causal,
            "enable_gqa": H != K,
            "key_padding_mask": padding,
            "lengths": lengths,
            "query_start": start,
            "window": self.window,
            "alibi_slopes": slopes,
            "softcap": self.softcap,
            "return_weights": self.return_weights,
            "seed": torch.tensor(-(2**62) + 12345) if self.dropout_p else None,
        }


def cases(isa: str, dtype: torch.dtype) -> Iterator[Case]:
    """As many calls as the longest list of `VALUES` is long: every value occurs, in random company."""
    shuffled = random.Random(f"{isa} {dtype}")  # always the same cases
    rows = max(map(len, VALUES.values()))
    columns = {}
    for name, values in VALUES.items():
        columns[name] = [values[row % len(values)] for row in range(rows)]
        shuffled.shuffle(columns[name])
    for row in range(rows):
        yield Case(isa, dtype, **{name: column[row] for name, column in columns.items()})


def laid_out(layout: str, B: int, heads: int, rows: int, features: int, dtype: torch.dtype) -> Tensor:
    """Random [B, heads, rows, features] in memory as `layout` says."""
    if layout == "[T, B, H, D]":
        return torch.randn(rows, B, heads, features).to(dtype).permute(1, 2, 0, 3)
    if layout == "packed":
        return torch.randn(B, rows, heads, 3 * features).to(dtype).transpose(1, 2)[..., features:-features]
    return torch.randn(B, heads, rows, features).to(dtype)


@contextmanager
def on_threads(count: int) -> Generator[None, None, None]:
    """Run on `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Calls:
    """How often each native kernel ran, and which gradients the last backward pass computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts = (0, 0)
        self.needs: tuple[bool, ...] = ()
        run, backward = cpu._run, cpu.backward

        def counted_run(kernel: Any, *args: Any) -> None:
            forward = kernel == _native.cpu.attention_forward
            self.counts = (self.counts[0] + forward, self.counts[1] + (not forward))
            run(kernel, *args)

        def noted_backward(*args: Any, needs: tuple[bool, ...]) -> Any:
            self.needs = needs
            return backward(*args, needs=needs)

        monkeypatch.setattr(cpu, "_run", counted_run)
        monkeypatch.setattr(cpu, "backward", noted_backward)


def operands(
    B: int = 2, H: int = 2, T: int = 5, S: int = 7, D: int = 4, V: int = 3, *, K: int = 0, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Random query, key and value, float64 unless `options` say otherwise."""
    new = {"dtype": torch.float64, **options}
    shapes = ((B, H, T, D), (B, K or H, S, D), (B, K or H, S, V))
    query, key, value = (torch.randn(shape, **new) for shape in shapes)
    return query, key, value


def same_bits(ours: tuple[Tensor | None, ...], others: tuple[Tensor | None, ...]) -> bool:
    """Whether two results are equal to the last bit, NaN included."""
    return all(
        a is b is None or (a is not None and b is not None and torch.equal(a.nan_to_num(), b.nan_to_num()))
        for a, b in zip(ours, others, strict=True)
    )
