"""Attention against torch's scaled_dot_product_attention: shapes of models, masks, dropout, decoding.

Operations are counted as 4*D for each pair of a query and a key that it sees, in every head, for the forward
pass, and 3.5 times that with the backward pass. The variant "weights" compares pyrnn with itself: what it
costs to return the mean weights.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from typing_extensions import Self

from pyrnn import ops
from pyrnn.bench import record, report
from pyrnn.bench.comparison import Benchmark
from pyrnn.bench.step import Step

MASKS = {"full": "full", "causal": "causal"}
DROPOUT = 0.1
KEY_HEADS = 2  # of the variant "grouped"
BACKWARD = 2.5  # the products of the backward pass: five, for the two of the forward pass
INCLUDES = {
    "infer": "forward without gradients; not: making the data",
    "train": "forward, backward with gradients of query, key and value; not: making the data, dropping old "
    "gradients",
}

#: (B, H, T, S, D)
SHAPES = (
    (1, 8, 512, 512, 64),
    (4, 8, 128, 128, 64),
    (1, 8, 2048, 2048, 64),
    (32, 8, 32, 32, 64),
    (8, 16, 256, 256, 128),
)
VARIANT_SHAPES = {
    "plain": SHAPES,
    "dropout": SHAPES,
    "lengths": tuple(shape for shape in SHAPES if shape[0] > 1),
    "grouped": SHAPES[:3],
    "decode": tuple((B, 8, 1, S, 64) for S in (512, 4096) for B in (1, 8)),
    "weights": SHAPES,
}
QUICK_SHAPES = {(1, 8, 512, 512, 64), (32, 8, 32, 32, 64), (8, 8, 1, 512, 64)}


@dataclass(frozen=True)
class Case:
    """One line of the benchmark."""

    mask: str
    dtype: str
    mode: str
    variant: str
    B: int
    H: int
    T: int
    S: int
    D: int

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return KEY_HEADS if self.variant == "grouped" else self.H

    @property
    def dropout(self) -> float:
        """The probability with which a weight is dropped."""
        return DROPOUT if self.variant == "dropout" else 0.0

    def deterministic(self) -> Self:
        """Without dropout: the two sides draw different numbers."""
        return replace(self, variant="plain") if self.dropout else self

    def lengths(self) -> Tensor | None:
        """Uniform in [1, S], unsorted, and the same in every run."""
        if self.variant != "lengths":
            return None
        return torch.randint(1, self.S + 1, (self.B,), generator=torch.Generator().manual_seed(0))

    def pairs(self) -> int:
        """Queries and keys that see each other, in one head of the whole batch."""
        lengths = self.lengths()
        if lengths is not None:
            return self.T * int(lengths.sum())
        visible = sum(min(i + 1, self.S) for i in range(self.T)) if self.mask == "causal" else self.T * self.S
        return self.B * visible

    def operations(self) -> int:
        """Floating-point operations of the matrix products, a multiply-add being two."""
        forward = 4 * self.H * self.D * self.pairs()
        return forward if self.mode == "infer" else int((1 + BACKWARD) * forward)

    def facts(self) -> record.Row:
        """What a row says of the case beside its fields."""
        weights = "; torch_s: pyrnn without weights" if self.variant == "weights" else ""
        return {"key_heads": self.key_heads, "includes": INCLUDES[self.mode] + weights}

    def meaningful(self) -> bool:
        """Only training drops, decoding infers with one query, torch's padding mask excludes is_causal."""
        if self.variant in ("lengths", "decode") and self.mask == "causal":
            return False
        return self.mode == {"dropout": "train", "decode": "infer"}.get(self.variant, self.mode)

    def __str__(self) -> str:
        """For progress and errors."""
        sizes = f"{self.B}x{self.H}x{self.T}x{self.S}x{self.D}"
        return f"attention {self.mask} {self.dtype} {self.mode} {self.variant} {sizes}"


def sides(case: Case) -> tuple[Step, Step]:
    """Ours and torch's on equal inputs; for the variant "weights" ours with and without them."""
    common: dict[str, Any] = {
        "dropout_p": case.dropout,
        "is_causal": case.mask == "causal",
        "enable_gqa": case.key_heads != case.H,
    }
    ours = functools.partial(ops.scaled_dot_product_attention, **common, lengths=case.lengths())
    if case.variant == "weights":
        return _step(case, functools.partial(ours, return_weights="mean")), _step(case, ours)
    return _step(case, ours), _step(
        case, functools.partial(F.scaled_dot_product_attention, **common, attn_mask=_padding(case))
    )


def _padding(case: Case) -> Tensor | None:
    """The lengths as torch wants them: a bool mask [B, 1, 1, S], True where there is a key."""
    lengths = case.lengths()
    return None if lengths is None else (torch.arange(case.S) < lengths[:, None])[:, None, None]


def _step(case: Case, attention: Callable[..., Tensor | tuple[Tensor, Tensor]]) -> Step:
    """A step on query [B, H, T, D], key and value [B, K, S, D], the same for everybody."""
    generator = torch.Generator().manual_seed(1)
    trains = case.mode == "train"

    def random(heads: int, length: int) -> Tensor:
        numbers = torch.randn(case.B, heads, length, case.D, generator=generator)
        return numbers.to(getattr(torch, case.dtype))

    def output(*inputs: Tensor) -> Sequence[Tensor]:
        found = attention(*inputs)
        return [found if isinstance(found, Tensor) else found[0]]

    sizes = ((case.H, case.T), (case.key_heads, case.S), (case.key_heads, case.S))
    inputs = tuple(random(*size).requires_grad_(trains) for size in sizes)
    return Step(output, [inputs], gradient=random(case.H, case.T) if trains else None)


def large_cases(rows: Sequence[record.Row]) -> str:
    """The share of the peak where the products are large."""
    shares = []
    large = [row for row in rows if row["variant"] == "plain" and row["T"] * row["D"] >= 256 * 128]
    for (dtype, mode), group in report.grouped(large, lambda row: (row["dtype"], row["mode"])):
        reached = [row["share_of_peak"] for row in group]
        shares.append(f"{dtype} {report.MODE_NAMES[mode]} {min(reached):.0%} to {max(reached):.0%}")
    if not shares:
        return ""
    return f"Where T*D >= 32,768 pyrnn reaches of the multiply-add peak: {', '.join(shares)}."


LAYOUT = report.Layout(
    "attention",
    across="mask",
    names=MASKS,
    shape=("B", "H", "T", "S", "D"),
    torch="torch's scaled_dot_product_attention",
    variants={
        "dropout": f"dropout {DROPOUT}",
        "grouped": f"{KEY_HEADS} key heads",
        "weights": "without/with weights",
    },
    note="Rows without/with weights: time of pyrnn without / with the mean weights returned.",
    remark=large_cases,
)
BENCHMARK = Benchmark(
    LAYOUT,
    about=__doc__,
    make_case=Case,
    sides=sides,
    shapes=VARIANT_SHAPES,
    quick=QUICK_SHAPES,
    page=record.ROOT / "docs" / "attention.md",
    meaningful=Case.meaningful,
)
main = BENCHMARK.main

if __name__ == "__main__":
    main()
