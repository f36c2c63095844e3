"""How many warps the registers of a multiprocessor allow, and the file that tells the emulator."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.device_code import occupancy
from tools.device_code.spills import Kernel

NAME = "pyrnn::recurrent::cuda::recurrence_kernel<{}, pyrnn::recurrent::cuda::GridExchange, 1>"
CELL = "pyrnn::recurrent::(anonymous namespace)::LstmCell"


def kernel(registers: int, name: str = NAME.format(CELL), architecture: str = "sm_90a") -> Kernel:
    return Kernel(architecture, name, 0, 0, registers)


@pytest.mark.parametrize(
    ("registers", "warps"), [(32, 64), (64, 32), (65, 28), (128, 16), (168, 12), (255, 8)]
)
def test_warps_of_registers(registers: int, warps: int) -> None:
    """As NVIDIA's table of a multiprocessor with 64 Ki registers has it."""
    assert occupancy.warps_of(registers) == warps


def test_a_file_that_is_out_of_date_is_told(tmp_path: Path) -> None:
    file, kernels = tmp_path / "occupancy.txt", [kernel(128), kernel(40, "pyrnn::prepare_kernel<float>")]
    occupancy.declare(kernels, file)
    declared = occupancy.read_declared(file)
    assert declared == ["sm_90a 16 recurrence_kernel<LstmCell, GridExchange, 1>"]
    assert occupancy.outdated([kernel(121)], declared) == []  # as many warps
    fewer, gone = occupancy.outdated([kernel(129)], declared)
    assert "sm_90a 12 recurrence_kernel<LstmCell, GridExchange, 1>: not declared" in fewer
    assert "sm_90a 16 recurrence_kernel<LstmCell, GridExchange, 1>: declared, but" in gone
    assert occupancy.outdated([kernel(40, architecture="sm_80")], declared) == []


def test_the_committed_file_has_each_kernel_once() -> None:
    names = [line.split(maxsplit=2)[2] for line in occupancy.read_declared()]
    assert len({*names}) == len(names) > 50
