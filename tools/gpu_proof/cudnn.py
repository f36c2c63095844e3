"""Which algorithm torch asks cuDNN for: a persistent one is the harder bar.

The rules are those of `get_algo` in torch's aten/src/ATen/native/cudnn/RNN.cpp, for devices of compute
capability 8.0 and later.
"""

from __future__ import annotations

from pyrnn.bench.recurrent import Case

#: Hidden sizes up to which the algorithm for small ones is taken: (forward, backward).
_SMALL = {"rnn": (384, 256), "gru": (192, 128), "lstm": (192, 128)}

#: Fewer multiprocessors than this, and torch does not ask for the persistent algorithm.
_MIN_SMS = 98


def algorithm(case: Case, *, backward: bool, capability: tuple[int, int], sms: int) -> str:
    """One of "persistent", "persistent for small H" and "standard"."""
    if case.variant == "lengths":  # packed
        return "standard"
    if case.dtype != "float64" and _SMALL[case.cell][backward] >= case.H:
        return "persistent for small H"
    device_may = capability[0] >= 8 and capability[1] != 6 and sms >= _MIN_SMS
    if case.dtype == "float16" and device_may and best_zone(case):
        return "persistent"
    return "standard"


def best_zone(case: Case) -> bool:
    """Where the persistent algorithm may be asked for in float16."""
    shaped = case.H <= 1024 and case.H % 128 == 0 and case.I % 128 == 0
    sized = case.B % 8 == 0 and case.B <= 128
    single = case.layers == 1 and case.directions == 1 and case.variant != "lengths"
    crowded = case.cell == "rnn" and case.B >= 96 and case.H >= 896
    return case.cell != "gru" and shaped and sized and single and not crowded


def algorithms(case: Case, *, capability: tuple[int, int], sms: int) -> str:
    """In words for a table: that of the forward pass, and of the backward pass where it differs."""
    passes = (False, True) if case.mode == "train" else (False,)
    found = [algorithm(case, backward=backward, capability=capability, sms=sms) for backward in passes]
    return " / ".join(dict.fromkeys(found))
