"""Philox4x32 with 7 rounds, a counter-based random generator, in plain torch integers.

Source: Salmon, Moraes, Dror and Shaw, Parallel Random Numbers: As Easy as 1, 2, 3 (2011), section 4.3. A
number depends on the seed and on its own position alone, so a kernel that computes them in any order, on any
number of threads, or again in the backward pass, draws the same ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

ROUNDS = 7
_LOW = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)


def philox(seed: Tensor, counter: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, ...]:
    """Four random words for each counter.

    Args:
        seed: int64 scalar; its low and high 32 bits are the key.
        counter: four int64 tensors that broadcast against each other, with values in [0, 2^32).

    Returns:
        Four int64 tensors of the broadcast shape with values in [0, 2^32).

    Example:
        >>> import torch
        >>> zero = torch.zeros((), dtype=torch.int64)
        >>> [hex(word) for word in philox(zero, (zero,) * 4)]
        ['0x5f6fb709', '0xd893f64', '0x4f121f81', '0x4f730a48']
    """
    c0, c1, c2, c3 = torch.broadcast_tensors(*counter)
    k0, k1 = seed & _LOW, (seed >> 32) & _LOW
    for _ in range(ROUNDS):
        high0, low0 = _product(c0, _MULTIPLIERS[0])
        high1, low1 = _product(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _KEY_STEPS[0]) & _LOW, (k1 + _KEY_STEPS[1]) & _LOW
    return c0, c1, c2, c3


def threshold(p: float) -> int:
    """The words below which an element is dropped, with probability p < 1."""
    return min(int(p * 2**32), _LOW)


def attention_keep(seed: Tensor, p: float, shape: tuple[int, int, int, int], device: torch.device) -> Tensor:
    """Which attention weights dropout with probability `p` keeps: bool [B, H, T, S].

    Weight (b, h, i, j) takes word j % 4 of counter (j // 4, i, b * H + h, 0).
    """
    B, H, T, S = shape
    if p >= 1:
        return torch.zeros(shape, dtype=torch.bool, device=device)

    def numbers(count: int) -> Tensor:
        return torch.arange(count, dtype=torch.int64, device=device)

    rows = (numbers(B * H) & _LOW).view(B, H, 1, 1)
    fours = numbers((S + 3) // 4)
    words = philox(seed.to(device), (fours, numbers(T)[:, None], rows, torch.zeros_like(rows)))
    return torch.stack(words, -1).flatten(-2)[..., :S] >= threshold(p)


def _product(a: Tensor, b: int) -> tuple[Tensor, Tensor]:
    """High and low word of a * b, in steps of 16 bits that int64 holds."""
    low = a * (b & 0xFFFF)
    middle = (low >> 16) + a * (b >> 16)
    return middle >> 16, (middle & 0xFFFF) << 16 | low & 0xFFFF
