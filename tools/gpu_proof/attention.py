"""The attention stage: how exact it is, whether its bits repeat, and its time against torch's backends.

Accuracy comes first, on shapes of which float64 fits into memory. Then pyrnn and each backend of torch's
scaled_dot_product_attention take turns, and, on a few cases, FlexAttention where triton can compile it. A
backend that refuses a case is named with its reason; any other exception fails the stage.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from pyrnn import _native, reference
from pyrnn.bench import record
from pyrnn.bench.harness import paired_timing
from pyrnn.ops import attention_route, scaled_dot_product_attention
from pyrnn.ops.attention import cuda
from pyrnn.ops.attention.call import Call
from tools.gpu_proof import rehearsal
from tools.gpu_proof.accuracy import share_of_allowed
from tools.gpu_proof.attention_cases import OTHER_KERNEL, AttentionCase, Job, checks, times
from tools.gpu_proof.attention_peers import BACKENDS, Attention, Refused, peer, refusals, torchs
from tools.gpu_proof.layers import healthy
from tools.gpu_proof.stages import orders
from tools.gpu_proof.timing import DeviceCandidate, repeats_for

SECONDS = 0.1  # of timing for a case and a peer
RESERVE = 3.0  # seconds kept back for the end of the process
SEED = torch.tensor(20260101)  # of the dropped weights in checks

Run = Callable[[], list[Tensor]]


@contextmanager
def forced_kernel(name: str) -> Generator[None, None, None]:
    """Our forward passes run on the kernel of this name; "" leaves the choice to the plan."""
    before = cuda.forced_kernel
    cuda.forced_kernel = name
    try:
        yield
    finally:
        cuda.forced_kernel = before


def chosen_kernel(case: AttentionCase, operands: list[Tensor]) -> str:
    """Which of our CUDA kernels makes the forward pass; "" where none does."""
    if not cuda.module():
        return ""
    query, key, value, *bias = operands
    tensors = (query, key, value, bias[0] if bias else None, None, None, None, SEED if case.dropout else None)
    with forced_kernel(case.kernel):
        return cuda.plan(Call(*tensors, case.dropout, case.causal, None, 0, -1, -1, 0.0, "none")).kernel


def pyrnns(case: AttentionCase, seed: Tensor | None = None) -> Attention:
    """Our operator, which takes a bias beside the causal mask; without a seed it draws one in each call."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        with forced_kernel(case.kernel):
            out = scaled_dot_product_attention(
                query, key, value, bias, dropout_p=case.dropout, is_causal=case.causal, seed=seed
            )
        assert isinstance(out, Tensor)
        return out

    return attend


def dropping(case: AttentionCase, seed: Tensor) -> Attention:
    """The definition, which drops the same weights as our operator does for this seed."""

    def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        options = {"dropout_p": case.dropout, "is_causal": case.causal}
        return reference.scaled_dot_product_attention(query, key, value, bias, seed=seed, **options).output

    return attend


def runner(case: AttentionCase, attention: Attention, operands: list[Tensor]) -> Run:
    """One step: the output and, in training, the gradients of all operands, for the same gradient always."""
    shape, gradient = operands[0].shape, None
    if case.mode == "train":
        torch.manual_seed(1)
        gradient = torch.randn(shape, device=operands[0].device).to(case.torch_dtype).to(operands[0].dtype)

    def run() -> list[Tensor]:
        with torch.set_grad_enabled(gradient is not None):
            out = attention(*operands)
        return [out, *(torch.autograd.grad(out, operands, gradient) if gradient is not None else ())]

    return run


def require_kernels(operands: list[Tensor]) -> None:
    """That it is our kernels which compute what is checked and timed."""
    route = attention_route(operands[0], operands[2])
    if route.path != "native":
        raise RuntimeError(f"our kernels would not compute this: {route}")


def check(case: AttentionCase, device: str, repeats: int, *, exact: bool) -> record.Row:
    """How far the results are from float64, beside torch's own; whether repetitions have the same bits."""
    operands = case.operands(device)
    require_kernels(operands)
    ours = runner(case, pyrnns(case, SEED), operands)
    first, row, wrong = ours(), Job(case).row() | {"ran": chosen_kernel(case, operands)}, list[str]()
    if exact:
        wide = [tensor.detach().double().requires_grad_(case.mode == "train") for tensor in operands]
        how = dropping(case, SEED) if case.dropout else torchs(case)
        with sdpa_kernel(SDPBackend.MATH):
            truth, theirs = (runner(case, how, each)() for each in (wide, operands))
        row["error_of_allowed"] = share_of_allowed(first, theirs, truth)
        if not row["error_of_allowed"] <= 1:
            wrong.append(f"an error is {row['error_of_allowed']:.3g} times what is allowed")
    if repeats:
        equal = 1 + sum(all(map(torch.equal, first, ours())) for _ in range(repeats - 1))
        row |= {"repeats": repeats, "equal": equal}
        wrong += [] if equal == repeats else [f"{repeats - equal} repetitions gave other bits"]
    return {**row, "outcome": "; ".join(wrong) or "right"}


def measure(case: AttentionCase, name: str, device: str = "cuda") -> record.Row:
    """One row: pyrnn and one peer in alternation, on the same operands.

    Raises:
        Refused: the peer does not take the case.
    """
    operands = case.operands(device)
    require_kernels(operands)
    with sdpa_kernel([BACKENDS[name]] if name in BACKENDS else [*BACKENDS.values()]):
        runs = [runner(case, pyrnns(case), operands)]
        runs[0]()
        torch.cuda.synchronize()  # a fault of ours is not to look like the peer's
        with refusals(name):
            other = replace(case, kernel=name)
            theirs = pyrnns(other) if name == OTHER_KERNEL else peer(case, name, device)
            runs.append(runner(case, theirs, operands))
            runs[1]()
            torch.cuda.synchronize()
        single = max(min(DeviceCandidate(run).timed() for _ in range(2)) for run in runs)
        repeats = repeats_for(single)
        candidates = (DeviceCandidate(run, repeats=repeats) for run in runs)
        found = paired_timing(*candidates, seconds=SECONDS / repeats)
    figures: record.Row = {
        "ran": chosen_kernel(case, operands),
        "pyrnn_s": asdict(found.ours),
        "peer_s": asdict(found.theirs),
        "ratio": found.ratio,
        "ratio_spread": asdict(found.ratios),
        "rounds": found.rounds,
    }
    if case.variant == "decode":  # keys and values are read once
        figures["bytes_per_second"] = sum(x.nbytes for x in operands[1:]) / found.ours.median
    return {**Job(case, name).row(), **figures}


def jobs(*, rehearsed: bool) -> list[Job]:
    """Everything, in order; an emulator has no times."""
    return checks(rehearsed=rehearsed) + ([] if rehearsed else times())


def attempt(job: Job, device: str) -> record.Row:
    """The row of a job, whatever becomes of it."""
    try:
        if job.peer:
            return measure(job.case, job.peer, device)
        repeats = job.runs if job.runs > 1 else 0
        return check(job.case, device, repeats, exact=not repeats)
    except Refused as refusal:
        return {**job.row(), "refused": str(refusal)}
    except Exception as error:  # noqa: BLE001 - each fails the stage, and none costs the other jobs anything
        traceback.print_exc(file=sys.stdout)
        why = (str(error).splitlines() or [""])[0]
        return {**job.row(), "outcome": f"error: {type(error).__name__}: {why}"}


def found(row: record.Row) -> str:
    """What a row says of its job, in words."""
    share = f", {row['error_of_allowed']:.2f} of the allowed error" if "error_of_allowed" in row else ""
    again = f", {row['equal']} of {row['repeats']} runs have the same bits" if "repeats" in row else ""
    if "ratio" in row:
        times = (row[side]["median"] * 1e6 for side in ("pyrnn_s", "peer_s"))
        return "{:.1f} us, its {:.1f} us, {:.2f}x".format(*times, row["ratio"])
    return f"refused: {row['refused']}" if "refused" in row else f"{row['outcome']}{share}{again}"


def main() -> int:
    """Check and measure until the time is spent; 1 if a result is wrong."""
    told = orders()
    device = rehearsal.begin(told)
    if device == "cuda" and (why := _native.why_no_cuda()):
        print(f"nothing to check: pyrnn has no CUDA kernels in this process: {why}", flush=True)
        return 1
    ends, failed, left_out = time.monotonic() + told.seconds - RESERVE, False, list[str]()
    everything = jobs(rehearsed=told.rehearse is not None)
    for number, job in enumerate(everything, start=1):
        if time.monotonic() + job.needs >= ends:
            left_out.append(str(job))
            continue
        row = attempt(job, device)
        failing = "refused" in row or row.get("outcome", "").startswith("error")
        lost = failing and device == "cuda" and not healthy()
        if lost:
            why = row.get("refused") or row["outcome"]
            row = {**job.row(), "outcome": f"error: the device no longer answers after: {why}"}
        failed = failed or row.get("outcome", "right") != "right"
        record.append(told.rows, row)
        print(f"{job}: {found(row)}", flush=True)
        if lost:
            left_out += map(str, everything[number:])
            break
    if left_out:
        record.append(told.rows, {"left_out": len(left_out), "of": len(everything), "cases": left_out})
        print(f"{len(left_out)} of {len(everything)} are left out", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
