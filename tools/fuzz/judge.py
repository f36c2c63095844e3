"""Makes one call and says what became of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tools.fuzz.calls import Call, Names, numbers
from tools.fuzz.verdict import NoOracle, Results, Wrong, check

Status = Literal["right", "unchecked", "refused", "undrawable", "failed"]

#: What a refusal may be; anything else is a fault of ours that a user sees as such.
REFUSALS = (ValueError, TypeError, RuntimeError, AssertionError, IndexError)
NO_REFUSALS = (RecursionError, UnicodeError)
#: Words by which something else than a check of ours or torch's has failed.
BAD_WORDS = (
    "incompatible function arguments",
    "Cannot access data pointer",
    "INTERNAL ASSERT",
    "referenced before assignment",
    "not associated with a value",
)


@dataclass(frozen=True)
class Outcome:
    """What became of a call. `symptom` groups failures alike; `details` belong to this one."""

    status: Status
    symptom: str = ""
    details: str = ""


def judge(call: Call) -> Outcome:
    """Make the call twice, and hold it against what is expected."""
    try:
        first, second = call.given(), call.given()
    except Exception as error:  # noqa: BLE001  torch cannot make such an argument: nothing to be tried
        return Outcome("undrawable", skeleton(error))
    try:
        ours = _made(call, first)
        again = _made(call, second)
    except Wrong as wrong:
        return Outcome("failed", wrong.symptom, wrong.details)
    except Exception as error:  # noqa: BLE001  which errors are faults is decided here
        return _refusal(call, error)
    try:
        _check_repeat(ours, again)
        if hopeless := call.hopeless(first):
            raise Wrong(f"took {hopeless}")
        check(call, ours, lambda: _made(call, call.given()))
    except Wrong as wrong:
        return Outcome("failed", wrong.symptom, wrong.details)
    except NoOracle:
        return Outcome("unchecked")
    except Exception as error:  # noqa: BLE001  of the oracle, which need not take odd arguments
        if call.odd:
            return Outcome("unchecked", skeleton(error))
        return Outcome("failed", f"the oracle raised {skeleton(error)}")
    return Outcome("right")


def _made(call: Call, names: Names) -> Results:
    """Results and gradients of one run, which must leave its arguments alone."""
    before = {name: (value, _bits(value)) for name, value in names.items() if _has_bits(value)}
    with call.environment.entered():
        result = eval(call.expression, dict(names))
    found = numbers(result, names, call.wanted(names), call.results)
    for name, (value, bits) in before.items():
        if not torch.equal(bits, _bits(value)):
            raise Wrong(f"changed its argument {name}")
    return found


def _has_bits(value: Any) -> bool:
    return (
        type(value) is Tensor
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and value.dtype
        in (torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.int32, torch.bool)
        and value.data_ptr() != 0
        and value.untyped_storage().nbytes() >= value.element_size() * (1 + _last_place(value))
    )


def _last_place(value: Tensor) -> int:
    steps = (int(stride * (size - 1)) for stride, size in zip(value.stride(), value.shape, strict=True))
    return int(value.storage_offset()) + sum(steps)


_BITS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.bfloat16: torch.int16}


def _bits(value: Tensor) -> Tensor:
    """The numbers as integers, which know no NaN."""
    copy = value.detach().clone(memory_format=torch.contiguous_format)
    return copy.view(_BITS[copy.dtype]) if copy.dtype in _BITS else copy


def _check_repeat(ours: Results, again: Results) -> None:
    for name, number in ours.items():
        if not _has_bits(number):
            continue
        other = again[name]
        if number.shape != other.shape or not torch.equal(_bits(number), _bits(other)):
            raise Wrong(f"differs from run to run: {name}")


def _refusal(call: Call, error: Exception) -> Outcome:
    words = str(error)
    kind = isinstance(error, REFUSALS) and not isinstance(error, NO_REFUSALS)
    spoken = len(words) > 8 and " " in words
    if not kind or not spoken or any(bad in words for bad in BAD_WORDS):
        return Outcome("failed", f"raised {skeleton(error)}", words[:400])
    if not call.odd:
        return Outcome("failed", f"refused a valid call: {skeleton(error)}", words[:400])
    return Outcome("refused", type(error).__name__)


def skeleton(error: BaseException) -> str:
    """Type and words of an error without what differs from call to call."""
    words = re.sub(r"\d[\d.e+-]*", "N", str(error).split("\n")[0])
    words = re.sub(r"\[[N, ]*\]|\([N, ]*\)", "[N]", words)
    words = re.sub(r"'[\w.]+' object", "an object", words)
    return f"{type(error).__name__}: {words[:90]}"
