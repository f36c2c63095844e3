"""Which kernel computes a call of attention, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn.ops.attention import attention_route, backend_of, cuda
from pyrnn.ops.attention.call import Call
from pyrnn.ops.explanation import NOTHING_KEPT, KernelExplanation, size_of


def explain(
    input: Tensor,
    dtype: torch.dtype,
    sizes: tuple[int, ...],
    words: Iterable[str],
    call: Callable[[], Call],
    *,
    trains: bool,
) -> KernelExplanation:
    """How a call on heads of this input is computed.

    Args:
        input: for its device and dtype.
        dtype: of the call, which autocast may have changed.
        sizes: B, H, T, S, D.
        words: what else is to be told of the kernel.
        call: makes the call, its numbers left out, where a GPU's plan is to be told.
        trains: whether there is a backward pass.
    """
    B, H, T, S, D = sizes
    head = torch.empty(
        (0, 1, 1, D), dtype=input.dtype, device=input.device
    )  # the call's own are not made yet
    path, reason = attention_route(head)
    native = path == "native"
    on_cpu = native and backend_of(input.device.type) == "cpu"
    plan = cuda.plan(call()) if native and not on_cpu and all(sizes) else None
    kernel = "attention" if native else "pyrnn.reference.scaled_dot_product_attention"
    return KernelExplanation(
        path=path,
        reason=reason,
        kernel=", ".join([kernel, str(dtype).removeprefix("torch."), *words]),
        isa=_native.isa() if on_cpu else None,
        threads=_native.num_threads() if on_cpu else None,
        engine=None if plan is None else _engine(plan, trains=trains),
        split=None if plan is None else plan.why,
        memory=_memory(dtype, (B, H, T, S), native=native, trains=trains),
    )


def _engine(plan: cuda.Plan, *, trains: bool) -> str:
    forward = (
        f"{plan.blocks} blocks of {plan.threads} threads with {plan.rows} rows of queries each; keys, values "
        f"stream through {plan.shared_bytes / 1024:.0f} KiB of shared memory, {plan.keys} at a time"
    )
    return f"{forward}; d_q and d_k, d_v are made apart, from scores computed again" if trains else forward


def _memory(dtype: torch.dtype, sizes: tuple[int, int, int, int], *, native: bool, trains: bool) -> str:
    if not trains:
        return NOTHING_KEPT
    B, H, T, S = sizes
    if not native:
        return (
            f"torch's autograd keeps several times the weights of {size_of(B * H * T * S * dtype.itemsize)}"
        )
    sums = B * H * T * (8 if dtype is torch.float64 else 4)
    return f"{size_of(sums)} beside queries, keys, values and output: the weights are computed again"
