"""What an argument must be before a kernel may see it: one predicate for each property.

Kernels read raw memory, so these hold on every route. Storage itself is the matter of `_native_args.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any, NoReturn

import torch
from torch import Tensor

from pyrnn._dispatch import functorch_active, is_readable
from pyrnn._native_args import require_storage

#: Positions of queries and keys, and steps, lie within this: float64 counts them exactly.
FARTHEST = 2**53
_STRIDED = torch.strided
_FEW = 64  # values that Python looks at sooner than torch

# ------------------------------------------------------------------------------------------- numbers


def as_integer(name: str, value: Any) -> int:
    """An integer argument as an int: any type that counts as one (numpy's, a tensor's), but no bool.

    Symbolic integers of a traced call are taken as they are.

    Raises:
        TypeError: the value is no integer.

    Example:
        >>> as_integer("hidden_size", 3)
        3
        >>> as_integer("hidden_size", 3.5)
        Traceback (most recent call last):
        TypeError: hidden_size should be of type int, got: float
    """
    if type(value) is int or isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    is_bool = isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")
    if not is_bool and not getattr(value, "ndim", 0):
        try:
            number: Any = value.item() if isinstance(value, Tensor) else value
            return operator.index(number)
        except (TypeError, RuntimeError) as error:  # RuntimeError: a tensor without values
            raise wrong_type(name, "int", value) from error
    raise wrong_type(name, "int", value)


def as_number(name: str, value: Any) -> float:
    """A real argument as a float: any real number, a scalar tensor's too.

    Raises:
        TypeError: the value is no real number.
        ValueError: no float is as large.
    """
    if isinstance(value, (torch.SymFloat, torch.SymInt)):
        return value  # type: ignore[return-value]
    if not isinstance(value, (str, bytes)) and not getattr(value, "ndim", 0):
        try:
            return float(value.item() if isinstance(value, Tensor) else value)
        except OverflowError as error:
            raise ValueError(f"{name} must fit in a float, got {value}") from error
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor without values
            raise wrong_type(name, "float", value) from error
    raise wrong_type(name, "float", value)


def as_bool(name: str, value: Any) -> bool:
    """A flag: a bool, or numpy's.

    Raises:
        TypeError: the value is anything else.
    """
    if isinstance(value, (bool, torch.SymBool)):
        return value  # type: ignore[return-value]
    if not isinstance(value, Tensor) and str(getattr(value, "dtype", "")) == "bool" and not value.ndim:
        return bool(value)
    raise wrong_type(name, "bool", value)


def check_probability(name: str, p: float) -> None:
    """Require a number in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {p}")


def wrong_type(name: str, expected: str, value: Any) -> TypeError:
    """The error for an argument of another type than the expected one."""
    got = f"{value.dtype} of shape {show(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
    return TypeError(f"{name} should be of type {expected}, got: {got}")


# ------------------------------------------------------------------------------------------- tensors


def check_dense(name: str, tensor: Any) -> None:
    """Require a tensor of numbers at strides.

    Raises:
        TypeError: it is no tensor, or a sparse, nested, quantized or opaque one.
    """
    if not isinstance(tensor, Tensor):
        got = f"{type(tensor).__name__}; torch.as_tensor makes one"
    elif tensor.is_nested:
        got = "a nested one; pad it with torch.nested.to_padded_tensor"
    elif tensor.layout is not torch.strided:
        got = f"one of layout {tensor.layout}; convert it with .to_dense()"
    elif tensor.is_quantized:
        got = "a quantized one; convert it with .dequantize()"
    else:
        return
    raise TypeError(f"{name} must be a dense strided tensor, got {got}")


def check_all_dense(names: tuple[str, ...], tensors: tuple[Any, ...], *, required: int) -> None:
    """`check_dense` of each argument by its name; those behind the first `required` may be None."""
    for n, tensor in enumerate(tensors):
        if tensor is None:
            if n >= required:
                continue
        elif type(tensor) is Tensor and tensor.layout is _STRIDED and not tensor.is_nested:
            continue  # the usual case, without a call
        check_dense(names[n], tensor)


def check_like(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    like: Tensor,
    of: str = "query",
    meaning: str = "",
) -> None:
    """Require `shape`, described by `meaning`, `dtype`, and the device of `like`, the argument `of`."""
    if tensor.shape != shape:
        bad_shape(name, tensor, f"{meaning} = {show(shape)}" if meaning else show(shape))
    if tensor.dtype is not dtype:
        raise ValueError(
            f"{of} and {name} are not the same dtype: expected {dtype} for {name}, got {tensor.dtype}; "
            "convert one with .to(...), or the module with module.to(...)"
        )
    check_device(name, tensor, like, of)


def check_each_like(
    names: Sequence[str],
    tensors: Sequence[Tensor | None],
    shapes: Sequence[tuple[int, ...]],
    like: Tensor,
    of: str,
    meanings: Sequence[str],
) -> None:
    """`check_like` of each tensor that is there, with the dtype of `like` too."""
    dtype, on_cpu = like.dtype, like.is_cpu
    for n, tensor in enumerate(tensors):
        if tensor is None or (
            tensor.shape == shapes[n] and tensor.dtype is dtype and tensor.is_cpu and on_cpu
        ):
            continue  # the usual case, without a call
        check_like(names[n], tensor, shapes[n], dtype, like, of, meanings[n])


def check_device(name: str, tensor: Tensor, like: Tensor, of: str = "query") -> None:
    """Require the device of `like`, the argument `of`."""
    if not (tensor.is_cpu and like.is_cpu) and tensor.device != like.device:
        raise ValueError(
            f"{of} and {name} are not at the same device: found {of} at {like.device} and {name} at "
            f"{tensor.device}; move one with .to(device)"
        )


def check_device_or_cpu(name: str, tensor: Tensor, like: Tensor, *, of: str) -> None:
    """Require the CPU or the device of `like`: for what the host reads."""
    if not tensor.is_cpu and tensor.device != like.device:
        raise ValueError(
            f"{name} must be on the CPU or, as {of} is, on {like.device}, got {name} on {tensor.device}; "
            f"move it with {name}.cpu()"
        )


def check_seed(seed: Tensor | None, p: float, like: Tensor, *, of: str) -> None:
    """Require a seed that `_native_args.number_of` can read, where anything is dropped."""
    if seed is None:
        if p > 0:
            raise ValueError("dropout with p > 0 needs a seed: expected an int64 scalar tensor, got None")
        return
    if seed.dtype is not torch.int64 or seed.dim():
        kind_of_error = ValueError if seed.dtype is torch.int64 else TypeError
        raise kind_of_error(
            f"seed must be an int64 scalar tensor, got {seed.dtype} of shape {show(seed.shape)}; make one "
            "with torch.tensor(number)"
        )
    check_device_or_cpu("seed", seed, like, of=of)


def draw_seed() -> Tensor:
    """A seed from torch's generator, whatever torch's default device is."""
    return torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64, device="cpu")


def lengths_tensor(lengths: Any) -> Tensor:
    """Integers from a tensor, an array or an iterable of lengths, not yet in any range.

    Raises:
        TypeError: they are no integers.
    """
    if isinstance(lengths, Tensor):
        tensor = lengths
        check_dense("lengths", tensor)
    else:
        try:
            if isinstance(lengths, (Set, Mapping, str)):
                raise TypeError("lengths have an order")
            values = lengths if hasattr(lengths, "__array__") else list(lengths)
            dtype = None if len(values) else torch.int64  # an empty list says nothing of its type
            tensor = torch.as_tensor(values, dtype=dtype, device="cpu")
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                f"expected lengths to be integers, a tensor or a list of them, got {_shorten(lengths)}"
            ) from error
    if tensor.is_floating_point() or tensor.is_complex() or tensor.dtype is torch.bool:
        raise TypeError(f"expected lengths to be integers, got {tensor.dtype}")
    return tensor


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_lengths(
    lengths: Tensor, count: int, limit: int, like: Tensor, *, of: str, end: str, name: str = "lengths"
) -> None:
    """Require [B] = `count` integers in [0, `limit`], called `end`, for sequences of the argument `of`.

    The values are looked at where they can be read.
    """
    if lengths.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"{name} must be int32 or int64, got {lengths.dtype}; convert them with {name}.long()"
        )
    if lengths.shape != (count,):
        bad_shape(name, lengths, f"[B] = {show((count,))}")
    check_device_or_cpu(name, lengths, like, of=of)
    if is_readable(lengths) and lengths.numel():
        check_range(lengths, limit, end, name)


def check_range(lengths: Tensor, limit: int, end: str, name: str = "lengths") -> None:
    """Require lengths, at least one of them, in [0, `limit`]; the limit is called `end`."""
    require_storage(lengths)
    if lengths.numel() <= _FEW:
        values = integers_of(lengths)
        shortest, longest = min(values), max(values)
    else:
        shortest, longest = (int(value) for value in torch.aminmax(lengths))
    if shortest < 0 or longest > limit:
        raise ValueError(
            f"{name} must lie in [0, {end}] with {end} = {limit}, got values from {shortest} to {longest}; "
            "clamp them, or pad to the longest sequence"
        )


def integers_of(tensor: Tensor) -> list[int]:
    """The values [N] of a tensor that can be read."""
    # Before 2.9 torch cannot list a tensor while one of its function transforms is active.
    return [int(value) for value in tensor] if functorch_active() else tensor.tolist()


def private_integers(tensor: Tensor | None) -> Tensor | None:
    """What a kernel is given for integers that it uses as places in memory: an int64 copy, on the CPU.

    It is made before the values are checked, and nobody else can write to it. What is not on the CPU, or has
    a type that the checks refuse, comes back as it is.

    Raises:
        ValueError: as `_native_args.require_storage`.
    """
    if tensor is None or not tensor.is_cpu or tensor.dtype not in (torch.int64, torch.int32):
        return tensor
    require_storage(tensor)
    if type(tensor) is Tensor and tensor.dtype is torch.int64:
        return tensor.clone()
    own = torch.empty(tensor.shape, dtype=torch.int64, device="cpu")
    own.copy_(tensor)
    return own


def refuse_derivative(name: str, tensor: Tensor | None) -> None:
    """Raise if autograd would expect a gradient of what has none."""
    if tensor is not None and tensor.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{name} has no derivative, and requires one; pass {name}.detach()")


def bad_shape(name: str, tensor: Tensor, expected: str) -> NoReturn:
    """Raise for a shape that is not the expected one."""
    raise ValueError(f"{name} must have shape {expected}, got {show(tensor.shape)}")


def show(shape: Sequence[int]) -> str:
    """A shape as it stands in messages."""
    return "[" + ", ".join(str(size) for size in shape) + "]"
