"""The kernels' threads beside forks, other threads and limits of the OpenMP runtime."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pyrnn import _native, reference
from pyrnn.ops import recurrent
from tests.helpers import CELLS, Layer, gradients, make_layer, run_forked
from tests.recurrent.cases import split

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 120  # far more than any of this takes on a busy machine: running out of it is a hang

#: A small network whose answer is known in advance, on the threads that torch is told to use.
CHECK_IN_LIMITS = """
import torch
from pyrnn import _native
from pyrnn.ops.recurrent import cpu
from tests.recurrent.test_processes import check
torch.set_num_threads(2)
assert _native.num_threads() == 2
for cpu.forced_group_size in (0, 1, 2):
    check("gru"), check("lstm")
print("right")
"""


def check(cell: str, *, B: int = 8, H: int = 35, seed: int = 0) -> None:
    """Forward and backward of one layer against the reference."""
    layer = make_layer(cell, T=6, B=B, I=9, H=H, D=2, seed=seed, requires_grad=True)
    out, exact = layer.run(recurrent), layer.run(reference.recurrent)
    torch.testing.assert_close(out, exact, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradients(layer, out), gradients(layer, exact), rtol=1e-10, atol=1e-11)


def _in_child(layers: list[Layer], expected: list[tuple[Tensor | None, ...]]) -> None:
    """No operator of torch that may enter a parallel region of its own: after a fork those hang too."""
    assert _native.num_threads() == 1
    for layer, answer in zip(layers, expected, strict=True):
        out = layer.run(recurrent)
        torch.testing.assert_close((*out, *gradients(layer, out)), answer)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
@pytest.mark.parametrize("group_size", [1, 2])
def test_a_forked_child_trains(group_size: int) -> None:
    """In the child a parallel region would wait for threads that do not exist."""
    layers = [make_layer(cell, T=6, B=8, I=9, H=35, D=2, requires_grad=True) for cell in CELLS]
    with split(2, group_size):
        expected = []
        for layer in layers:  # wakes the threads that the child will not have
            out = layer.run(recurrent)
            expected.append((*(t.detach() for t in out), *gradients(layer, out)))
        run_forked(_in_child, layers, expected, seconds=SECONDS, keeps_threads=True)
        assert _native.num_threads() == 2, "the parent keeps its threads"
        check("lstm")


@pytest.mark.parametrize("group_size", [0, 2])
def test_python_threads_run_layers_at_the_same_time(group_size: int) -> None:
    def work(seed: int) -> None:
        for n in range(6):
            check(CELLS[(seed + n) % len(CELLS)], seed=seed)

    with split(2, group_size), ThreadPoolExecutor(4) as pool:
        for result in [pool.submit(work, seed) for seed in range(4)]:
            result.result(timeout=SECONDS)


@pytest.mark.parametrize("limit", [{"OMP_THREAD_LIMIT": "1"}, {"OMP_DYNAMIC": "true"}], ids=str)
def test_fewer_threads_than_asked_for(limit: dict[str, str]) -> None:
    """The barriers count on every thread: with fewer, the kernels must start again on one."""
    paths = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        [sys.executable, "-c", CHECK_IN_LIMITS],
        env={**os.environ, "PYTHONPATH": paths, **limit},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "right\n"


def test_more_threads_than_work() -> None:
    for group_size in (0, 1, 2, 4):
        with split(4, group_size):
            check("gru", B=1, H=3)
