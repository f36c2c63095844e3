"""Calls of the CPU kernels of the decoder: allocates the results, hands addresses and strides over.

Every argument has passed `Call.problem`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    CELLS,
    DTYPES,
    NOTHING,
    addresses,
    all_contiguous,
    check_fields,
    on_huge_pages,
    sequences,
    with_rows,
)
from pyrnn.ops.attention_decoder.call import Call, Needs, Problem, empty_gradients, empty_results

Sequence = tuple[int, int, int]  # address, strides over time and batch


class NativeProblem(NamedTuple):
    """`decoder::Problem` of csrc/decoder/problem.h."""

    cell: int
    dtype: int
    T: int
    B: int
    S: int
    H: int
    A: int
    V: int
    W: int
    cumulative: int
    trains: int
    scale: float
    source_lengths: int = 0
    lengths: int = 0
    x: Sequence = NOTHING
    keys: Sequence = NOTHING
    values: Sequence = NOTHING
    h_0: int = 0
    c_0: int = 0
    context_0: int = 0
    weight_hh: int = 0
    bias_hh: int = 0
    weight_context: int = 0
    weight_query: int = 0
    score_weight: int = 0
    weight_location: int = 0
    alignment_0: int = 0
    output: int = 0
    context: int = 0
    weights: int = 0
    h_n: int = 0
    c_n: int = 0
    alignment_n: int = 0
    gates: int = 0
    queries: int = 0
    g_output: int = 0
    g_context: int = 0
    g_weights: int = 0
    g_h_n: int = 0
    g_c_n: int = 0
    g_alignment_n: int = 0
    d_x: int = 0
    d_h_0: int = 0
    d_c_0: int = 0
    d_context_0: int = 0
    d_keys: int = 0
    d_values: int = 0
    d_weight_hh: int = 0
    d_bias_hh: int = 0
    d_weight_context: int = 0
    d_weight_query: int = 0
    d_score_weight: int = 0
    d_weight_location: int = 0
    d_alignment_0: int = 0


check_fields(_native.cpu, "decoder.Problem", NativeProblem._fields)

_STATES = ("h_0", "c_0", "context_0")
_RESULTS = ("output", "context", "weights", "h_n", "c_n", "alignment_n")
_GRADIENTS = ("x", *Call._fields[1:13])


def threads_of(call: Call, p: Problem) -> int:
    """Threads that have enough to do in a step."""
    return _native.cpu.decoder_threads(_sizes(call, p), _native.num_threads())


def _sizes(call: Call, p: Problem) -> NativeProblem:
    """A call without its tensors."""
    codes, extents = (CELLS[p.cell].code, DTYPES[p.dtype]), (p.T, p.B, p.S, p.H, p.A, p.V, p.W)
    return NativeProblem(*codes, *extents, int(call.cumulative), 0, call.scale)


def forward(call: Call, p: Problem, *, train: bool) -> tuple[Tensor, ...]:
    """The six results, and gates and queries ([0] unless `train`)."""
    results = empty_results(call, p, train=train)
    on_huge_pages(*results)
    if call.lengths is not None:  # the kernels leave padding alone
        for result in results[:3]:
            result.zero_()
    if p.B == 0:
        return results
    problem, held = _with_inputs(call, p)
    found = dict(zip((*_RESULTS, "gates", "queries"), addresses(results), strict=True))
    _native.cpu.decoder_forward(problem._replace(trains=int(train), **found), _native.num_threads())
    del held
    return results


def backward(
    call: Call,
    p: Problem,
    grads: tuple[Tensor | None, ...],
    kept: tuple[Tensor, ...],
    *,
    needs: Needs,
) -> list[Tensor]:
    """Gradients of the first 13 tensors of the call, from those of the results.

    Args:
        call: the call of the forward pass.
        p: its sizes.
        grads: of the six results, None for zeros.
        kept: output, context, weights, gates and queries of the forward pass.
        needs: which gradients are wanted.
    """
    gradients = empty_gradients(call, needs)
    if p.B == 0:
        for gradient in gradients:
            gradient.zero_()
        return gradients
    if call.lengths is not None:  # padding stays zero
        gradients[0].zero_()
    on_huge_pages(*gradients)
    problem, held = _with_inputs(call, p)
    grads, kept = all_contiguous(grads), all_contiguous(kept)  # type: ignore[assignment]
    named: dict[str, Any] = dict(
        zip(("output", "context", "weights", "gates", "queries"), addresses(kept), strict=True)
    )
    named |= {f"g_{name}": at for name, at in zip(_RESULTS, addresses(grads), strict=True)}
    named |= {f"d_{name}": at for name, at in zip(_GRADIENTS, addresses(gradients), strict=True)}
    _native.cpu.decoder_backward(problem._replace(**named), _native.num_threads())
    del held
    return gradients


def _with_inputs(call: Call, p: Problem) -> tuple[NativeProblem, list[Tensor | None]]:
    """The problem with the addresses of what is given, and the tensors that must live as long as they."""
    moving = [with_rows(t) for t in (call.input, call.keys, call.values)]
    x, keys, values = sequences(moving, packed=False, batch_first=False)
    names = (*_STATES, *Call._fields[6:15])
    given = all_contiguous(getattr(call, name) for name in names)
    named = dict(zip(names, addresses(given), strict=True))
    problem = _sizes(call, p)._replace(x=x, keys=keys, values=values, **named)
    return problem, [*moving, *given]
