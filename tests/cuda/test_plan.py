"""Which engine a problem gets on an H200: 132 multiprocessors, 227 KiB of shared memory a block."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from pyrnn._native import CudaPlan
from pyrnn._native_args import CELLS, DTYPES
from tests.stubs import stub_names
from tools.device_code import occupancy

ENGINES = {"": 0, "persistent": 1, "step": 2, "streamed": 3, "cluster": 4}


def plan(
    module: ModuleType,
    cell: str,
    dtype: str,
    *,
    B: int,
    H: int,
    D: int = 1,
    backward: bool = False,
    engine: str = "",
) -> CudaPlan:
    """The plan of a layer of T = 100."""
    code = CELLS["rnn_tanh" if cell == "rnn" else cell].code
    sizes = (code, DTYPES[getattr(torch, dtype)], 100, B, H, D, 0)
    return CudaPlan(*module.recurrent_plan(sizes, backward, 0, ENGINES[engine]))


def test_the_stub_of_the_module_has_its_names(emulated: ModuleType) -> None:
    names = {name for name in dir(emulated) if not name.startswith("_")}
    # The host's module alone tells whether it detects races; a build may leave the dump out.
    assert stub_names("_cuda") - {"ptx_dump"} == names - {"detects_races", "ptx_dump"}


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize(
    ("cell", "dtype", "B", "H", "D", "expected"),
    [
        ("lstm", "bfloat16", 64, 256, 1, ("cluster", True, 16)),
        ("gru", "float32", 1, 100, 2, ("cluster", True, 7)),
        ("gru", "bfloat16", 32, 512, 1, ("persistent", True, 32)),
        ("lstm", "bfloat16", 64, 1024, 1, ("persistent", True, 64)),
        ("lstm", "bfloat16", 64, 1024, 2, ("persistent", True, 64)),
        ("lstm", "bfloat16", 32, 2048, 1, ("persistent", False, 128)),
        ("rnn", "float32", 8, 40_000, 1, ("step", False, 2500)),
    ],
)
def test_engine(
    emulated: ModuleType,
    cell: str,
    dtype: str,
    B: int,
    H: int,
    D: int,
    expected: tuple[str, bool, int],
    backward: bool,
) -> None:
    found = plan(emulated, cell, dtype, B=B, H=H, D=D, backward=backward)
    assert (found.engine, found.resident, found.blocks // found.slices // D) == expected
    assert found.slices * found.rows_per_slice >= B > (found.slices - 1) * found.rows_per_slice


def most_warps(step: str) -> int:
    """What csrc/occupancy.txt has of an LSTM whose blocks are no cluster: the most of its kernels."""
    ours = f"recurrence_kernel<{step}<LstmCell, __nv_bfloat16>, GridExchange"
    lines = [line.split(maxsplit=2) for line in occupancy.read_declared()]
    return max(int(warps) for _, warps, kernel in lines if kernel.startswith(ours))


def test_all_blocks_of_a_persistent_launch_run_at_once(emulated: ModuleType) -> None:
    for H in range(272, 2112, 176):
        for B in (1, 8, 33, 64, 256):
            for backward in (False, True):
                found = plan(emulated, "lstm", "bfloat16", B=B, H=H, backward=backward)
                assert found.engine == "persistent"
                of_registers = most_warps("Backward" if backward else "Forward") * 32 // found.threads
                of_a_multiprocessor = min(of_registers, 228 * 1024 // (found.shared_bytes + 1024))
                assert found.blocks <= 132 * of_a_multiprocessor
                assert found.shared_bytes <= 227 * 1024


@pytest.mark.parametrize(
    ("engine", "H", "why"),
    [("cluster", 512, "at most 16 blocks"), ("persistent", 40_000, "do not run at the same time")],
)
def test_an_engine_that_does_not_fit_is_refused(emulated: ModuleType, engine: str, H: int, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        plan(emulated, "lstm", "bfloat16", B=8, H=H, engine=engine)


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float64"])
@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_a_huge_batch_does_not_overflow_the_exchange_of_a_cluster(
    emulated: ModuleType, cell: str, dtype: str, backward: bool
) -> None:
    def of(B: int, engine: str = "") -> CudaPlan:
        return plan(emulated, cell, dtype, B=B, H=16, backward=backward, engine=engine)

    room = of(65_535, "cluster").rows_per_slice  # what a slice has at most
    for B in (524_280, 524_281, 65_535 * room, 65_535 * room + 1, 10**8):
        found = of(B)
        assert found.slices <= 65_535
        assert found.slices * found.rows_per_slice >= B
        assert (found.engine == "cluster") <= (found.rows_per_slice <= room)
    with pytest.raises(ValueError, match="at most 65535 slices of the batch"):
        of(65_535 * room + 1, "cluster")
