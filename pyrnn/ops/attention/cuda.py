"""Calls of the CUDA kernels of attention: allocates the results, hands addresses and strides over.

Everything is put on torch's current stream, nothing is read back, so a call can stand in a CUDA graph if its
lengths, too, are on the GPU.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._dispatch import autocast_disabled, current_stream, on_device
from pyrnn._native_args import address, check_fields, contiguous, number_of, require_storage
from pyrnn.ops.attention.call import Call, empty_gradients
from pyrnn.ops.attention.cpu import NativeTensors
from pyrnn.ops.attention.layout import Layout, NativeSizes, layout_of

#: Runs every forward pass on the kernel of this name, "ampere" or "hopper", or refuses it; for tests.
forced_kernel = ""
_GENERATIONS = {"": 0, "ampere": 1, "hopper": 2}

_ROW_BYTES = 16  # rows start at multiples of it, and are copied in pieces of it

#: Features of a head that the kernels take at most.
MOST_FEATURES = {torch.float64: 128, torch.float32: 256, torch.bfloat16: 256, torch.float16: 256}


class Plan(NamedTuple):
    """How a forward pass runs on a GPU, in the order of `AttentionForward.plan`."""

    kernel: str  # "hopper", of compute capability 9.0 alone, or "ampere", of all since 8.0
    rows: int  # queries of one head, or of the heads that share keys, in a block
    keys: int  # at a time
    blocks: int
    threads: int  # in a block
    splits: int  # blocks that share the keys of the same queries
    shared_bytes: int  # in a block
    scratch_bytes: int
    why: str


def unfit_reason(query: Tensor, value: Tensor | None) -> str:
    """Why the kernels do not take such heads, in words; empty if they do."""
    most = MOST_FEATURES.get(query.dtype, 0)
    features = max(query.shape[-1], 0 if value is None else value.shape[-1])
    if features <= most:
        return ""
    return f"the CUDA kernels take heads of at most {most} features in {query.dtype}, got {features}"


def module() -> Any:
    """The native module in use."""
    return _native.emulated_cuda or _native.cuda


def plan(call: Call) -> Plan:
    """How the forward pass of a call runs."""
    layout, operands = layout_of(call), _Operands(call)
    device = call.query.device
    with on_device(device):
        return Plan(*_forward_pass(layout, operands.tensors(layout), device).plan)


def forward(call: Call, *, with_statistics: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Check and run one call; returns output, weights and the statistics of the softmax, [0] if not asked.

    Weights always need the statistics.
    """
    layout, device = layout_of(call), call.query.device
    asks_weights = layout.problem.return_weights != "none"
    dtype = layout.problem.dtype
    output = torch.empty_strided(layout.output_shape, layout.output, dtype=dtype, device=device)
    weights = torch.empty(layout.weights_shape, dtype=dtype, device=device)
    shape = layout.statistics_shape if with_statistics or asks_weights else (0,)
    statistics = torch.empty(shape, dtype=layout.statistics_dtype, device=device)
    if layout.is_empty:
        return output.zero_(), weights.zero_(), statistics.zero_()
    with on_device(device), autocast_disabled(device.type):
        operands = _Operands(call)
        tensors = operands.tensors(layout)._replace(
            out=(address(output), *layout.output[:3]),
            statistics=address(statistics),
            weights=(address(weights), *layout.weights) if asks_weights else _NO_SCORES,
        )
        _run(_forward_pass(layout, tensors, device), device)
    del operands  # held until the kernels have been given to the stream
    return output, weights, statistics


def backward(
    call: Call,
    g_out: Tensor | None,
    g_weights: Tensor | None,
    out: Tensor,
    statistics: Tensor,
    *,
    needs: tuple[bool, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run one call backwards; returns the gradients of query, key, value and mask, [0] where not needed."""
    layout, device = layout_of(call), call.query.device
    d_q, d_k, d_v, d_mask = empty_gradients(call, needs)
    if layout.is_empty:
        return d_q.zero_(), d_k.zero_(), d_v.zero_(), d_mask.zero_()
    with on_device(device), autocast_disabled(device.type):
        operands = _Operands(call)
        grad, result = _in_rows(g_out), _in_rows(out)
        statistics = contiguous(statistics)
        tensors = operands.tensors(layout)._replace(
            out=_heads(result),
            statistics=address(statistics),
            g_out=_heads(grad),
            g_weights=_scores(layout, g_weights),
            d_q=_heads(d_q),
            d_k=_heads(d_k),
            d_v=_heads(d_v),
            d_mask=address(d_mask),
        )
        mask = tuple(d_mask.shape) if d_mask.numel() else (0,) * 4
        _run(module().AttentionBackward(layout.sizes, tensors, device.index or 0, mask), device)
    del operands
    return d_q, d_k, d_v, d_mask


class _Operands:
    """The tensors of a call as the kernels read them, held until they are given to the stream."""

    def __init__(self, call: Call) -> None:
        self.query, self.key, self.value = (_in_rows(tensor) for tensor in call[:3])
        self.mask = None if call.attn_mask is None else require_storage(call.attn_mask)
        self.padding = None if call.key_padding_mask is None else contiguous(call.key_padding_mask)
        self.slopes = None if call.alibi_slopes is None else require_storage(call.alibi_slopes)
        lengths = call.lengths
        if lengths is not None and (lengths.device != call.query.device or lengths.dtype is not torch.int64):
            lengths = lengths.to(call.query.device, torch.int64, non_blocking=lengths.is_cpu)
        self.lengths = None if lengths is None else contiguous(lengths)
        self.seed = number_of(call.seed) if call.seed is not None and call.dropout_p > 0 else 0

    def tensors(self, layout: Layout) -> NativeTensors:
        """With nothing that one pass alone has."""
        _check_all_fields(module())
        return NativeTensors(
            seed=self.seed,
            q=_heads(self.query),
            k=_heads(self.key),
            v=_heads(self.value),
            mask=_NO_SCORES if self.mask is None else (address(self.mask), *layout.mask),
            lengths=address(self.lengths),
            padding=address(self.padding),
            slopes=address(self.slopes),
        )


_NO_HEADS, _NO_SCORES = (0,) * 4, (0,) * 5


@functools.cache
def _check_all_fields(native: Any) -> None:
    for struct, fields in (
        ("Sizes", NativeSizes._fields),
        ("Tensors", NativeTensors._fields),
    ):
        check_fields(native, f"attention.{struct}", fields)


def _forward_pass(layout: Layout, tensors: NativeTensors, device: torch.device) -> Any:
    generation = _GENERATIONS[forced_kernel]
    return module().AttentionForward(layout.sizes, tensors, device.index or 0, generation)


def _run(planned: Any, device: torch.device) -> None:
    """Give a pass of the module to the current stream."""
    scratch = torch.empty(planned.scratch_bytes, dtype=torch.uint8, device=device)
    planned.run(current_stream(device), address(scratch))


def _in_rows(tensor: Tensor | None) -> Tensor | None:
    """The same numbers in rows that start at multiples of 16 bytes, with zeros up to the next multiple."""
    if tensor is None:
        return None
    require_storage(tensor)
    piece = _ROW_BYTES // tensor.itemsize
    features = tensor.shape[-1]
    places = zip(tensor.shape[:3], tensor.stride(), strict=False)
    aligned = tensor.data_ptr() % _ROW_BYTES == 0 and features % piece == 0 and tensor.stride(3) == 1
    if aligned and all(size == 1 or stride % piece == 0 for size, stride in places):
        return tensor
    rows = tensor.new_zeros(*tensor.shape[:3], -(-features // piece) * piece)[..., :features]
    return rows.copy_(tensor)


def _heads(tensor: Tensor | None) -> tuple[int, ...]:
    return _NO_HEADS if tensor is None or not tensor.numel() else (address(tensor), *tensor.stride()[:3])


def _scores(layout: Layout, g_weights: Tensor | None) -> tuple[int, ...]:
    if g_weights is None or not g_weights.numel():
        return _NO_SCORES
    require_storage(g_weights)
    over_heads = g_weights.unsqueeze(1) if layout.problem.return_weights == "mean" else g_weights
    return (address(g_weights), *over_heads.expand(layout.problem.scores_shape).stride())
