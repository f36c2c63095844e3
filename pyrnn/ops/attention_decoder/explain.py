"""Which kernel computes a call of the decoder, how it is split, and what it keeps."""

from __future__ import annotations

import math

from pyrnn import _native
from pyrnn._native_args import accumulation_dtype
from pyrnn.ops.attention_decoder import attention_decoder_route
from pyrnn.ops.attention_decoder.call import Call, Problem, workspace_shapes
from pyrnn.ops.attention_decoder.cpu import threads_of
from pyrnn.ops.explanation import NOTHING_KEPT, KernelExplanation, size_of


def explain(call: Call, *, trains: bool) -> KernelExplanation:
    """How this call is computed, with a backward pass if it `trains`."""
    path, reason = attention_decoder_route(call.input)
    native, p = path == "native", call.problem()
    score = "dot product" if call.score_weight is None else "additive score"
    words = [p.cell, str(p.dtype).removeprefix("torch."), score]
    if p.W:
        words.append(f"location filter of width {p.W}")
    kernel = "attention decoder" if native else "pyrnn.reference.attention_decoder"
    return KernelExplanation(
        path=path,
        reason=reason,
        kernel=", ".join([kernel, *words]),
        isa=_native.isa() if native else None,
        threads=threads_of(call, p) if native else None,
        engine=None,
        split="units and features in the products, then rows of the batch" if native else None,
        memory=_memory(call, p, native=native, trains=trains),
    )


def _memory(call: Call, p: Problem, *, native: bool, trains: bool) -> str:
    if not trains:
        return NOTHING_KEPT
    if not native:
        return "torch's autograd keeps every step's intermediate results"
    shapes = workspace_shapes(p, has_query=call.weight_query is not None)
    kept = sum(math.prod(shape) for shape in shapes) * accumulation_dtype(p.dtype).itemsize
    return f"{size_of(kept)} beside the results: every gate and query; the scores are computed again"
