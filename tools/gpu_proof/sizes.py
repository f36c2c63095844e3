"""The sizes stage: layers as large as real ones, forward and all gradients, against torch.nn in float64.

The tests go around every edge, but with small layers, since the emulator runs them too. Here are the sizes
that people train: every pair of cell, dtype, H, B, T and number of directions occurs, and every engine is
forced upon some of them.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict

import torch
from torch import Tensor

from pyrnn.bench import record
from pyrnn.bench.recurrent import Runner, runners
from tools.gpu_proof import rehearsal
from tools.gpu_proof.accuracy import exact_results, share_of_allowed
from tools.gpu_proof.cases import GpuCase
from tools.gpu_proof.layers import failure, forced_engine, healthy, plans
from tools.gpu_proof.stages import orders
from tools.gpu_proof.timing import arithmetic

REPEATS = 20

#: Seconds kept back for the end of the process.
RESERVE = 3.0


def _case(cell: str, dtype: str, H: int, B: int, T: int, D: int, engine: str = "") -> GpuCase:
    variant = "bidirectional" if D == 2 else "plain"
    return GpuCase(cell, dtype, "train", variant, T, B, H, H, engine=engine)


#: Those that run `REPEATS` times, always with the same bits.
REPEATED = (
    _case("lstm", "bfloat16", 512, 1, 64, 1),
    _case("gru", "bfloat16", 512, 64, 64, 1, "persistent"),
    _case("lstm", "float16", 256, 64, 64, 1, "cluster"),
    _case("lstm", "float16", 2048, 64, 64, 1, "streamed"),
    _case("gru", "float16", 512, 64, 64, 2, "step"),
    _case("gru", "float32", 512, 64, 64, 1),
)
CASES = (
    *REPEATED,
    _case("lstm", "float16", 1024, 64, 64, 2),
    _case("rnn", "float32", 512, 1, 64, 1),
    _case("gru", "float16", 256, 64, 64, 1),
    _case("rnn", "bfloat16", 2048, 64, 64, 1),
    _case("gru", "float16", 2048, 1, 64, 2),
    _case("lstm", "float32", 256, 8, 64, 1),
    _case("rnn", "float32", 1024, 1, 64, 2),
    _case("lstm", "float32", 256, 1, 64, 2, "cluster"),
    _case("lstm", "bfloat16", 1024, 8, 64, 2, "persistent"),
    _case("gru", "float32", 1024, 8, 64, 1, "streamed"),
    _case("rnn", "bfloat16", 512, 8, 64, 1, "streamed"),
    _case("lstm", "bfloat16", 1024, 1, 64, 1, "step"),
    _case("gru", "bfloat16", 1024, 8, 1000, 1),
    _case("rnn", "bfloat16", 256, 1, 1000, 2),
    _case("rnn", "float16", 512, 8, 1000, 2),
    _case("gru", "bfloat16", 256, 8, 1000, 2, "cluster"),
    _case("gru", "float32", 512, 1, 1000, 1, "persistent"),
    _case("lstm", "float32", 2048, 8, 1000, 2),
)

#: What stands for them where the kernels are emulated.
REHEARSED = tuple(
    _case(cell, dtype, 17, 9, 3, D, engine)
    for cell, dtype, D, engine in (
        ("lstm", "float32", 2, "cluster"),
        ("gru", "bfloat16", 1, "persistent"),
        ("rnn", "float32", 1, ""),
    )
)


def results_of(runner: Runner) -> list[Tensor]:
    """One step on the first input."""
    runner.drop_gradients()
    runner.run()
    return runner.compared()


def check(case: GpuCase, device: str, repeats: int) -> record.Row:
    """One row: how far off the results are, and whether repetitions gave the same bits."""
    with forced_engine(case.engine), arithmetic("exact"):
        ours, theirs = runners(case, device=device)
        # The first step of a process counts, too: nothing is warm.
        first, others = results_of(ours), results_of(theirs)
        share = share_of_allowed(first, others, exact_results(case, theirs))
        equal = sum(
            all(map(torch.equal, first, again))
            for again in (results_of(ours) for _ in range(max(repeats - 1, 0)))
        )
        engines = [plan.engine for plan in plans(case)]
    row: record.Row = {"case": str(case), **asdict(case), "error_of_allowed": share, "engines": engines}
    wrong = [] if share <= 1 else [f"an error is {share:.3g} times what is allowed"]
    if repeats:
        row["repeats"], row["equal"] = repeats, equal + 1
        wrong += [] if equal == repeats - 1 else [f"{repeats - 1 - equal} repetitions gave other bits"]
    return {**row, "outcome": "; ".join(wrong) or "right"}


def main() -> int:
    """Check case after case until the time is spent; 1 if one is wrong or fails."""
    told = orders()
    device = rehearsal.begin(told)
    ends = time.monotonic() + told.seconds - RESERVE
    cases, repeated = (REHEARSED, REHEARSED[:1]) if told.rehearse else (CASES, REPEATED)
    failed = False
    for number, case in enumerate(cases):
        if time.monotonic() >= ends:
            left_out = [str(each) for each in cases[number:]]
            record.append(told.rows, {"left_out": len(left_out), "of": len(cases), "cases": left_out})
            print(f"{len(left_out)} of {len(cases)} are left out: the time is spent", flush=True)
            break
        started = time.monotonic()
        try:
            row = check(case, device, REPEATS if case in repeated else 0)
            failed = failed or row["outcome"] != "right"
        except (RuntimeError, ValueError) as error:
            what, said = failure(case, error)
            row = {"case": str(case), **asdict(case), "outcome": f"{what}: {said}"}
            failed = failed or what == "error"
        row["seconds"] = round(time.monotonic() - started, 2)
        record.append(told.rows, row)
        share = f", {row['error_of_allowed']:.2f} of the allowed error" if "error_of_allowed" in row else ""
        print(f"{case}: {row['outcome']}{share} ({row['seconds']} s)", flush=True)
        if row["outcome"].startswith("error: ") and device == "cuda" and not healthy():
            print("the device no longer answers: nothing after this can be checked", flush=True)
            break
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
