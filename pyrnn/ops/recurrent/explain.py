"""Which kernel computes a call of the recurrent operator, how it is split, and what it keeps."""

from __future__ import annotations

import math

from torch import Tensor

from pyrnn import _native
from pyrnn._words import counted
from pyrnn.ops.explanation import NOTHING_KEPT, KernelExplanation, size_of
from pyrnn.ops.recurrent import backend_of, cpu, cuda, route
from pyrnn.ops.recurrent.call import Problem, workspace_shape


def explain(problem: Problem, input: Tensor, *, trains: bool) -> KernelExplanation:
    """How a call of these sizes is computed where `input` is, with a backward pass if it `trains`."""
    path, reason = route(input)
    native = path == "native"
    passes = ("forward", "backward") if trains else ("forward",)
    isa = threads = engine = shares = None
    if native and backend_of(input.device.type) == "cuda":
        index = input.device.index or 0
        plans = [cuda.plan(problem, backward=each == "backward", index=index) for each in passes]
        engine = _each(passes, [_engine(each) for each in plans])
        shares = _each(passes, [_blocks(problem, each) for each in plans])
    elif native:
        splits = [cpu.split(problem, backward=each == "backward") for each in passes]
        isa, threads = _native.isa(), splits[0].groups * splits[0].group_size
        shares = _each(passes, [_shares(problem, each) for each in splits])
    dtype = str(problem.dtype).removeprefix("torch.")
    kernel = problem.cell if native else f"pyrnn.reference.recurrent, {problem.cell}"
    directions = "both directions" if problem.D == 2 else "one direction"
    return KernelExplanation(
        path=path,
        reason=reason,
        kernel=f"{kernel}, {dtype}, {directions}",
        isa=isa,
        threads=threads,
        engine=engine,
        split=shares,
        memory=_memory(problem, native=native, trains=trains),
    )


def _each(passes: tuple[str, ...], told: list[str]) -> str:
    """What is told of both passes, once if it is the same."""
    if len(set(told)) == 1:
        return told[0]
    return "; ".join(f"{name} {words}" for name, words in zip(passes, told, strict=True))


def _shares(problem: Problem, split: _native.Split) -> str:
    parts = f"{counted(problem.D, 'direction')} x {counted(split.slices, 'part')} of the batch"
    return f"{parts}, {split.groups} at a time, {counted(split.group_size, 'thread')} on each: {split.why}"


def _engine(plan: _native.CudaPlan) -> str:
    launches = "one launch a step" if plan.engine == "step" else "one launch for all steps"
    weights = "stay in shared memory" if plan.resident else "are read again in each step"
    return f"{plan.engine}: {launches}, the weights {weights}"


def _blocks(problem: Problem, plan: _native.CudaPlan) -> str:
    parts = f"{counted(problem.D, 'direction')} x {counted(plan.slices, 'part')} of the batch"
    blocks = f"{counted(plan.blocks, 'block')} of {plan.threads} threads and {size_of(plan.shared_bytes)}"
    return f"{parts}, {blocks} of shared memory: {plan.why}"


def _memory(problem: Problem, *, native: bool, trains: bool) -> str:
    if not trains:
        return NOTHING_KEPT
    if not native:
        return "torch's autograd keeps every step's intermediate results; checkpoint_every has no effect"
    shape, dtype = workspace_shape(problem)
    gates = math.prod(shape) * dtype.itemsize
    if problem.checkpoint_every:
        beside = f"{size_of(gates)} beside the output" if gates else "nothing beside the output"
        return f"{beside}, checkpoint_every = {problem.checkpoint_every}: the gates are computed again"
    history = math.prod(problem.output_shape) * problem.dtype.itemsize
    what = "every gate and a copy of it" if gates else "a copy of it"
    return f"{size_of(gates + history)} beside the output: {what}"
