"""Calls of the CPU kernels of the conditional random field. Every argument has passed `Call.check`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pyrnn import _native
from pyrnn._native_args import (
    DTYPES,
    address,
    all_contiguous,
    check_fields,
    contiguous,
    on_huge_pages,
    with_rows,
)
from pyrnn.ops.crf.call import Call


class NativeProblem(NamedTuple):
    """`crf::Problem` of csrc/crf/problem.h."""

    dtype: int
    T: int
    B: int
    C: int
    lengths: int = 0
    emissions: int = 0
    stride_t: int = 0
    stride_b: int = 0
    transitions: int = 0
    start: int = 0
    end: int = 0
    log_z: int = 0
    alpha: int = 0
    g: int = 0
    d_emissions: int = 0
    d_transitions: int = 0
    d_start: int = 0
    d_end: int = 0
    tags: int = 0
    scores: int = 0


check_fields(_native.cpu, "crf.Problem", NativeProblem._fields)

_GRADIENTS = ("d_emissions", "d_transitions", "d_start", "d_end")


def forward(call: Call, *, train: bool) -> tuple[Tensor, Tensor]:
    """log_z, and what the backward pass reads ([0] unless `train`)."""
    log_z, alpha = results = call.empty_results(train=train)
    if not call.emissions[..., 0].numel():
        log_z.zero_()
        return results
    on_huge_pages(alpha)
    problem, held = _with_inputs(call)
    problem = problem._replace(log_z=address(log_z), alpha=address(alpha) if train else 0)
    _native.cpu.crf_forward(problem, _native.num_threads())
    del held
    return results


def backward(
    call: Call, grad: Tensor, kept: tuple[Tensor, ...], gradients: Sequence[Tensor], needs: Sequence[bool]
) -> None:
    """Fill the gradients of emissions, transitions, start and end that are needed.

    Args:
        call: that of the forward pass.
        grad: of log_z, [B].
        kept: log_z and alpha of the forward pass.
        gradients: what is filled.
        needs: of each, whether it is wanted.
    """
    if call.lengths is not None or not call.emissions[..., 0].numel():
        for gradient in gradients:  # what is behind a length stays zero
            gradient.zero_()
    if not call.emissions[..., 0].numel():
        return
    on_huge_pages(*gradients)
    problem, held = _with_inputs(call)
    tensors = tuple(map(contiguous, (grad, *kept)))
    wanted = zip(_GRADIENTS, gradients, needs, strict=True)
    problem = problem._replace(**{name: address(gradient) for name, gradient, need in wanted if need})
    fields = dict(zip(("g", "log_z", "alpha"), map(address, tensors), strict=True))
    _native.cpu.crf_backward(problem._replace(**fields), _native.num_threads())
    del held


def viterbi(call: Call) -> tuple[Tensor, Tensor]:
    """Tags [T, B], 0 behind lengths, and scores [B]."""
    T, B, _ = call.emissions.shape
    scores, _ = call.empty_results(train=False)
    tags = scores.new_zeros((T, B), dtype=torch.int64)
    if not tags.numel():
        return tags, scores.zero_()
    problem, held = _with_inputs(call)
    problem = problem._replace(tags=address(tags), scores=address(scores))
    _native.cpu.crf_viterbi(problem, _native.num_threads())
    del held
    return tags, scores


def _with_inputs(call: Call) -> tuple[NativeProblem, tuple[Tensor | None, ...]]:
    """The problem without results, and the tensors that must outlive the call."""
    emissions = with_rows(call.emissions)
    transitions, start, end, lengths = all_contiguous(call[1:])
    problem = NativeProblem(
        dtype=DTYPES[emissions.dtype],
        T=emissions.shape[0],
        B=emissions.shape[1],
        C=emissions.shape[2],
        lengths=address(lengths),
        emissions=address(emissions),
        stride_t=emissions.stride(0),
        stride_b=emissions.stride(1),
        transitions=address(transitions),
        start=address(start),
        end=address(end),
    )
    return problem, (emissions, transitions, start, end, lengths)
