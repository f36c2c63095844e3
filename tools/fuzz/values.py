"""What the source of a call is made of: tensors of given random numbers in any layout, and odd things.

`from tools.fuzz.values import *` is the first line of every reproducer.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

import pyrnn
from pyrnn import losses, ops

__all__ = [
    "coins",
    "expanded",
    "integers",
    "interleaved",
    "in_steps",
    "leaf",
    "losses",
    "nn",
    "normal",
    "offset",
    "ops",
    "pack",
    "injected",
    "pyrnn",
    "seeded",
    "shrunk",
    "subclass",
    "sys",
    "torch",
    "turned",
    "whole",
]

_shift = 0


@contextmanager
def other_numbers(shift: int) -> Generator[None, None, None]:
    """Every seed stands for other random numbers inside: the same call once more, with other luck."""
    global _shift
    before, _shift = _shift, shift
    try:
        yield
    finally:
        _shift = before


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(1009 * seed + _shift)


def seed_torch(seed: int) -> None:
    """As torch.manual_seed, which takes longer than a small call, for it seeds devices that are not there."""
    torch.default_generator.manual_seed(seed)


def normal(seed: int, shape: Any, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
    """Normally distributed numbers times `scale`, rounded to `dtype` once."""
    return (torch.randn(shape, generator=_generator(seed), dtype=torch.float64) * scale).to(dtype)


def whole(seed: int, shape: Any, dtype: torch.dtype, most: int = 2) -> Tensor:
    """Whole numbers in [-most, most]: their products and sums are exact in every dtype."""
    return torch.randint(-most, most + 1, shape, generator=_generator(seed)).to(dtype)


def integers(seed: int, shape: Any, low: int, high: int, dtype: torch.dtype = torch.int64) -> Tensor:
    """Integers in [low, high]."""
    return torch.randint(low, high + 1, shape, generator=_generator(seed)).to(dtype)


def coins(seed: int, shape: Any, share: float) -> Tensor:
    """bool, True with probability `share`."""
    return torch.rand(shape, generator=_generator(seed)) < share


def injected(tensor: Tensor, seed: int, value: float, count: int = 1) -> Tensor:
    """The tensor with `value` in `count` random places."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    if tensor.numel():
        places = torch.randint(tensor.numel(), (count,), generator=_generator(seed))
        tensor.view(-1)[places] = value
    return tensor


# ---- layouts: the same numbers elsewhere in memory -----------------------------------------------


def interleaved(tensor: Tensor) -> Tensor:
    """Every second number of a row belongs to it; NaN lies between them."""
    if tensor.dim() == 0:
        return tensor
    return torch.stack((tensor, _poison(tensor)), -1).flatten(-2)[..., ::2]


def offset(tensor: Tensor) -> Tensor:
    """A part of rows that are longer, at an odd address; NaN lies around it."""
    if tensor.dim() == 0:
        return tensor
    side = _poison(tensor).new_full((*tensor.shape[:-1], 3), _bad(tensor))
    return torch.cat((side, tensor, side), -1)[..., 3:-3]


def turned(tensor: Tensor) -> Tensor:
    """The dimensions lie in memory in the opposite order."""
    order = tuple(reversed(range(tensor.dim())))
    return tensor.permute(order).contiguous().permute(order)


def expanded(tensor: Tensor, dim: int) -> Tensor:
    """The first slice along `dim`, expanded with a stride of 0."""
    return tensor.narrow(dim, 0, 1).expand_as(tensor) if tensor.shape[dim] else tensor


def _bad(tensor: Tensor) -> Any:
    return torch.nan if tensor.is_floating_point() else False if tensor.dtype is torch.bool else 77


def _poison(tensor: Tensor) -> Tensor:
    return torch.full_like(tensor, _bad(tensor))


def leaf(tensor: Tensor) -> Tensor:
    """The tensor as one that wants a gradient, where it lies."""
    return tensor.detach().requires_grad_()


# ---- layers --------------------------------------------------------------------------------------


def seeded(seed: int, make: Any, *args: Any, training: bool = True, **options: Any) -> Any:
    """`make(*args, **options)` with random numbers of its own, in training or evaluation."""
    seed_torch(1009 * seed + _shift)
    return make(*args, **options).train(training)


pack = nn.utils.rnn.pack_padded_sequence


def in_steps(layer: Any, input: Tensor, steps: list[Any]) -> Tensor:
    """`layer` with a cache on consecutive parts of `input` [B, T, E].

    A step is how many tokens come next; or ("reorder", rows), ("truncate", length), ("detach",) of the cache.
    """
    cache, outputs, at = layer.new_cache(), [], 0
    for step in steps:
        if isinstance(step, int):
            outputs.append(layer(input[:, at : at + step], cache=cache))
            at += step
        else:
            name, *arguments = step
            getattr(cache, name)(*(torch.tensor(a) if isinstance(a, list) else a for a in arguments))
    return torch.cat(outputs, 1)


# ---- odd things ----------------------------------------------------------------------------------


def shrunk(tensor: Tensor, share: float) -> Tensor:
    """A tensor whose storage was made smaller behind its back."""
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format).requires_grad_(tensor.requires_grad)
    tensor.untyped_storage().resize_(int(tensor.nbytes * share))
    return tensor


class _Subclass(Tensor):
    """A tensor of another class, which changes nothing."""


def subclass(tensor: Tensor) -> Tensor:
    """The tensor as an instance of a subclass of Tensor."""
    return tensor.as_subclass(_Subclass)
