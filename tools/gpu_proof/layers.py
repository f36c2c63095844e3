"""The bench stage: pyrnn.nn against torch.nn on cuDNN, case after case until the time is spent."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import torch

from pyrnn import _native
from pyrnn._files import read_json
from pyrnn.bench import record
from pyrnn.bench.harness import paired_timing
from pyrnn.bench.recurrent import runners
from pyrnn.ops.recurrent.call import Problem
from pyrnn.ops.recurrent.cuda import recurrence
from tools.gpu_proof import flashrnn
from tools.gpu_proof.accuracy import exact_results, share_of_allowed
from tools.gpu_proof.cases import GpuCase, cases
from tools.gpu_proof.cudnn import algorithms
from tools.gpu_proof.limits import Rooflines, limit
from tools.gpu_proof.stages import Orders, orders, python
from tools.gpu_proof.timing import DeviceCandidate, arithmetic, inputs_for, repeats_for

#: Seconds of timing for a case; five rounds are timed even where they take longer.
SECONDS = 0.25

#: Seconds kept back for the end of the process.
RESERVE = 5.0

INCLUDES = {
    "infer": "forward without gradients",
    "train": "forward and backward, with gradients of the input and all parameters",
}


def plans(case: GpuCase) -> list[_native.CudaPlan]:
    """How the kernels run the layers: forward, and backward in training. All layers of a case are alike."""
    problem = Problem(
        cell="rnn_tanh" if case.cell == "rnn" else case.cell,
        T=case.T,
        B=case.B,
        I=case.I,
        H=case.H,
        P=case.H,
        D=case.directions,
        N=case.T * case.B,
        packed=False,
        batch_first=False,
        checkpoint_every=0,
        dtype=case.torch_dtype,
    )
    passes = (False, True) if case.mode == "train" else (False,)
    return [recurrence.plan(problem, backward=backward, index=0) for backward in passes]


@contextmanager
def forced_engine(name: str) -> Generator[None, None, None]:
    """Run every pass of ours on this engine; "" leaves it to the heuristic."""
    before = recurrence.forced_engine
    recurrence.forced_engine = name
    try:
        yield
    finally:
        recurrence.forced_engine = before


def measure(case: GpuCase, rooflines: Rooflines | None) -> record.Row:
    """One row: agreement first, then the alternated timing."""
    with forced_engine(case.engine):
        return _measure(case, rooflines)


def _measure(case: GpuCase, rooflines: Rooflines | None) -> record.Row:
    properties = torch.cuda.get_device_properties(0)
    size = case.T * case.B * case.I * case.torch_dtype.itemsize
    inputs = inputs_for(size, properties.L2_cache_size)
    with arithmetic(case.arithmetic):
        ours, theirs = runners(case, device="cuda", inputs=inputs)
        for runner in (ours, theirs):
            runner.candidate().timed()
        found = share_of_allowed(ours.compared(), theirs.compared(), exact_results(case, theirs))
        if not found <= 1:
            raise RuntimeError(f"an error is {found:.2g} times what is allowed; not timed")
        sides = [runner.candidate() for runner in (ours, theirs)]
        single = max(DeviceCandidate(side.run, side.prepare).timed() for side in sides)
        repeats = repeats_for(single)
        candidates = [DeviceCandidate(side.run, side.prepare, repeats) for side in sides]
        result = paired_timing(candidates[0], candidates[1], seconds=SECONDS / repeats)
    capability, sms = (properties.major, properties.minor), properties.multi_processor_count
    planned = plans(case)
    row: record.Row = {
        **asdict(case),
        "tokens": case.tokens(),
        "includes": INCLUDES[case.mode],
        "rounds": result.rounds,
        "repeats": repeats,
        "inputs": inputs,
        "pyrnn_s": asdict(result.ours),
        "torch_s": asdict(result.theirs),
        "ratio": result.ratio,
        "ratio_spread": asdict(result.ratios),
        "us_per_step": result.ours.median * 1e6 / (case.T * case.layers),
        "torch_us_per_step": result.theirs.median * 1e6 / (case.T * case.layers),
        "error_of_allowed": found,
        "cudnn": algorithms(case, capability=capability, sms=sms),
        "plans": [plan._asdict() for plan in planned],
    }
    limit_s = limit(case, planned, rooflines) if rooflines is not None else None
    if limit_s is not None:
        row |= {"limit_s": limit_s, "share_of_limit": limit_s / result.ours.median}
    return row


def recorded_rooflines(path: Path) -> Rooflines | None:
    """Those of the same record, where it has them."""
    stages = read_json(path)["stages"] if path.exists() else {}
    return Rooflines.of(stages.get("rooflines", {}).get("rows", []))


def healthy() -> bool:
    """Whether the device still answers in this process: some faults end its context for good."""
    try:
        torch.cuda.synchronize()
        torch.zeros(1, device="cuda").item()
    except RuntimeError:
        return False
    return True


def failure(case: GpuCase, error: Exception) -> tuple[str, str]:
    """("refused" or "error", the first line): that a device lacks a forced engine is no error.

    The heuristic would not have taken it.
    """
    lacking = bool(case.engine) and isinstance(error, ValueError)
    return "refused" if lacking else "error", (str(error).splitlines() or [type(error).__name__])[0]


def run(told: Orders, first: int) -> None:
    """Measure from case number `first` on."""
    ends = time.monotonic() + told.seconds - RESERVE
    rooflines, everything = recorded_rooflines(told.record), cases()
    for number in range(first, len(everything)):
        case = everything[number]
        if time.monotonic() >= ends:
            left_out = [str(each) for each in everything[number:]]
            record.append(told.rows, {"left_out": len(left_out), "of": len(everything), "cases": left_out})
            print(f"{len(left_out)} of {len(everything)} cases are left out: the time is spent", flush=True)
            break
        try:
            row = measure(case, rooflines)
            said = f"{row['us_per_step']:.2f} us a step, {row['ratio']:.2f}x cuDNN"
        except (RuntimeError, ValueError) as error:
            what, said = failure(case, error)
            row = {**asdict(case), what: said}
        record.append(told.rows, row)
        print(f"{case}: {said}", flush=True)
        if "error" in row and not healthy():
            print("the device no longer answers in this process: a new one goes on", flush=True)
            _go_on(told, number + 1, ends + RESERVE - time.monotonic())
    for row in flashrnn.rows(ends - time.monotonic()):
        record.append(told.rows, row)


def _go_on(told: Orders, first: int, seconds: float) -> None:
    """Take this process's place with a fresh one, which has a fresh context on the device."""
    command = python("tools.gpu_proof.layers", "--first", str(first))
    told_again = ("--rows", str(told.rows), "--seconds", f"{seconds:.0f}", "--record", str(told.record))
    os.execv(command[0], [*command, *told_again])


def main() -> int:
    """Refuse to time the reference in the kernels' place; else measure. A case in error fails the stage."""
    if why := _native.why_no_cuda():
        print(f"nothing to measure: pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--first", type=int, default=0)
    options, rest = parser.parse_known_args()
    told = orders(rest)
    run(told, options.first)
    return 1 if any("error" in row for row in record.read(told.rows)) else 0


if __name__ == "__main__":
    sys.exit(main())
