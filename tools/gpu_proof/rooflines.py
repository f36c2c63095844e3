"""The rooflines stage: what this device can do at most, and cuDNN at a few sizes."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from pyrnn import _native
from pyrnn._dispatch import current_stream
from pyrnn.bench import record
from pyrnn.bench.recurrent import Runner
from tools.gpu_proof.cases import GpuCase
from tools.gpu_proof.cudnn import algorithms
from tools.gpu_proof.stages import orders
from tools.gpu_proof.timing import DeviceCandidate, arithmetic, repeats_for

_CENTRE = GpuCase("gru", "bfloat16", "infer", "plain", T=512, B=32, I=512, H=512)
_LARGE = replace(_CENTRE, B=64, I=1024, H=1024)

#: Where cuDNN is weak, and where it is at its best: float16 LSTM.
ANCHORS = (
    _CENTRE,
    replace(_CENTRE, cell="lstm", dtype="float16"),
    _LARGE,
    replace(_LARGE, cell="lstm"),
    replace(_LARGE, cell="lstm", dtype="float16"),
    replace(_CENTRE, mode="train"),
    replace(_LARGE, cell="lstm", dtype="float16", mode="train"),
    replace(_LARGE, cell="lstm", dtype="float32"),
    replace(_CENTRE, cell="lstm", variant="bidirectional-two-layer"),
)
BARRIER_STEPS = 4096


def median(run: Callable[[], object], rounds: int = 7) -> float:
    """Seconds of one run on the device, after a warm-up."""
    for _ in range(2):
        once = DeviceCandidate(run).timed()
    candidate = DeviceCandidate(run, repeats=repeats_for(once))
    return statistics.median(candidate.timed() for _ in range(rounds))


def barrier_seconds(blocks: int) -> float:
    """Latency of one barrier of `blocks` blocks, each with the threads of the recurrence."""
    arrivals = torch.zeros(1, dtype=torch.int32, device="cuda")

    def run() -> None:
        arrivals.zero_()
        stream = current_stream(arrivals.device)
        _native.cuda.grid_barriers(arrivals.data_ptr(), blocks, BARRIER_STEPS, stream)

    return median(run) / BARRIER_STEPS


def barriers(sms: int) -> Iterator[record.Row]:
    """Latency of one barrier of all blocks, for grids up to one block on each multiprocessor."""
    if why := _native.why_no_cuda():
        yield {"what": "no barrier", "why": why}
        return
    for blocks in sorted({8, 16, 32, 64, sms // 2, sms}):
        yield {"what": "barrier", "blocks": blocks, "seconds": barrier_seconds(blocks)}


def copy_rate(bytes_each: int, copies: int) -> float:
    """Bytes a second, read and written, of copies between two tensors, replayed from a graph."""
    source = torch.randint(0, 255, (bytes_each,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    target.copy_(source)  # outside the graph first, as capture asks
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(copies):
            target.copy_(source)
    return 2 * bytes_each * copies / median(graph.replay)


def read_rate(bytes_of_it: int, times: int) -> float:
    """Bytes a second, read, of sums over one tensor, again and again in one kernel: launches do not count."""
    # Fewer sums than multiprocessors: blocks that share a first-level cache then read different parts.
    numbers = torch.ones(bytes_of_it // 4, dtype=torch.float32, device="cuda")
    repeated = numbers.expand(times, -1)
    return numbers.nbytes * times / median(lambda: torch.sum(repeated, 1))


def product_rate(dtype: torch.dtype, size: int) -> float:
    """Operations a second of a square product on random numbers, TF32 forbidden."""
    a, b = (torch.randn(size, size, device="cuda").to(dtype) for _ in range(2))
    with arithmetic("exact"):
        return 2 * size**3 / median(lambda: torch.mm(a, b))


def anchor(case: GpuCase) -> record.Row:
    """cuDNN alone on one case."""
    properties = torch.cuda.get_device_properties(0)
    layer = getattr(torch.nn, case.cell.upper())(
        case.I,
        case.H,
        case.layers,
        bidirectional=case.directions == 2,
        device="cuda",
        dtype=case.torch_dtype,
    ).train(case.mode == "train")
    runner = Runner(case, layer, layer, device="cuda", inputs=2)
    candidate = runner.candidate()

    def run() -> None:
        candidate.prepare()
        candidate.run()

    with arithmetic("exact"):
        seconds = median(run)
    capability, sms = (properties.major, properties.minor), properties.multi_processor_count
    return {
        "what": "cudnn",
        "case": str(case),
        "us_per_step": seconds * 1e6 / (case.T * case.layers),
        "cudnn": algorithms(case, capability=capability, sms=sms),
    }


def rows() -> Iterator[record.Row]:
    """All, those that the bench stage needs first."""
    properties = torch.cuda.get_device_properties(0)
    yield from barriers(properties.multi_processor_count)
    # The recurrence reads the cache in each step, and writes little there; memory it reads and writes.
    yield {"what": "l2 read", "bytes_per_second": read_rate(properties.L2_cache_size // 4, 32)}
    # Source and target together fill half of the cache; in memory they are many times its size.
    yield {"what": "l2", "bytes_per_second": copy_rate(properties.L2_cache_size // 4, 64)}
    yield {"what": "memory", "bytes_per_second": copy_rate(2**31, 4)}
    yield {"what": "product", "dtype": "bfloat16", "flops": product_rate(torch.bfloat16, 8192)}
    yield {"what": "product", "dtype": "float16", "flops": product_rate(torch.float16, 8192)}
    yield {"what": "product", "dtype": "float32", "flops": product_rate(torch.float32, 4096)}
    for case in ANCHORS:
        yield anchor(case)


def main() -> int:
    """Measure and write, until the time is spent."""
    told = orders()
    ends = time.monotonic() + told.seconds - 3
    for row in rows():
        record.append(told.rows, row)
        print(*(f"{name} {value}" for name, value in row.items()), sep=", ", flush=True)
        if time.monotonic() >= ends:
            print("the time is spent: what would have followed is left out", flush=True)
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
