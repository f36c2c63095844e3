"""How an operator computes a call, in words: the form in which each operator tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: What stands for the memory of a call without a backward pass.
NOTHING_KEPT = "nothing is kept: no gradient is asked for"


@dataclass(frozen=True, kw_only=True)
class KernelExplanation:
    """Who computes a call and how. What only some kernels have is None with the others."""

    path: Literal["native", "reference"]
    reason: str
    kernel: str  # "lstm, float32"
    isa: str | None  # instruction set; CPU kernels
    threads: int | None  # CPU kernels
    engine: str | None  # how a GPU is launched, and where it keeps the weights; CUDA kernels
    split: str | None  # how threads, or a GPU's blocks, share the batch and the units
    memory: str  # what is kept for the backward pass


def size_of(number: int) -> str:
    """Bytes in words.

    Example:
        >>> size_of(1536), size_of(3 * 2**20)
        ('1.5 KiB', '3.0 MiB')
    """
    return f"{number / 2**20:.1f} MiB" if number >= 2**20 else f"{number / 2**10:.1f} KiB"
