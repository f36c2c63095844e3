"""What an argument must be before a kernel may see it: one predicate for each property.

Kernels read raw memory, so these hold on every route. Memory itself is `_memory.py`'s.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor

from pyrnn.ops._library import is_readable, library
from pyrnn.ops._memory import with_memory
from pyrnn.reference.dropout import ACTIVATIONS

#: Places of queries and keys lie within this, and steps: float64 counts them exactly.
FARTHEST = 2**53
# A window of this size reaches every key from every place, and their sum is still an int64.
_NO_LIMIT = 2**62
_STRIDED = torch.strided
_FEW = 64  # values that Python looks at sooner than torch
#: What the dispatcher calls tensors that are not dense.
_OTHER_LAYOUTS = (
    *("SparseCPU", "SparseCUDA", "SparseMeta", "SparseCsrCPU", "SparseCsrCUDA", "SparseCsrMeta"),
    *("NestedTensorCPU", "NestedTensorCUDA", "NestedTensorMeta"),
    *("QuantizedCPU", "QuantizedCUDA", "MkldnnCPU"),
)

# ------------------------------------------------------------------------------------------- numbers


def as_integer(name: str, value: Any) -> int:
    """An integer argument as an int: any type that counts as one (numpy's, a tensor's), but no bool.

    Symbolic integers of a traced call are taken as they are.

    Raises:
        TypeError: the value is no integer.
    """
    if type(value) is int or isinstance(value, torch.SymInt):
        return value  # type: ignore[return-value]
    is_bool = isinstance(value, bool) or getattr(value, "dtype", None) is torch.bool
    if not is_bool and not getattr(value, "ndim", 0):
        try:
            number: Any = value.item() if isinstance(value, Tensor) else value
            return operator.index(number)
        except (TypeError, RuntimeError) as error:  # RuntimeError: a tensor without values
            raise _wrong_type(name, "int", value) from error
    raise _wrong_type(name, "int", value)


def as_number(name: str, value: Any) -> float:
    """A real argument as a float: any real number, a scalar tensor's too.

    Raises:
        TypeError: the value is no real number.
        ValueError: no float is as large.
    """
    if isinstance(value, torch.SymFloat | torch.SymInt):
        return value  # type: ignore[return-value]
    if not isinstance(value, str | bytes) and not getattr(value, "ndim", 0):
        try:
            return float(value.item() if isinstance(value, Tensor) else value)
        except OverflowError as error:
            raise ValueError(f"{name} must fit in a float, got {value}") from error
        except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a tensor without values
            raise _wrong_type(name, "float", value) from error
    raise _wrong_type(name, "float", value)


def as_bool(name: str, value: Any) -> bool:
    """A flag: a bool, or numpy's.

    Raises:
        TypeError: the value is anything else.
    """
    if isinstance(value, bool | torch.SymBool):
        return value  # type: ignore[return-value]
    if not isinstance(value, Tensor) and str(getattr(value, "dtype", "")) == "bool" and not value.ndim:
        return bool(value)
    raise _wrong_type(name, "bool", value)


def as_window(window: Any) -> tuple[int, int]:
    """(left, right), how far a query sees either way, in the range of `clamp_window`.

    Raises:
        TypeError: the window is no pair of integers.
        ValueError: it has another number of entries.
    """
    try:
        left, right = window
    except TypeError as error:
        raise _wrong_type("window", "(left, right), two numbers of keys", window) from error
    except ValueError as error:
        raise ValueError(
            f"window must be (left, right), how far a query sees either way, got {window}"
        ) from error
    if not (type(left) is type(right) is int):
        left, right = as_integer("window[0]", left), as_integer("window[1]", right)
    return clamp_window(left), clamp_window(right)


def clamp_window(keys: int) -> int:
    """How far a window reaches one way, in a range that no sum with a place leaves; -1 for no limit."""
    if type(keys) is not int or -1 <= keys <= _NO_LIMIT:
        return keys
    return -1 if keys < 0 else _NO_LIMIT


def as_place(name: str, value: Any) -> int:
    """Where a query stands among the keys.

    Raises:
        TypeError: the value is no integer.
        ValueError: it is farther than `FARTHEST`.
    """
    if type(value) is not int:
        value = as_integer(name, value)
    if type(value) is int and not -FARTHEST <= value <= FARTHEST:
        raise ValueError(f"{name} must lie in [-2**53, 2**53], got {value}")
    return value


def as_checkpoint(value: Any) -> int:
    """The option `checkpoint_every`, in the range of an int64.

    Raises:
        TypeError: it is no integer.
        ValueError: it is negative.
    """
    if type(value) is int and 0 <= value <= FARTHEST:
        return value
    value = as_integer("checkpoint_every", value)
    if value < 0:
        raise ValueError(
            f"checkpoint_every must be 0 (keep every gate) or a positive number of steps, got {value}"
        )
    return min(value, FARTHEST)  # no sequence has as many steps


def as_activation(activation: Any) -> str:
    """The operators' name of an activation: "none" for None.

    Raises:
        TypeError: it is no name.
        ValueError: it is unknown.
    """
    if activation is None:
        return "none"
    if not isinstance(activation, str):
        raise _wrong_type("activation", "str", activation)
    if activation not in ACTIVATIONS or activation == "none":
        known = ", ".join(repr(known) for known in ACTIVATIONS if known != "none")
        raise ValueError(f"activation must be None or one of {known}, got {activation!r}")
    return activation


def check_probability(name: str, p: float) -> None:
    """Require a number in [0, 1]."""
    if not 0 <= p <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {p}")


def _wrong_type(name: str, expected: str, value: Any) -> TypeError:
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


def refuse_other_layouts(*operators: Any) -> None:
    """Make operators of the library refuse tensors that are not dense, whichever way they come."""
    for op in operators:
        names = [argument.name for argument in op._schema.arguments]

        def kernel(*args: Any, names: list[str] = names) -> None:
            for name, value in zip(names, args, strict=False):
                if isinstance(value, Tensor):
                    check_dense(name, value)

        for key in _OTHER_LAYOUTS:
            library.impl(op, kernel, key)


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
    """Require a seed that `_memory.number_of` can read, where anything is dropped."""
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
    """Integers from a tensor or a list of lengths, not yet in any range.

    Raises:
        TypeError: they are no integers.
    """
    if isinstance(lengths, Tensor):
        tensor = lengths
        check_dense("lengths", tensor)
    else:
        try:  # an empty list says nothing of its type
            dtype = None if len(lengths) else torch.int64
            tensor = torch.as_tensor(lengths, dtype=dtype, device="cpu")
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


def check_lengths(lengths: Tensor, count: int, limit: int, like: Tensor, *, of: str, end: str) -> None:
    """Require [B] = `count` integers in [0, `limit`], called `end`, for sequences of the argument `of`.

    The values are looked at where they can be read.
    """
    if lengths.dtype not in (torch.int64, torch.int32):
        raise TypeError(
            f"lengths must be int32 or int64, got {lengths.dtype}; convert them with lengths.long()"
        )
    if lengths.shape != (count,):
        bad_shape("lengths", lengths, f"[B] = {show((count,))}")
    check_device_or_cpu("lengths", lengths, like, of=of)
    if is_readable(lengths) and lengths.numel():
        check_range(lengths, limit, end)


def check_range(lengths: Tensor, limit: int, end: str) -> None:
    """Require lengths, at least one of them, in [0, `limit`]; the limit is called `end`."""
    with_memory(lengths)
    if lengths.numel() <= _FEW:
        values = lengths.tolist()
        shortest, longest = min(values), max(values)
    else:
        shortest, longest = (int(value) for value in torch.aminmax(lengths))
    if shortest < 0 or longest > limit:
        raise ValueError(
            f"lengths must lie in [0, {end}] with {end} = {limit}, got values from {shortest} to {longest}; "
            "clamp them, or pad to the longest sequence"
        )


def private_integers(tensor: Tensor | None) -> Tensor | None:
    """What a kernel is given for integers that it uses as places in memory: an int64 copy, on the CPU.

    It is made before the values are checked, and nobody else can write to it. What is not on the CPU, or has
    a type that the checks refuse, comes back as it is.

    Raises:
        ValueError: as `_memory.with_memory`.
    """
    if tensor is None or not tensor.is_cpu or tensor.dtype not in (torch.int64, torch.int32):
        return tensor
    with_memory(tensor)
    if type(tensor) is Tensor and tensor.dtype is torch.int64:
        return tensor.clone()
    own = torch.empty(tensor.shape, dtype=torch.int64, device="cpu")
    own.copy_(tensor)
    return own


def check_memory(tensors: Sequence[Tensor | None]) -> None:
    """`_memory.with_memory` of every tensor whose memory is at hand: for the reference, that is for torch.

    Raises:
        ValueError: as there.
    """
    for tensor in tensors:
        if tensor is not None and is_readable(tensor):
            with_memory(tensor)


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
