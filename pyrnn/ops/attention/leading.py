"""The leading dimensions of attention's tensors, which the operator takes as one: the batch."""

from __future__ import annotations

import math
from typing import NoReturn

import torch
from torch import Tensor


def leading(query: Tensor, key: Tensor, value: Tensor, *, enable_gqa: bool) -> tuple[int, ...]:
    """The leading dimensions of query, key and value together, without heads."""
    for name, tensor in (("query", query), ("key", key), ("value", value)):
        if tensor.dim() < 3:
            bad_rank(name, tensor, "[..., heads, positions, features]")
    H, K = query.shape[-3], key.shape[-3]
    if H != K and not enable_gqa:
        raise ValueError(
            f"query and key must have the same number of heads, got H = {H} and K = {K}; set enable_gqa=True "
            "to let heads of the query share those of the key"
        )
    shapes = [tuple(tensor.shape[:-3]) for tensor in (query, key, value)]
    if shapes[0] == shapes[1] == shapes[2]:
        return shapes[0]
    try:
        return tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError as error:
        raise ValueError(
            "the leading dimensions of query, key and value, before the heads, must broadcast, got "
            f"{', '.join(str(list(shape)) for shape in shapes)}"
        ) from error


def fold(
    name: str, tensor: Tensor, lead: tuple[int, ...], tail: int, *, may_be_shared: bool = False
) -> Tensor:
    """[..., the last `tail` dimensions] with one leading dimension.

    Its size is that of all of `lead` together; 1 if `may_be_shared` and it is the same for all of them.
    """
    count = len(lead)
    have = tuple(tensor.shape[: max(tensor.dim() - tail, 0)])
    if have == lead and tensor.dim() >= tail:
        return tensor if count == 1 else tensor.reshape(math.prod(lead), *tensor.shape[count:])
    missing = count + tail - tensor.dim()
    fits = missing >= 0
    for n in range(1, min(len(have), len(lead)) + 1):
        fits = fits and (have[-n] == 1 or have[-n] == lead[-n])
    if not fits:
        raise ValueError(
            f"the dimensions of {name} before its last {tail} must broadcast to the leading ones of query, "
            f"key and value, {list(lead)}, got shape {list(tensor.shape)}"
        )
    tensor = tensor[(None,) * missing] if missing else tensor
    rest = tuple(tensor.shape[count:])
    if may_be_shared and all(size == 1 for size in have):
        return tensor.reshape(1, *rest)
    return tensor.expand(*lead, *rest).reshape(math.prod(lead), *rest)


def bad_rank(name: str, tensor: Tensor, expected: str) -> NoReturn:
    """Raise for a tensor with another number of dimensions."""
    raise ValueError(f"{name} must have shape {expected}, got {list(tensor.shape)}")
